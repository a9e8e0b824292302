"""`SparseWordConv` against the dense `WordConv`: values, both backward passes, conversion, a whole network."""

from __future__ import annotations

from collections.abc import Callable

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor, nn

from secateur.errors import PruningError
from secateur.masks import Mask, Pattern, apply
from secateur.models.cnn import kim_cnn
from secateur.models.word_conv import SparseWordConv, WordConv
from secateur.shapes import DataShape
from secateur.sparse import compress, decompress, mask_of

DOUBLE = torch.float64


def drawn(*shape: int, seed: int = 0) -> Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed), dtype=DOUBLE)


def pair(channels: int, filters: int, width: int, density: float, bias: bool = True) -> tuple[WordConv, SparseWordConv]:
    """A dense layer with its pruned weights at zero, and its sparse counterpart."""
    dense = WordConv(channels, filters, width, bias=bias, dtype=DOUBLE)
    kept = torch.rand(dense.weight.shape, generator=torch.Generator().manual_seed(1)) < density
    with torch.no_grad():
        dense.weight.copy_(drawn(filters, channels, width, seed=2) * kept)
    return dense, SparseWordConv.from_dense(dense, kept)


def gradients(layer: nn.Module, x: Tensor, reduce: Callable[[Tensor], Tensor]) -> list[Tensor]:
    leaf = x.clone().requires_grad_()
    return list(torch.autograd.grad(reduce(layer(leaf)).square().sum(), [leaf, *layer.parameters()]))


@settings(max_examples=60, deadline=None)
@given(
    batch=st.integers(1, 5),
    channels=st.integers(1, 20),
    filters=st.integers(1, 12),
    width=st.integers(1, 5),
    more=st.integers(0, 30),
    density=st.sampled_from([0.0, 0.1, 0.5, 1.0]),
    bias=st.booleans(),
)
def test_it_equals_the_dense_layer(batch: int, channels: int, filters: int, width: int, more: int, density: float, bias: bool) -> None:
    dense, sparse = pair(channels, filters, width, density, bias)
    x = drawn(batch, width + more, channels).transpose(1, 2)
    torch.testing.assert_close(sparse(x), dense(x))
    torch.testing.assert_close(sparse(x.contiguous()), dense(x))
    for reduce in (lambda y: y.amax(2), lambda y: y.sum(2)):
        dx, dw, *db = gradients(dense, x, reduce)
        leaf = x.clone().requires_grad_()
        sparse.zero_grad()
        reduce(sparse(leaf)).square().sum().backward()
        found = {name: parameter.grad for name, parameter in sparse.named_parameters()}
        torch.testing.assert_close(leaf.grad, dx)
        torch.testing.assert_close(found["weight.values"], dw.reshape(-1)[sparse.weight.places()])
        if bias:
            torch.testing.assert_close(found["bias"], db[0])


@pytest.mark.parametrize("grad", [True, False])
def test_the_maximum_over_time_is_the_dense_one(grad: bool) -> None:
    dense, sparse = pair(7, 20, 3, 0.3)
    x = drawn(6, 41, 7).transpose(1, 2)
    with torch.set_grad_enabled(grad):
        torch.testing.assert_close(sparse.maximum_over_time(x), dense.maximum_over_time(x))
    wanted, found = drawn(6, 20, seed=4), []
    for layer in (dense, sparse):
        leaf = x.clone().requires_grad_()
        layer.maximum_over_time(leaf).backward(wanted)
        found.append((leaf.grad, layer.bias.grad))  # type: ignore[union-attr]
    torch.testing.assert_close(found[1], found[0])
    gradient = dense.weight.grad
    assert gradient is not None
    torch.testing.assert_close(sparse.weight.values.grad, gradient.reshape(-1)[sparse.weight.places()])


def test_a_maximum_passes_nan_on_and_takes_the_first_of_equals() -> None:
    sparse = SparseWordConv.from_dense(WordConv(1, 1, 1, bias=False, dtype=DOUBLE), torch.ones(1, 1, 1, dtype=torch.bool))
    with torch.no_grad():
        sparse.weight.values.fill_(1.0)
    x = torch.zeros(2, 1, 40, dtype=DOUBLE)
    x[0, 0, [5, 20, 39]] = 2.0
    x[1, 0, 30], x[1, 0, 33] = float("nan"), 9.0
    x.requires_grad_()
    maxima = sparse.maximum_over_time(x)
    assert maxima[0].item() == 2.0
    assert maxima[1].isnan().all()
    maxima[0].sum().backward()
    assert x.grad is not None
    assert x.grad[0, 0].nonzero().flatten().tolist() == [5]


