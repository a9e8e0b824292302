"""Optimisers by name: on a CPU those that hold a mask as they step, elsewhere torch's own, fused."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

import torch
from torch import Tensor, nn

from secateur.registry import optimizers
from secateur.training.mask_holding import Adam, MaskHolding, Sgd


@optimizers.register("sgd")
def sgd(
    parameters: Iterable[nn.Parameter], *, lr: float = 0.1, momentum: float = 0.0, weight_decay: float = 0.0, nesterov: bool = False
) -> torch.optim.Optimizer:
    """Stochastic gradient descent, with momentum and (coupled) weight decay."""
    found = list(parameters)
    if MaskHolding.takes(found):
        return Sgd(found, lr=lr, momentum=momentum, weight_decay=weight_decay, nesterov=nesterov)
    return torch.optim.SGD(found, lr=lr, momentum=momentum, weight_decay=weight_decay, nesterov=nesterov, fused=True)


@optimizers.register("adam")
def adam(
    parameters: Iterable[nn.Parameter],
    *,
    lr: float = 1e-3,
    betas: tuple[float, float] = (0.9, 0.999),
    eps: float = 1e-8,
    weight_decay: float = 0.0,
) -> torch.optim.Optimizer:
    """Adam (Kingma and Ba 2015); weight decay is added to the gradient."""
    found = list(parameters)
    if MaskHolding.takes(found):
        return Adam(found, lr=lr, betas=betas, eps=eps, weight_decay=weight_decay, decoupled=False)
    return torch.optim.Adam(found, lr=lr, betas=betas, eps=eps, weight_decay=weight_decay, fused=True)


@optimizers.register("adamw")
def adamw(
    parameters: Iterable[nn.Parameter],
    *,
    lr: float = 1e-3,
    betas: tuple[float, float] = (0.9, 0.999),
    eps: float = 1e-8,
    weight_decay: float = 0.01,
) -> torch.optim.Optimizer:
    """Adam with decoupled weight decay (Loshchilov and Hutter 2019)."""
    found = list(parameters)
    if MaskHolding.takes(found):
        return Adam(found, lr=lr, betas=betas, eps=eps, weight_decay=weight_decay, decoupled=True)
    return torch.optim.AdamW(found, lr=lr, betas=betas, eps=eps, weight_decay=weight_decay, fused=True)


def optimizer_state(optimizer: torch.optim.Optimizer, names: Mapping[Tensor, str]) -> dict[str, Tensor]:
    """The optimiser's state as copies of named tensors, `<parameter>/<key>`; plain numbers become 0-d float64 tensors."""
    return {
        f"{names[parameter]}/{key}": value.detach().clone()
        if isinstance(value, Tensor)
        else torch.tensor(float(value), dtype=torch.float64)
        for parameter, state in optimizer.state.items()
        for key, value in state.items()
        if value is not None
    }


def restore_optimizer(optimizer: torch.optim.Optimizer, names: Mapping[Tensor, str], tensors: Mapping[str, Tensor]) -> None:
    """Give the optimiser the state that `optimizer_state` captured, as copies."""
    parameters = {name: parameter for parameter, name in names.items()}
    states: dict[str, dict[str, Any]] = {}
    for name, tensor in tensors.items():
        parameter, _, key = name.rpartition("/")
        states.setdefault(parameter, {})[key] = float(tensor) if tensor.dtype is torch.float64 and tensor.ndim == 0 else tensor.clone()
    optimizer.state.clear()
    for name, state in states.items():
        optimizer.state[parameters[name]] = state
