"""The kernels' boundary, their instruction sets and their threads."""

from __future__ import annotations

import copy
import os
import subprocess
import sys
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor
from torch.testing import assert_close

from secateur import _kernels
from secateur.sparse import SparseLinear

EXACT = """
import numpy as np
import torch
from secateur import _kernels
from secateur.sparse import SparseConv1d, SparseLinear
torch.manual_seed(0)
for batch in (1, 3, 20, 64, 130):
    for dtype in (torch.float32, torch.float64):
        for density in (0.02, 0.5):
            layer = torch.nn.Linear(150, 90, dtype=dtype)
            kept = torch.rand(90, 150) < density
            with torch.no_grad():
                layer.weight.mul_(kept)
            sparse = SparseLinear.from_dense(layer, kept)
            x = torch.randn(batch, 150, dtype=dtype, requires_grad=True)
            y, z = layer(x), sparse(x)
            torch.testing.assert_close(z, y)
            dy = torch.randn_like(y)
            (dx,) = torch.autograd.grad(y, x, dy, retain_graph=True)
            (ex, ev) = torch.autograd.grad(z, (x, sparse.weight.values), dy)
            torch.testing.assert_close(ex, dx)
            (dw,) = torch.autograd.grad(y, layer.weight, dy)
            torch.testing.assert_close(ev, dw[kept], atol=1e-4, rtol=1e-4)
conv = SparseConv1d.random(5, 6, 3, density=0.5, seed=0, padding=1)
x = torch.randn(4, 5, 30)
torch.testing.assert_close(conv(x), conv.to_dense()(x))
images = torch.randint(0, 256, (50, 3, 77), dtype=torch.uint8)
factor, shift = torch.rand(3), torch.rand(3)
for threads in (1, 2, 3):
    for rows in (torch.tensor([], dtype=torch.int64), torch.tensor([49]), torch.randint(0, 50, (1000,))):
        out = torch.full((len(rows), 3, 77), torch.nan)
        _kernels.scaled_rows(images.numpy(), rows.numpy(), factor.numpy(), shift.numpy(), out.numpy(), threads)
        torch.testing.assert_close(out, images[rows] * factor[:, None] + shift[:, None])
draw = np.random.default_rng(0)
for dtype in (np.float32, np.float64):
    for size in (1000, 50_003):  # as they are; and by one scan around a guess
        for scores in (draw.standard_normal(size).astype(dtype), draw.integers(-3, 4, size).astype(dtype)):
            kept = draw.random(size) < 0.4
            for magnitude in (False, True):
                chosen = np.zeros((size + 7) // 8, np.uint8)
                assert _kernels.highest([scores], [np.packbits(kept)], [chosen], size // 7, magnitude) == -1
                ranked, places = np.abs(scores) if magnitude else scores, np.flatnonzero(kept)
                wanted = np.zeros(size, bool)
                wanted[places[np.argsort(-ranked[places], kind="stable")][: size // 7]] = True
                assert np.array_equal(np.unpackbits(chosen, count=size).astype(bool), wanted)
            scores[np.flatnonzero(kept)[5]] = np.nan
            assert _kernels.highest([scores], [np.packbits(kept)], [chosen], size // 7) == 0
layers = [np.abs(draw.standard_normal(size)).astype(np.float32) for size in (50_003, 9_001, 20)]
kept = [draw.random(layer.size) < 0.7 for layer in layers]
chosen = [np.zeros((layer.size + 7) // 8, np.uint8) for layer in layers]
assert _kernels.highest_by_lamp(layers, [np.packbits(flags) for flags in kept], chosen, 30_000)
lamp = []
for layer, flags in zip(layers, kept):
    squares = np.where(flags, layer.astype(np.float64), 0) ** 2
    order = np.argsort(-squares, kind="stable")
    lamp.append(np.zeros(layer.size))
    lamp[-1][order] = squares[order] / np.cumsum(squares[order])
lowest = np.sort(np.concatenate(lamp))[-30_000]
for scores, bits in zip(lamp, chosen):
    assert np.array_equal(np.unpackbits(bits, count=scores.size).astype(bool), scores >= lowest)
print(_kernels.instruction_set(), _kernels.thread_source())
"""


