"""What a layer allocates: without gradients its output and the like, with them what its backward pass needs besides the input."""

from __future__ import annotations

from math import prod
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from secateur.sparse import SparseConv1d, SparseGRU, SparseLinear, SparseLSTM

STEPS, BATCH, WIDTH = 20, 8, 32


@pytest.mark.parametrize(
    ("layer", "shape", "most", "keeps"),
    [
        # Beside the output: the input and the layer's output in tiles (a step of 8 fills half of one), and last states.
        (SparseLSTM.random(WIDTH, WIDTH, density=0.2, seed=0), (STEPS, BATCH, WIDTH), 6.5, True),
        (SparseGRU.random(WIDTH, WIDTH, density=0.2, seed=0), (STEPS, BATCH, WIDTH), 6.5, True),
        (SparseLinear.random(WIDTH, WIDTH, density=0.2, seed=0), (BATCH, WIDTH), 1.0, False),
        (SparseConv1d.random(WIDTH, WIDTH, 1, density=0.2, seed=0), (BATCH, WIDTH, STEPS), 1.0, True),
    ],
    ids=["lstm", "gru", "linear", "conv"],
)
def test_without_gradients_nothing_is_kept_for_them(
    layer: nn.Module, shape: tuple[int, ...], most: float, keeps: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    allocated = 0
    new_empty = Tensor.new_empty

    def counted(self: Tensor, *size: Any, **options: Any) -> Tensor:
        nonlocal allocated
        made = new_empty(self, *size, **options)
        allocated += made.numel()
        return made

    monkeypatch.setattr(Tensor, "new_empty", counted)
    x = torch.randn(*shape)
    with torch.no_grad():
        layer(x)
    without = allocated
    layer(x)
    assert without <= most * prod(shape)
    assert (allocated - without > without) == keeps, "a linear layer keeps its input alone, the others more"
