"""Sparse layers against torch's dense ones, in values, gradients, state and refusals."""

from __future__ import annotations

import copy
import io
from collections.abc import Callable
from typing import Any

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor, nn
from torch.nn import functional as F

from secateur.errors import PruningError
from secateur.masks import Pattern
from secateur.sparse import SparseConv1d, SparseEmbedding, SparseLinear, SparseWeight, sparse_linear

DOUBLE = torch.float64


def drawn(seed: int) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def kept(shape: tuple[int, ...], density: float, seed: int) -> Tensor:
    return torch.rand(shape, generator=drawn(seed)) < density


def linear(inputs: int, outputs: int, density: float, bias: bool = True, **options: Any) -> tuple[nn.Linear, SparseLinear]:
    """A dense layer with its pruned weights at zero, and its sparse counterpart."""
    mask = kept((outputs, inputs), density, seed=1)
    dense = nn.Linear(inputs, outputs, bias=bias, dtype=DOUBLE)
    with torch.no_grad():
        dense.weight.copy_(torch.randn(outputs, inputs, generator=drawn(2), dtype=DOUBLE) * mask)
    return dense, SparseLinear.from_dense(dense, mask, **options)


def assert_same_gradients(
    dense: nn.Module, sparse: nn.Module, weight: SparseWeight, run: Callable[[nn.Module, Tensor], Tensor], x: Tensor
) -> None:
    """Outputs and the gradients of input, weight and bias agree."""
    results = []
    for module in (dense, sparse):
        module.zero_grad()
        leaf = x.clone().requires_grad_(x.is_floating_point())
        y = run(module, leaf)
        (y * torch.linspace(-1, 1, y.numel(), dtype=y.dtype).view(y.shape)).sum().backward()  # type: ignore[no-untyped-call]
        results.append((y, leaf.grad))
    torch.testing.assert_close(results[0][0], results[1][0])
    torch.testing.assert_close(results[0][1], results[1][1])
    gradient = dense.get_parameter("weight").grad
    assert gradient is not None
    torch.testing.assert_close(gradient.reshape(-1)[weight.places()], weight.values.grad)
    bias = dict(dense.named_parameters()).get("bias")
    if bias is not None:
        torch.testing.assert_close(bias.grad, sparse.get_parameter("bias").grad)


@settings(max_examples=60, deadline=None)
@given(
    inputs=st.integers(1, 90),
    outputs=st.integers(1, 70),
    batch=st.integers(1, 140),
    density=st.sampled_from([0.0, 0.03, 0.4, 1.0]),
    bias=st.booleans(),
)
def test_linear_equals_dense(inputs: int, outputs: int, batch: int, density: float, bias: bool) -> None:
    dense, sparse = linear(inputs, outputs, density, bias)
    x = torch.randn(batch, inputs, generator=drawn(3), dtype=DOUBLE)
    assert_same_gradients(dense, sparse, sparse.weight, lambda module, leaf: module(leaf), x)


@pytest.mark.parametrize("batch", [1, 7, 64, 128, 200])
@pytest.mark.parametrize("density", [0.02, 0.5])
def test_feature_layout_is_the_transpose(batch: int, density: float) -> None:
    dense, sparse = linear(70, 50, density, layout="feature", activation="relu")
    x = torch.randn(70, batch, generator=drawn(3), dtype=DOUBLE)

    def run(module: nn.Module, leaf: Tensor) -> Tensor:
        return module(leaf) if module is sparse else F.relu(module(leaf.t())).t()

    assert_same_gradients(dense, sparse, sparse.weight, run, x)


@pytest.mark.parametrize("layout", ["batch", "feature"])
def test_without_gradients_the_outputs_are_the_same(layout: Any) -> None:
    _, sparse = linear(70, 50, 0.2, layout=layout, activation="relu")
    for batch in (1, 9, 64):
        x = torch.randn((70, batch) if layout == "feature" else (batch, 70), generator=drawn(3), dtype=DOUBLE)
        expected = sparse(x)
        for mode in (torch.no_grad(), torch.inference_mode()):
            with mode:
                torch.testing.assert_close(sparse(x), expected.detach())


