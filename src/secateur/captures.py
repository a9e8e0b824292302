"""What torch's captures of a graph cannot hold: calls of the kernels, and dropout that depends on the step.

`torch.compile` goes round these: its graph breaks at a sparse layer, which runs as it does without. Where a graph leaves the process or is
transformed, under `torch.export`, `torch.jit.trace` and `torch.func`, sparse weights are made dense within it.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import wraps
from typing import ParamSpec, TypeVar

import torch
from torch._C import _are_functorch_transforms_active, _is_tracing
from torch._C._functorch import is_functorch_wrapped_tensor as is_wrapped  # under a transform of `torch.func`, or escaped from one
from torch._compile import _disable_dynamo  # `torch.compiler.disable`, which imports the compiler only when it is there to be told
from torch.compiler import is_dynamo_compiling

__all__ = ["dense_in_graph", "is_exporting", "is_wrapped", "outside_graphs"]

_P = ParamSpec("_P")
_R = TypeVar("_R")
is_exporting: Callable[[], bool] = getattr(torch.compiler, "is_exporting", torch.compiler.is_compiling)  # torch 2.6 has the latter alone


def dense_in_graph() -> bool:
    """Whether a graph is being captured, or transformed, that is to hold all operations."""
    return is_exporting() or _is_tracing() or _are_functorch_transforms_active()


@_disable_dynamo
def _uncompiled(function: Callable[_P, _R], *args: _P.args, **kwargs: _P.kwargs) -> _R:
    return function(*args, **kwargs)


def outside_graphs(function: Callable[_P, _R]) -> Callable[_P, _R]:
    """`function`, at which a graph that `torch.compile` captures breaks: for what none holds."""

    @wraps(function)
    def chosen(*args: _P.args, **kwargs: _P.kwargs) -> _R:
        if is_dynamo_compiling() and not is_exporting():
            return _uncompiled(function, *args, **kwargs)
        return function(*args, **kwargs)

    return chosen
