"""What a layer allocates: without gradients its output and the like, with them what its backward pass needs besides the input."""

from __future__ import annotations

from math import prod

import pytest
import torch
from torch import Tensor, nn

from secateur._kernels import new_tensor
from secateur.sparse import SparseConv1d, SparseGRU, SparseLinear, SparseLSTM, convolution, through_time

STEPS, BATCH, WIDTH = 20, 8, 32


@pytest.mark.parametrize(
    ("layer", "shape", "most"),
    [
        # Beside the output: the input and the layer's output in tiles (a step of 8 fills half of one), and last states.
        (SparseLSTM.random(WIDTH, WIDTH, density=0.2, seed=0), (STEPS, BATCH, WIDTH), 6.5),
        (SparseGRU.random(WIDTH, WIDTH, density=0.2, seed=0), (STEPS, BATCH, WIDTH), 6.5),
        (SparseConv1d.random(WIDTH, WIDTH, 1, density=0.2, seed=0), (BATCH, WIDTH, STEPS), 1.0),
    ],
    ids=["lstm", "gru", "conv"],
)
def test_without_gradients_nothing_is_kept_for_them(
    layer: nn.Module, shape: tuple[int, ...], most: float, monkeypatch: pytest.MonkeyPatch
) -> None:
    allocated = 0

    def counted(like: Tensor, size: tuple[int, ...]) -> Tensor:
        nonlocal allocated
        allocated += prod(size)
        return new_tensor(like, size)

    for module in (convolution, through_time):
        monkeypatch.setattr(module, "new_tensor", counted)
    x = torch.randn(*shape)
    with torch.no_grad():
        layer(x)
    without = allocated
    layer(x)
    assert 0 < without <= most * prod(shape)
    assert allocated - without > without


def test_a_linear_layer_keeps_its_input_and_values() -> None:
    layer = SparseLinear.random(WIDTH, WIDTH, density=0.2, seed=0)
    x = torch.randn(BATCH, WIDTH)
    kept: list[int] = []

    def keep(tensor: Tensor) -> Tensor:
        kept.append(tensor.data_ptr())
        return tensor

    with torch.autograd.graph.saved_tensors_hooks(keep, lambda tensor: tensor):
        layer(x)
    assert sorted(kept) == sorted((x.data_ptr(), layer.weight.values.data_ptr()))