@pytest.mark.parametrize("dtype", [torch.float32, DOUBLE])
@pytest.mark.parametrize("layout", ["batch", "feature"])
@pytest.mark.parametrize(
    ("density", "batch"), [(0.1, 64), (0.1, 96), (0.1, 128), (0.1, 256), (0.04, 100), (0.04, 128), (0.01, 128), (0.01, 512)]
)
def test_large_layers_equal_dense_with_any_number_of_threads(dtype: torch.dtype, layout: Any, density: float, batch: int) -> None:
    """So many rows and columns that they are cut into panels and blocks of the second-level cache."""
    dense, sparse = linear(1700, 1300, density, layout=layout)
    dense, sparse = dense.to(dtype), sparse.to(dtype)
    x, dy = (torch.randn(batch, size, generator=drawn(3), dtype=dtype) for size in (1700, 1300))

    def passed(layer: Any, weight: Tensor, feature_major: bool) -> list[Tensor]:
        leaf, its_dy = (each.t().contiguous() if feature_major else each.clone() for each in (x, dy))
        layer.zero_grad()
        y = layer(leaf.requires_grad_())
        y.backward(its_dy)
        outside = [y.detach(), leaf.grad]
        return [*(each.t() if feature_major else each for each in outside), weight.grad, layer.bias.grad]

    before = torch.get_num_threads()
    by_threads = []
    try:
        for threads in (1, 2, 3):
            torch.set_num_threads(threads)
            by_threads.append(passed(sparse, sparse.weight.values, layout == "feature"))
    finally:
        torch.set_num_threads(before)
    wanted = passed(dense, dense.weight, False)
    wanted[2] = wanted[2].reshape(-1)[sparse.weight.places()]
    tolerance = 1e-4 if dtype is torch.float32 else 1e-9
    for of_dense, *of_sparse in zip(wanted, *by_threads, strict=True):
        torch.testing.assert_close(of_sparse[0], of_dense, rtol=tolerance, atol=tolerance)
        assert all(torch.equal(of_sparse[0], its) for its in of_sparse[1:])


def test_wide_inputs_use_several_ranges_of_short_indices() -> None:
    dense, sparse = linear(70_000, 3, 0.01)
    assert sparse.weight.columns.dtype is torch.int32
    assert_same_gradients(dense, sparse, sparse.weight, lambda module, leaf: module(leaf), torch.randn(20, 70_000, dtype=DOUBLE))


def test_leading_axes_and_strides_are_torch_s() -> None:
    dense, sparse = linear(12, 9, 0.5)
    x = torch.randn(3, 12, 5, dtype=DOUBLE).transpose(1, 2)
    torch.testing.assert_close(sparse(x), dense(x))
    torch.testing.assert_close(sparse(x[0, 0]), dense(x[0, 0]))
    assert sparse(x[:0]).shape == (0, 5, 9)


@pytest.mark.parametrize("layout", ["batch", "feature"])
@pytest.mark.parametrize("activation", ["none", "relu"])
@pytest.mark.parametrize("batch", [1, 5])
def test_gradcheck_linear(layout: Any, activation: Any, batch: int) -> None:
    weight = SparseWeight.random((6, 7), 0.5, 1.0, seed=0).double()
    x = torch.randn((7, batch) if layout == "feature" else (batch, 7), generator=drawn(4), dtype=DOUBLE, requires_grad=True)
    bias = torch.randn(6, generator=drawn(5), dtype=DOUBLE, requires_grad=True)

    def product(x: Tensor, values: Tensor, bias: Tensor) -> Tensor:
        return sparse_linear(x, weight, bias, layout=layout, activation=activation)

    assert torch.autograd.gradcheck(product, (x, weight.values, bias))


@settings(max_examples=40, deadline=None)
@given(
    channels=st.integers(1, 7), outputs=st.integers(1, 8), taps=st.integers(1, 4), stride=st.integers(1, 3), padding=st.integers(0, 3),
    dilation=st.integers(1, 3), length=st.integers(10, 40), batch=st.integers(1, 6),
)  # fmt: skip
def test_convolution_equals_dense(
    channels: int, outputs: int, taps: int, stride: int, padding: int, dilation: int, length: int, batch: int
) -> None:
    mask = kept((outputs, channels, taps), 0.6, seed=6)
    dense = nn.Conv1d(channels, outputs, taps, stride, padding, dilation, dtype=DOUBLE)
    with torch.no_grad():
        dense.weight.mul_(mask)
    sparse = SparseConv1d.from_dense(dense, mask)
    x = torch.randn(batch, channels, length, generator=drawn(7), dtype=DOUBLE)
    assert_same_gradients(dense, sparse, sparse.weight, lambda module, leaf: module(leaf), x)


