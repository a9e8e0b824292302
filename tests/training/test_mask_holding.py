"""Optimisers that hold a mask: torch's own steps on what lives, zero elsewhere."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch
from torch import nn

from secateur import _kernels
from secateur.registry import optimizers
from secateur.seeds import generator
from secateur.training.mask_holding import MaskHolding

CASES: list[tuple[str, type[torch.optim.Optimizer], dict[str, Any]]] = [
    ("sgd", torch.optim.SGD, {}),
    ("sgd", torch.optim.SGD, {"weight_decay": 0.1}),
    ("sgd", torch.optim.SGD, {"momentum": 0.9, "weight_decay": 0.01}),
    ("sgd", torch.optim.SGD, {"momentum": 0.9, "nesterov": True}),
    ("adam", torch.optim.Adam, {}),
    ("adam", torch.optim.Adam, {"weight_decay": 0.1, "betas": (0.8, 0.95), "eps": 1e-4}),
    ("adamw", torch.optim.AdamW, {"weight_decay": 0.1}),
]
SHAPES = [(37, 53), (5, 3, 3), (17,), (1,), (0, 4)]


def pair(dtype: torch.dtype) -> tuple[list[nn.Parameter], list[nn.Parameter]]:
    """The same random parameters twice."""
    values = [torch.randn(shape, generator=generator(0, str(shape)), dtype=dtype) for shape in SHAPES]
    return [nn.Parameter(value.clone()) for value in values], [nn.Parameter(value.clone()) for value in values]


def give_gradients(step: int, *sides: list[nn.Parameter]) -> None:
    """The same random gradients to each."""
    for place, parameters in enumerate(zip(*sides, strict=True)):
        gradient = torch.randn(parameters[0].shape, generator=generator(step, str(place)), dtype=parameters[0].dtype)
        for parameter in parameters:
            parameter.grad = gradient.clone()


@pytest.mark.parametrize(("name", "plain", "options"), CASES)
def test_steps_are_torchs_own(name: str, plain: type[torch.optim.Optimizer], options: dict[str, Any]) -> None:
    ours, theirs = pair(torch.float64)
    mine, reference = optimizers[name](ours, lr=0.05, **options), plain(theirs, lr=0.05, **options)  # type: ignore[call-arg]
    assert isinstance(mine, MaskHolding)
    for step in range(40):
        give_gradients(step, ours, theirs)
        mine.step()
        reference.step()
    for a, b in zip(ours, theirs, strict=True):
        torch.testing.assert_close(a, b, rtol=1e-12, atol=1e-13)


@pytest.mark.parametrize(("name", "plain", "options"), CASES)
@pytest.mark.parametrize("threads", [1, 2])
def test_under_a_mask_survivors_step_as_if_alone(
    name: str, plain: type[torch.optim.Optimizer], options: dict[str, Any], threads: int
) -> None:
    """Survivors take the steps that torch takes with masked gradients; the rest stays zero, even where a gradient is no number."""
    ours, theirs = pair(torch.float64)
    kept = [torch.rand(parameter.shape, generator=generator(7, str(place))) < 0.4 for place, parameter in enumerate(ours)]
    with torch.no_grad():
        for parameter, flags in [*zip(ours, kept, strict=True), *zip(theirs, kept, strict=True)]:
            parameter.mul_(flags)
    mine, reference = optimizers[name](ours, lr=0.05, **options), plain(theirs, lr=0.05, **options)  # type: ignore[call-arg]
    assert isinstance(mine, MaskHolding)
    mine.hold(dict(zip(ours, kept, strict=True)))
    before = torch.get_num_threads()
    torch.set_num_threads(threads)
    try:
        for step in range(20):
            give_gradients(step, ours, theirs)
            for a, b, flags in zip(ours, theirs, kept, strict=True):
                assert a.grad is not None
                assert b.grad is not None
                a.grad[~flags] = torch.nan
                b.grad.mul_(flags)
            mine.step()
            reference.step()
    finally:
        torch.set_num_threads(before)
    for a, b, flags in zip(ours, theirs, kept, strict=True):
        torch.testing.assert_close(a, b, rtol=1e-12, atol=1e-13)
        assert not a[~flags].any()
        for moment in mine.state[a].values():
            if isinstance(moment, torch.Tensor):
                assert not moment[~flags].any()


@pytest.mark.parametrize(("name", "options"), [("sgd", {"momentum": 0.9}), ("adam", {})])
@pytest.mark.parametrize("steps_between", [0, 1])
def test_what_grows_again_starts_with_zero_moments(name: str, options: dict[str, Any], steps_between: int) -> None:
    parameter = nn.Parameter(torch.ones(6))
    optimizer = optimizers[name]([parameter], lr=0.1, **options)
    assert isinstance(optimizer, MaskHolding)
    parameter.grad = torch.ones(6)
    optimizer.step()
    optimizer.hold({parameter: torch.tensor([True, False] * 3)})
    for _ in range(steps_between):
        optimizer.step()
    optimizer.hold({parameter: torch.tensor([True] * 4 + [False] * 2)})
    moments = [value for value in optimizer.state[parameter].values() if isinstance(value, torch.Tensor)]
    assert moments
    for moment in moments:
        assert moment[[0, 2]].all()
        assert not moment[[1, 3, 5]].any()
    parameter.grad = torch.zeros(6)
    optimizer.step()
    assert all(not moment[[1, 3, 4, 5]].any() for moment in moments)


def test_threads_do_not_change_a_bit() -> None:
    before = torch.get_num_threads()
    results = []
    try:
        for threads in (1, 2, 3):
            torch.set_num_threads(threads)
            parameter = nn.Parameter(torch.randn(513, 1025, generator=generator(0)))
            optimizer = optimizers["adam"]([parameter], lr=0.1)
            for step in range(3):
                give_gradients(step, [parameter])
                optimizer.step()
            results.append(parameter.detach())
    finally:
        torch.set_num_threads(before)
    assert all(torch.equal(results[0], result) for result in results)


def test_parameters_that_a_batch_did_not_reach_wait() -> None:
    """As torch's: no gradient, no step; and the bias correction counts a parameter's own steps."""
    ours, theirs = pair(torch.float64)
    mine, reference = optimizers["adam"](ours, lr=0.1), torch.optim.Adam(theirs, lr=0.1)
    for step in range(6):
        give_gradients(step, ours, theirs)
        if step % 2:
            ours[0].grad = theirs[0].grad = None
        mine.step()
        reference.step()
    for a, b in zip(ours, theirs, strict=True):
        torch.testing.assert_close(a, b, rtol=1e-12, atol=1e-13)


def test_a_closure_computes_the_gradients() -> None:
    parameter = nn.Parameter(torch.tensor([3.0]))
    optimizer = optimizers["sgd"]([parameter], lr=0.25)

    def closure() -> float:
        optimizer.zero_grad()
        loss = parameter.square().sum()
        loss.backward()
        return loss.item()

    assert optimizer.step(closure) == 9.0
    assert parameter.item() == 1.5


def test_other_parameters_get_torchs_optimisers() -> None:
    mixed = [nn.Parameter(torch.zeros(2)), nn.Parameter(torch.zeros(2, dtype=torch.float64))]
    strided = [nn.Parameter(torch.zeros(3, 2).t())]
    half = [nn.Parameter(torch.zeros(2, dtype=torch.bfloat16))]
    for parameters in (mixed, strided, half):
        assert not isinstance(optimizers["sgd"](parameters), MaskHolding)


@pytest.mark.parametrize(
    ("change", "error"),
    [
        ({"gradients": [torch.zeros(5)]}, ValueError),
        ({"gradients": [torch.zeros(6, dtype=torch.float64)]}, TypeError),
        ({"gradients": [None]}, ValueError),
        ({"gradients": []}, ValueError),
        ({"gradients": [torch.zeros(12)[::2]]}, ValueError),
        ({"kept": [np.ones(2, np.uint8)]}, ValueError),
        ({"kept": [torch.ones(6)]}, TypeError),
        ({"first": [None]}, ValueError),
        ({"parameters": [3]}, TypeError),
        ({"threads": 0}, ValueError),
    ],
)
def test_what_does_not_fit_raises(change: dict[str, Any], error: type[Exception]) -> None:
    arguments: dict[str, Any] = {name: [torch.zeros(6)] for name in ("parameters", "gradients", "first", "second")}
    numbers = {"rate": 0.1, "mean_step": 0.1, "square_keep": 0.99, "root_scale": 1.0, "eps": 1e-8, "decay": 0.0, "shrink": 1.0}
    arguments |= {"kept": [None], "threads": 1, **numbers}
    _kernels.adam_step(**arguments)
    with pytest.raises(error):
        _kernels.adam_step(**(arguments | change))


def test_nesterov_needs_a_momentum() -> None:
    with pytest.raises(ValueError, match="momentum"):
        optimizers["sgd"]([nn.Parameter(torch.zeros(2))], nesterov=True)


def test_hooks_around_steps_are_refused_rather_than_forgotten() -> None:
    optimizer = optimizers["adam"]([nn.Parameter(torch.zeros(2))])
    for register in (optimizer.register_step_pre_hook, optimizer.register_step_post_hook):
        with pytest.raises(RuntimeError, match="points"):
            register(lambda *_: None)
