"""Linear layers whose weights lie as (inputs, outputs), GPT-2's, pruned and compressed without a word about them."""

from __future__ import annotations

import warnings

import pytest
import torch
from torch import Tensor, nn
from torch.testing import assert_close

import secateur
from secateur.errors import PruningError
from secateur.linear_maps import linear_maps
from secateur.masks import random_pattern
from secateur.sparse import SparseTransposedLinear, SparseWeight, compress, decompress, mask_of, sparse_weights


class Conv1D(nn.Module):
    """y = x W + b as `transformers` has it, known by its dotted name."""

    def __init__(self, outputs: int, inputs: int) -> None:
        super().__init__()
        self.outputs = outputs
        self.weight, self.bias = nn.Parameter(torch.randn(inputs, outputs) / inputs**0.5), nn.Parameter(torch.randn(outputs))

    def forward(self, x: Tensor) -> Tensor:
        return (x.reshape(-1, x.shape[-1]) @ self.weight + self.bias).view(*x.shape[:-1], self.outputs)


Conv1D.__module__, Conv1D.__qualname__ = "transformers.pytorch_utils", "Conv1D"


def network() -> nn.Sequential:
    torch.manual_seed(0)
    return nn.Sequential(Conv1D(30, 20), nn.GELU(), Conv1D(7, 30), nn.Linear(7, 5))


@pytest.mark.parametrize("score", ["magnitude", "snip", "wanda"])
def test_a_network_of_them_is_pruned_compressed_and_made_dense_again(score: str) -> None:
    model = network()
    batches = [(torch.randn(6, 20), torch.randint(0, 5, (6,)))]
    with warnings.catch_warnings():
        warnings.simplefilter("error")  # a matrix that no score knows warns
        mask = secateur.prune(model, 0.3, score=score, batches=batches, loss=nn.functional.cross_entropy)
    secateur.apply(mask, model)
    sparse = compress(model, mask)
    assert isinstance(sparse[0], SparseTransposedLinear)
    assert mask_of(sparse) == mask
    assert [entry.fan_in for entry in linear_maps(sparse)] == [entry.fan_in for entry in linear_maps(model)] == [20, 30, 7]
    for shape in ((20,), (1, 20), (4, 20), (3, 4, 20), (130, 20), (0, 20)):
        x = torch.randn(shape, requires_grad=True)
        loss, wanted = sparse(x).square().sum(), model(x).square().sum()
        assert_close(loss, wanted)
        names = list(mask.patterns)
        biases = ["0.bias", "2.bias", "3.bias"]
        found = torch.autograd.grad(loss, [x, *(sparse_weights(sparse)[name].values for name in names), *map(sparse.get_parameter, biases)])
        dense = torch.autograd.grad(wanted, [x, *map(model.get_parameter, [*names, *biases])])
        places = [sparse_weights(sparse)[name].places() for name in names]
        assert_close(found, (dense[0], *(g.flatten()[at] for g, at in zip(dense[1:4], places, strict=True)), *dense[4:]))
    back = decompress(sparse)
    assert type(back[0]) is Conv1D
    assert back[0].outputs == 30
    assert_close(back.state_dict(), model.state_dict(), rtol=0, atol=0)
    assert type(decompress(compress(back, mask), in_place=True)[2]) is Conv1D


@pytest.mark.parametrize("biased", [False, True])
def test_gradients_in_float64(biased: bool) -> None:
    layer = Conv1D(9, 13).double()
    pattern = random_pattern((13, 9), 40, 0, "weight", ())
    sparse = SparseTransposedLinear(SparseWeight.from_dense(layer.weight, pattern), layer.bias if biased else None, layer)
    x = torch.randn(5, 13, dtype=torch.float64, requires_grad=True)
    assert torch.autograd.gradcheck(lambda *_: sparse(x), (x, *sparse.parameters()))


def test_what_it_does_not_take() -> None:
    layer = Conv1D(9, 13)
    sparse = SparseTransposedLinear(SparseWeight.from_dense(layer.weight, torch.rand(13, 9) < 0.5), None, layer)
    with pytest.raises(PruningError, match="takes"):
        sparse(torch.zeros(3, 9))
    with pytest.raises(PruningError, match="two axes"):
        SparseTransposedLinear(SparseWeight.from_dense(torch.zeros(2, 3, 4), torch.ones(2, 3, 4, dtype=torch.bool)), None, layer)


def test_in_graphs_and_under_autocast() -> None:
    layer = Conv1D(9, 13)
    kept = torch.rand(13, 9) < 0.5
    sparse = SparseTransposedLinear(SparseWeight.from_dense(layer.weight, kept), layer.bias, layer)
    x = torch.randn(4, 13)
    wanted = sparse(x)
    assert_close(torch.compile(sparse, backend="aot_eager")(x), wanted)
    assert_close(torch.export.export(sparse, (x,)).module()(x), wanted)
    assert_close(torch.func.vmap(sparse)(x), wanted)
    with torch.autocast("cpu", torch.bfloat16):
        assert_close(sparse(x).float(), wanted, atol=0.1, rtol=0.1)