def test_gradcheck_convolution() -> None:
    sparse = SparseConv1d.random(3, 4, 3, density=0.6, seed=1, stride=2, padding=1, dilation=2).double()
    sparse.activation = "relu"
    x = torch.randn(2, 3, 9, generator=drawn(8), dtype=DOUBLE, requires_grad=True)
    assert torch.autograd.gradcheck(lambda x, *_: sparse(x), (x, sparse.weight.values, sparse.bias))


def test_same_padding_converts_and_uneven_one_is_refused() -> None:
    ones = torch.ones(2, 3, 3, dtype=torch.bool)
    conv = nn.Conv1d(3, 2, 3, padding="same")
    x = torch.randn(2, 3, 10)
    torch.testing.assert_close(SparseConv1d.from_dense(conv, ones)(x), conv(x))
    with pytest.raises(PruningError, match="uneven"):
        SparseConv1d.from_dense(nn.Conv1d(3, 2, 4, padding="same"), torch.ones(2, 3, 4, dtype=torch.bool))
    with pytest.raises(PruningError, match="group"):
        SparseConv1d.from_dense(nn.Conv1d(4, 2, 3, groups=2), torch.ones(2, 2, 3, dtype=torch.bool))


@pytest.mark.parametrize("shape", [(5,), (4, 3), (0,)])
def test_embedding_equals_dense(shape: tuple[int, ...]) -> None:
    dense = nn.Embedding(30, 6, padding_idx=0, dtype=DOUBLE)
    mask = kept((30, 6), 0.3, seed=9)
    mask[0] = False
    with torch.no_grad():
        dense.weight.mul_(mask)
    sparse = SparseEmbedding.from_dense(dense, mask)
    ids = torch.randint(0, 30, shape, generator=drawn(10))
    if ids.numel():
        ids.view(-1)[0] = 0
    torch.testing.assert_close(sparse(ids), dense(ids))
    factors = torch.randn(*shape, 6, generator=drawn(11), dtype=DOUBLE)
    (sparse(ids) * factors).sum().backward()
    (dense(ids) * factors).sum().backward()
    assert dense.weight.grad is not None
    torch.testing.assert_close(sparse.weight.values.grad, dense.weight.grad.view(-1)[sparse.weight.places()])


def test_embedding_refuses_ids_outside_the_table() -> None:
    sparse = SparseEmbedding.random(10, 4, density=0.5, seed=0)
    for wrong in (10, -1):
        with pytest.raises(IndexError, match=r"\[0, 10\)"):
            sparse(torch.tensor([1, wrong]))
    with pytest.raises(PruningError, match="int64"):
        sparse(torch.tensor([1.0]))
    with pytest.raises(PruningError, match="padding row"):
        SparseEmbedding.from_dense(nn.Embedding(4, 2, padding_idx=1), torch.ones(4, 2, dtype=torch.bool))


def test_random_is_exact_in_number_and_never_dense() -> None:
    layer = SparseLinear.random(1_000_000, 1_000_000, density=1e-8, seed=3)
    assert layer.weight.values.shape == (10_000,)
    assert torch.equal(layer.weight.places(), SparseLinear.random(1_000_000, 1_000_000, density=1e-8, seed=3).weight.places())
    y = layer(torch.ones(2, 1_000_000))
    assert y.shape == (2, 1_000_000)
    y.sum().backward()
    assert layer.weight.values.grad is not None
    torch.testing.assert_close(layer.weight.values.grad, torch.full((10_000,), 2.0))


def test_to_dense_gives_the_dense_layer_back() -> None:
    dense, sparse = linear(11, 5, 0.5)
    assert torch.equal(sparse.to_dense().weight, dense.weight)
    x = torch.randn(3, 11, dtype=DOUBLE)
    torch.testing.assert_close(sparse.to_dense()(x), dense(x))