def test_few_gradients_are_visited_and_many_are_not(monkeypatch: pytest.MonkeyPatch) -> None:
    _, sparse = pair(6, 5, 3, 0.5)
    visited: list[bool] = []

    class Spied:
        def __init__(self, kernel: object) -> None:
            self.kernel = kernel

        def __getattr__(self, name: str) -> object:
            return getattr(self.kernel, name)

        def words_backward(self, *arguments: object) -> bool:
            visited.append(self.kernel.words_backward(*arguments))  # type: ignore[attr-defined]
            return visited[-1]

    sparse.weight._kernel = Spied(sparse.weight.kernel)  # type: ignore[assignment]
    x = drawn(4, 40, 6).transpose(1, 2).requires_grad_()
    sparse(x).amax(2).sum().backward()
    sparse(x).sum().backward()
    assert visited == [True, False]


@pytest.mark.parametrize("run", [SparseWordConv.maximum_over_time, lambda layer, x: layer(x).max(2).values, lambda layer, x: layer(x)])
@pytest.mark.parametrize("activation", ["none", "relu"])
def test_gradcheck(run: Callable[[SparseWordConv, Tensor], Tensor], activation: str) -> None:
    _, sparse = pair(4, 3, 2, 0.5)
    sparse.activation = activation  # type: ignore[assignment]
    x = drawn(2, 20, 4, seed=3).transpose(1, 2).requires_grad_()
    assert torch.autograd.gradcheck(lambda *_: run(sparse, x), (x, *sparse.parameters()))


def test_results_are_the_same_bits_for_every_number_of_threads() -> None:
    _, sparse = pair(30, 40, 3, 0.3)
    x = drawn(24, 50, 30).transpose(1, 2)
    before = torch.get_num_threads()
    found = []
    try:
        for threads in (1, 2, 3):
            torch.set_num_threads(threads)
            found.append([gradients(sparse, x, lambda y: y.amax(2)), gradients(sparse, x, lambda y: y)])
    finally:
        torch.set_num_threads(before)
    for other in found[1:]:
        for mine, theirs in zip(found[0], other, strict=True):
            assert all(torch.equal(a, b) for a, b in zip(mine, theirs, strict=True))


def test_back_to_dense_and_what_stays_dense() -> None:
    dense, sparse = pair(5, 4, 3, 0.4)
    back = sparse.to_dense()
    assert type(back) is WordConv
    assert all(torch.equal(a, b) for a, b in zip(back.parameters(), dense.parameters(), strict=True))
    with pytest.raises(PruningError, match="stride 1"):
        SparseWordConv.from_dense(WordConv(5, 4, 3, padding=1), torch.ones(4, 5, 3, dtype=torch.bool))
    padded = nn.Sequential(WordConv(5, 4, 3, padding=1))
    assert type(compress(padded, Mask({"0.weight": Pattern.full((4, 5, 3))}))[0]) is WordConv  # type: ignore[index]


def test_the_kernels_refuse_what_does_not_fit() -> None:
    _, sparse = pair(5, 4, 3, 0.4)
    kernel, values = sparse.weight.kernel, sparse.weight.values.detach()
    words, y, dy = drawn(2, 7, 5), drawn(4, 64), drawn(2, 4, 5)
    kernel.words_forward(values, None, words, y, None, None, 3, 1)
    for wrong in ((words, y, 8), (words, y, 2), (words[:, :, :4].contiguous(), y, 3), (words, y[:, :63].contiguous(), 3)):
        with pytest.raises(ValueError):
            kernel.words_forward(values, None, wrong[0], wrong[1], None, None, wrong[2], 1)
    with pytest.raises(ValueError, match="dy must have shape"):
        kernel.words_backward(values, words, dy[:, :, :4].contiguous(), None, None, None, None, 3, 99, 1)
    with pytest.raises(IndexError, match="place"):
        kernel.words_backward(values, words, dy[:, :, 0].contiguous(), torch.full((2, 4), 5, dtype=torch.int32), None, None, None, 3, 99, 1)
    with pytest.raises(TypeError, match="int32"):
        kernel.words_forward(values, None, words, None, dy[:, :, 0].contiguous(), torch.zeros(2, 4), 3, 1)


def test_kim_s_network_is_compressed_whole() -> None:
    shape = DataShape(outputs=3, vocabulary=50)
    model = kim_cnn(shape, torch.Generator().manual_seed(0), embedding=8, filters=6, dropout=0.0).double()
    names = [name for name, parameter in model.named_parameters() if parameter.dim() == 3]
    mask = Mask({n: Pattern.from_tensor(torch.rand(model.get_parameter(n).shape) < 0.3) for n in names})
    apply(mask, model)
    sparse = compress(model, mask)
    assert [type(layer) for layer in sparse.convolutions] == [SparseWordConv] * 3  # type: ignore[union-attr]
    assert list(mask_of(sparse)) == names
    tokens = torch.randint(1, 50, (4, 12), generator=torch.Generator().manual_seed(1))
    torch.testing.assert_close(sparse(tokens), model(tokens))
    for network in (model, sparse):
        network(tokens).square().sum().backward()
    torch.testing.assert_close(sparse.embedding.weight.grad, model.embedding.weight.grad)  # type: ignore[union-attr]
    restored = decompress(sparse)
    assert all(torch.equal(a, b) for a, b in zip(restored.state_dict().values(), model.state_dict().values(), strict=True))
