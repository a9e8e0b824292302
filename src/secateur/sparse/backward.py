"""Backward passes by kernels, which leave no graph of their own."""

from __future__ import annotations

from collections.abc import Callable
from functools import wraps
from typing import Any

import torch
from torch.autograd.function import once_differentiable

Backward = Callable[..., Any]


def differentiable_once(backward: Backward) -> Backward:
    """torch's `once_differentiable`, refusing second derivatives; its guard, microseconds a call, is set up under `create_graph` alone."""
    guarded = once_differentiable(backward)

    @wraps(backward)
    def chosen(ctx: Any, *gradients: Any) -> Any:
        return (guarded if torch.is_grad_enabled() else backward)(ctx, *gradients)

    return chosen