def in_a_process(**environment: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run([sys.executable, "-c", EXACT], env={**os.environ, **environment}, capture_output=True, text=True, check=False)


@pytest.mark.parametrize("isa", _kernels.instruction_sets())
def test_every_instruction_set_agrees_with_torch(isa: str) -> None:
    done = in_a_process(SECATEUR_ISA=isa)
    assert done.returncode == 0, done.stderr
    assert done.stdout.split()[0] == isa


def test_the_pool_of_our_own_does_without_openmp() -> None:
    done = in_a_process(SECATEUR_THREADS="pool")
    assert done.returncode == 0, done.stderr
    assert done.stdout.split()[1] == "pool"


def test_an_unknown_instruction_set_is_named() -> None:
    done = in_a_process(SECATEUR_ISA="sse9")
    assert done.returncode != 0
    assert "SECATEUR_ISA=sse9" in done.stderr
    assert "baseline" in done.stderr


def pattern(rows: int = 3, columns: int = 4) -> _kernels.Pattern:
    """Every other weight."""
    kept = np.arange(0, rows * columns, 2)
    return _kernels.Pattern(rows, columns, np.searchsorted(kept, np.arange(rows + 1) * columns), kept % columns)


def test_a_wrong_pattern_raises() -> None:
    for starts, columns, message in (
        ([0, 1], [0], "rows"),
        ([0, 2, 1, 2], [0, 1], "ascend"),
        ([0, 1, 2, 9], [0, 1], "survivors"),
        ([0, 1, 1, 1], [0, 1], "survivors"),
        ([0, 2, 2, 2], [1, 1], "ascend"),
        ([0, 2, 2, 2], [0, 4], r"\[0, 4\)"),
        ([0, 2, 2, 2], [-1, 1], r"\[0, 4\)"),
    ):
        with pytest.raises(ValueError, match=message):
            _kernels.Pattern(3, 4, np.array(starts), np.array(columns))


GOOD: dict[str, Any] = {
    "values": torch.zeros(6), "bias": torch.zeros(3), "x": torch.zeros(5, 4),
    "feature_major": False, "relu": False, "threads": 1,
}  # fmt: skip


@pytest.mark.parametrize(
    ("name", "wrong", "error"),
    [
        ("values", torch.zeros(5), ValueError),
        ("values", torch.zeros(6, dtype=torch.float16), TypeError),
        ("values", torch.zeros(6, dtype=torch.float64), TypeError),
        ("values", [0.0] * 6, TypeError),
        ("values", torch.zeros(6, device="meta"), ValueError),
        ("values", torch.zeros(6).to_sparse(), ValueError),
        ("bias", torch.zeros(4), ValueError),
        ("x", torch.zeros(5, 3), ValueError),
        ("x", torch.zeros(20), ValueError),
        ("x", torch.zeros(4, 5).t(), ValueError),
        ("x", torch.zeros(5, 4, dtype=torch.int32), TypeError),
        ("x", None, TypeError),
        ("threads", 0, ValueError),
    ],
)
def test_a_wrong_tensor_raises(name: str, wrong: Any, error: type[Exception]) -> None:
    pattern().linear_forward(**GOOD)
    with pytest.raises(error):
        pattern().linear_forward(**{**GOOD, name: wrong})


def test_wrong_gradients_raise() -> None:
    good: dict[str, Any] = {
        "values": torch.zeros(6), "x": torch.zeros(5, 4), "dy": torch.zeros(5, 3), "y": None,
        "needs_x": True, "needs_values": True, "needs_bias": True, "feature_major": False, "threads": 2,
    }  # fmt: skip
    pattern().linear_backward(**good)
    for name, wrong in (
        ("x", None),
        ("x", torch.zeros(3)),
        ("dy", torch.zeros(3, 5)),
        ("dy", torch.zeros(5, 3, dtype=torch.float64)),
        ("values", torch.zeros(7)),
        ("y", torch.zeros(5, 4)),
    ):
        with pytest.raises((TypeError, ValueError)):
            pattern().linear_backward(**{**good, name: wrong})


def test_chains_check_too() -> None:
    link = (pattern(), torch.zeros(6), None, True)
    other = (_kernels.Pattern(2, 3, np.array([0, 1, 1]), np.array([2])), torch.zeros(1), torch.zeros(2), False)
    x = torch.zeros(5, 4)
    assert _kernels.chain_forward([link, other], x, 2).shape == (5, 2)
    wrong: list[tuple[list[Any], Any, int]] = [
        ([], x, 1),
        ([other, link], x, 1),
        ([link, (other[0], torch.zeros(2), None, False)], x, 1),
        ([link, (other[0], torch.zeros(1, dtype=torch.float64), None, False)], x, 1),
        ([link, (other[0], other[1], torch.zeros(3), False)], x, 1),
        ([link, (None, other[1], None, False)], x, 1),
        ([link, other], torch.zeros(5, 3), 1),
        ([link, other], x, 0),
    ]
    for links, inputs, threads in wrong:
        with pytest.raises((TypeError, ValueError)):
            _kernels.chain_forward(links, inputs, threads)


def test_convolution_and_embedding_check_too() -> None:
    with pytest.raises(ValueError, match="taps"):
        pattern().conv_packed_size(torch.zeros(2, 1, 9), 3, 1, 0, 1)
    with pytest.raises(ValueError, match="shape"):
        pattern().conv_forward(torch.zeros(6), None, torch.zeros(2, 3, 9), torch.zeros(2, 3, 8), None, 2, 1, 0, 1, False, 1)
    for ids, error in (
        (torch.tensor([3]), IndexError),
        (torch.tensor([0], dtype=torch.int32), TypeError),
        (torch.tensor([[0]]), ValueError),
    ):
        with pytest.raises(error):
            pattern().embedding_forward(torch.zeros(6), ids, torch.zeros(1, 4), 1)


def test_new_tensors() -> None:
    like = torch.nn.Parameter(torch.zeros(3, dtype=torch.float64))
    for shape in ((), (0,), (0, 2), (7,), (2, 3), (2, 3, 4), (1, 2, 3, 4), (1, 2, 3, 4, 5), torch.Size([5, 6])):
        made = _kernels.new_tensor(like, shape)
        assert made.shape == shape
        assert made.dtype is torch.float64
        assert made.is_contiguous()
        assert not made.requires_grad
        assert made.numel() == 0 or made.data_ptr() % 64 == 0
        made.fill_(1)
        assert_close(copy.deepcopy(made), torch.ones(shape, dtype=torch.float64))
    kept = _kernels.new_tensor(like, (1000,)).fill_(3)[10:]
    others = [_kernels.new_tensor(like, (1000,)).fill_(4) for _ in range(20)]
    assert (kept == 3).all()
    assert all((other == 4).all() for other in others)
    too_many: list[tuple[Any, type[Exception]]] = [((2**40, 2**40), MemoryError), ((2**62,), MemoryError)]
    for wrong, error in [((-1, 2), ValueError), ((1.5,), TypeError), (None, TypeError), *too_many]:
        with pytest.raises(error):
            _kernels.new_tensor(like, wrong)


def test_subclasses_are_asked_for_their_properties() -> None:
    class Named(Tensor):
        pass

    layer = SparseLinear.random(20, 30, density=0.3, seed=0)
    x = torch.randn(4, 20)
    assert_close(layer(x.as_subclass(Named)).as_subclass(Tensor), layer(x))  # type: ignore[arg-type]


def test_a_torch_without_exchange_functions_gives_the_same() -> None:
    script = """
import torch
if {old}:
    del torch.Tensor.__dlpack_c_exchange_api__
from secateur import _kernels
from secateur.sparse import SparseLinear, SparseLSTM
x = torch.randn(5, 4, 30, generator=torch.Generator().manual_seed(0), requires_grad=True)
for layer in (SparseLinear.random(30, 20, density=0.2, seed=1), SparseLSTM.random(30, 20, density=0.2, seed=1)):
    y = layer(x)
    y = y[0] if isinstance(y, tuple) else y
    y.square().sum().backward()
    print(y.tolist(), x.grad.tolist(), [parameter.grad.tolist() for parameter in layer.parameters()])
for wrong in (torch.zeros(4), torch.zeros(6, dtype=torch.float16), torch.zeros(3, 2).t(), [0.0] * 6):
    try:
        _kernels.adam_step([torch.zeros(6)], [wrong], [torch.zeros(6)], [torch.zeros(6)], [None], 1, 1, 1, 1, 1, 0, 0, 1)
    except (TypeError, ValueError) as error:
        print(error)
"""
    printed = [
        subprocess.run([sys.executable, "-c", script.format(old=old)], capture_output=True, text=True, check=True).stdout
        for old in (hasattr(torch.Tensor, "__dlpack_c_exchange_api__"), False)
    ]
    assert printed[0] == printed[1]
    assert len(printed[0].splitlines()) == 2 + 4


def test_single_loads_give_the_bits_of_gathers() -> None:
    script = """
import torch
from secateur.sparse import SparseLinear
for density in (0.001, 0.02, 0.3):
    layer = SparseLinear.random(700, 300, density=density, seed=1)
    x = torch.randn(1, 700, generator=torch.Generator().manual_seed(0))
    with torch.no_grad():
        torch.testing.assert_close(layer(x), layer.to_dense()(x))
        print(layer(x).tolist())
"""
    printed = [
        subprocess.run(
            [sys.executable, "-c", script], env={**os.environ, "SECATEUR_GATHERS": speed}, capture_output=True, text=True, check=True
        ).stdout
        for speed in ("slow", "fast")
    ]
    assert printed[0] == printed[1] != ""


def test_a_cache_line_takes_its_time_between_cores() -> None:
    assert _kernels.round_trip() > 1  # no core is nearer than a nanosecond; 0 would say that there was one thread


@pytest.mark.parametrize("feature_major", [False, True])
@pytest.mark.parametrize("batch", [64, 130, 300])
@pytest.mark.parametrize("density", [0.2, 0.03])
def test_results_do_not_depend_on_the_number_of_threads(density: float, batch: int, feature_major: bool) -> None:
    drawn = torch.Generator().manual_seed(0)
    kept = torch.rand(300, 400, generator=drawn) < density
    starts = np.concatenate([[0], np.cumsum(kept.sum(1).numpy())])
    structure = _kernels.Pattern(300, 400, starts, kept.nonzero()[:, 1].numpy())
    values, x, dy = (torch.randn(shape, generator=drawn) for shape in ((int(starts[-1]),), (batch, 400), (batch, 300)))
    if feature_major:
        x, dy = x.t().contiguous(), dy.t().contiguous()

    def results(threads: int) -> list[Tensor]:
        y = structure.linear_forward(values, None, x, feature_major, False, threads)
        gradients = structure.linear_backward(values, x, dy, None, True, True, True, feature_major, threads)
        return [y, *(gradient for gradient in gradients if gradient is not None)]

    for threads in (2, 3, 7):
        for one, several in zip(results(1), results(threads), strict=True):
            assert torch.equal(one, several)


@pytest.mark.parametrize(
    "wrong",
    [
        {"rows": np.array([5])},
        {"rows": np.array([-1])},
        {"rows": np.array([0.0])},
        {"table": np.zeros((5, 2, 3), np.int16)},
        {"table": np.zeros((5, 3, 2), np.uint8)},
        {"table": np.zeros((5, 2, 6), np.uint8)[:, :, ::2]},
        {"factor": np.ones(1, np.float32)},
        {"shift": np.ones(3, np.float32)},
        {"out": np.zeros((1, 2, 4), np.float32)},
        {"out": np.zeros((1, 2, 3), np.float64)},
        {"threads": 0},
    ],
)
def test_rows_that_do_not_fit_are_refused(wrong: dict[str, Any]) -> None:
    call: dict[str, Any] = {
        "table": np.zeros((5, 2, 3), np.uint8),
        "rows": np.array([4]),
        "factor": np.ones(2, np.float32),
        "shift": np.ones(2, np.float32),
        "out": np.zeros((1, 2, 3), np.float32),
        "threads": 1,
    }
    _kernels.scaled_rows(**call)
    with pytest.raises((TypeError, ValueError, IndexError)):
        _kernels.scaled_rows(**{**call, **wrong})