def test_state_survives_copying_saving_and_another_pattern() -> None:
    _, sparse = linear(20, 10, 0.4)
    x = torch.randn(4, 20, dtype=DOUBLE)
    expected = sparse(x)
    torch.testing.assert_close(copy.deepcopy(sparse)(x), expected)
    file = io.BytesIO()
    torch.save(sparse.state_dict(), file)
    file.seek(0)
    other = SparseLinear.random(20, 10, density=0.1, seed=5).double()
    held = other.weight.values
    other(x)
    other.load_state_dict(torch.load(file, weights_only=True))
    assert other.weight.values is held
    assert other.weight.pattern == sparse.weight.pattern
    torch.testing.assert_close(other(x), expected)
    state = sparse.state_dict()
    places = state["weight.column_bytes"]
    state["weight.column_bytes"] = torch.cat([places.new_zeros(1), places.flatten()])[1:].view(places.shape)  # as a file may hold it
    other.load_state_dict(state, assign=True)
    torch.testing.assert_close(other(x), expected)
    whole = io.BytesIO()
    torch.save(sparse, whole)
    whole.seek(0)
    torch.testing.assert_close(torch.load(whole, weights_only=False)(x), expected)


def test_other_dtypes_go_the_dense_way() -> None:
    _, sparse = linear(20, 10, 0.4)
    x = torch.randn(4, 20, dtype=DOUBLE)
    half = copy.deepcopy(sparse).to(torch.bfloat16)
    torch.testing.assert_close(half(x.to(torch.bfloat16)).double(), sparse(x), atol=0.1, rtol=0.1)
    assert sparse.float()(x.float()).dtype is torch.float32


def test_moving_survivors_keeps_the_parameter() -> None:
    _, sparse = linear(6, 4, 0.5)
    held = sparse.weight.values
    pattern = Pattern.from_tensor(kept((4, 6), 0.3, seed=12))
    sparse.weight.move(pattern, torch.arange(pattern.kept, dtype=DOUBLE))
    assert sparse.weight.values is held
    assert sparse.weight.pattern is pattern
    x = torch.randn(3, 6, dtype=DOUBLE)
    torch.testing.assert_close(sparse(x), F.linear(x, sparse.weight.to_dense(), sparse.bias))
    with pytest.raises(PruningError, match="move within"):
        sparse.weight.move(Pattern.full((4, 7)), torch.zeros(28))


def test_wrong_inputs_raise() -> None:
    _, sparse = linear(6, 4, 0.5)
    with pytest.raises(PruningError, match="6"):
        sparse(torch.zeros(3, 5, dtype=DOUBLE))
    with pytest.raises(PruningError, match="batch"):
        SparseLinear(sparse.weight, layout="sideways")  # type: ignore[arg-type]
    with pytest.raises(RuntimeError, match="dtype"):
        sparse(torch.zeros(3, 6))


def test_a_frozen_weight_gets_no_gradient_and_the_input_does() -> None:
    _, sparse = linear(6, 4, 0.5)
    sparse.weight.values.requires_grad_(False)
    x = torch.randn(3, 6, dtype=DOUBLE, requires_grad=True)
    sparse(x).sum().backward()
    assert sparse.weight.values.grad is None
    assert x.grad is not None
    torch.testing.assert_close(x.grad, sparse.weight.to_dense().sum(0).expand(3, 6))


def test_second_derivatives_are_refused() -> None:
    _, sparse = linear(6, 4, 0.5)
    x = torch.randn(3, 6, dtype=DOUBLE, requires_grad=True)
    (gradient,) = torch.autograd.grad(sparse(x).pow(2).sum(), x, create_graph=True)
    with pytest.raises(RuntimeError, match="once_differentiable"):
        gradient.sum().backward()


def test_parameters_answer_as_torch_s_own_do() -> None:
    layer = SparseLinear.random(6, 5, density=0.5, seed=0)
    x = torch.randn(3, 6, generator=drawn(1))
    plain, bias = layer(x), torch.ones(5)
    torch.testing.assert_close(
        torch.func.functional_call(layer, {"bias": bias, "weight.values": 2 * layer.weight.values}, x), 2 * (plain - layer.bias) + 1
    )
    with pytest.raises(TypeError, match="bias"):
        layer.bias = torch.zeros(5)  # no parameter
    other = SparseLinear.random(6, 5, density=0.25, seed=1)
    layer.weight, layer.bias = other.weight, other.bias
    assert torch.equal(layer(x), other(x))
    assert dict(layer.named_parameters()).keys() == {"bias", "weight.values"}
    layer.bias = None
    torch.testing.assert_close(layer(x), other(x) - other.bias)
