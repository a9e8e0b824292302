"""Kernels as nodes of autograd's graph: how they are called, and backward passes that leave no graph of their own."""

from __future__ import annotations

from collections.abc import Callable
from functools import wraps
from typing import Any

import torch
from torch.autograd.function import once_differentiable

Backward = Callable[..., Any]


def applied(function: type[torch.autograd.Function], *args: Any) -> Any:
    """`function.apply(*args)`, without what torch does before it for functions with `setup_context`, which takes time between the kernels.

    Not under transforms of `torch.func`, which `SparseWeight.runs_on_kernels` has ruled out.
    """
    return super(torch.autograd.Function, function).apply(*args)  # type: ignore[misc]


def differentiable_once(backward: Backward) -> Backward:
    """torch's `once_differentiable`, refusing second derivatives; its guard, microseconds a call, is set up under `create_graph` alone."""
    guarded = once_differentiable(backward)

    @wraps(backward)
    def chosen(ctx: Any, *gradients: Any) -> Any:
        return (guarded if torch.is_grad_enabled() else backward)(ctx, *gradients)

    return chosen
