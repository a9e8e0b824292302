"""Optimisers that hold a mask: one pass over the weights takes the step and keeps what is pruned at zero.

torch's fused optimisers know no masks: gradients, then weights, are multiplied in passes of their own, which on a CPU cost
half as much again as the step. Here a pruned weight gets no gradient, whatever the backward pass left there, and it and its
moments are written as zero.
"""

from __future__ import annotations

import math
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterable, Mapping
from typing import Any, NoReturn

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from secateur import _kernels
from secateur.masks import Pattern, zero_where

Bits = NDArray[np.uint8]


class MaskHolding(torch.optim.Optimizer, ABC):
    """An optimiser over contiguous CPU parameters of one dtype, float32 or float64.

    `hold` takes over which weights live. It leaves the weights as they are: zero what is pruned before. Moments of what is pruned need
    no pass of their own: the next step writes them as zero.
    """

    def __init__(self, parameters: Iterable[nn.Parameter], options: dict[str, Any]) -> None:
        super().__init__(list(parameters), options)
        self.kept: dict[Tensor, Pattern] = {}
        self._bits: dict[Tensor, Bits] = {}
        self._waiting: set[Tensor] = set()  # parameters whose moments may still live where they are pruned

    @staticmethod
    def takes(parameters: Iterable[nn.Parameter]) -> bool:
        """Whether these parameters can be stepped here."""
        found = list(parameters)
        return all(p.device.type == "cpu" and p.layout is torch.strided and p.is_contiguous() for p in found) and {
            p.dtype for p in found
        } in ({torch.float32}, {torch.float64})

    def hold(self, kept: Mapping[Tensor, Pattern | Tensor]) -> None:
        """From now on the weights of these parameters live where `kept` (a pattern or bool tensor of the parameter's shape) keeps them."""
        for parameter in self._waiting:
            for moment in self.state[parameter].values():
                if isinstance(moment, Tensor):
                    zero_where(moment, self.kept[parameter].complement())
        self.kept = {parameter: its if isinstance(its, Pattern) else Pattern.from_tensor(its) for parameter, its in kept.items()}
        self._bits = {parameter: its.bits() for parameter, its in self.kept.items()}
        self._waiting = {parameter for parameter in self.kept if self.state.get(parameter)}

    @torch.no_grad()
    def step(self, closure: Callable[[], float] | None = None) -> float | None:  # type: ignore[override]
        """One step of every parameter that has a gradient; `closure` computes them, and its loss is given back."""
        loss = None
        if closure is not None:
            with torch.enable_grad():
                loss = closure()
        for group in self.param_groups:
            reached = [parameter for parameter in group["params"] if parameter.grad is not None]
            gradients = [parameter.grad.contiguous() for parameter in reached]
            self.step_group(group, reached, gradients, [self._bits.get(parameter) for parameter in reached])
            if self._waiting:
                self._waiting.difference_update(reached)
        return loss

    # torch would open a profiler's range around each step, which takes a hundredth of a small network's whole training step.
    step.hooked = True  # type: ignore[attr-defined]

    def register_step_pre_hook(self, hook: Any) -> NoReturn:
        """Not here: no hooks are called around steps."""
        raise RuntimeError("this optimiser calls no hooks around its steps; the loop's points `gradients` and `updated` are there for that")

    register_step_post_hook = register_step_pre_hook

    @abstractmethod
    def step_group(
        self, group: Mapping[str, Any], parameters: list[nn.Parameter], gradients: list[Tensor], kept: list[Bits | None]
    ) -> None:
        """One step of parameters that share their options."""


class Sgd(MaskHolding):
    """Stochastic gradient descent as `torch.optim.SGD` steps, with momentum, Nesterov's too, and coupled weight decay."""

    def __init__(self, parameters: Iterable[nn.Parameter], *, lr: float, momentum: float, weight_decay: float, nesterov: bool) -> None:
        if nesterov and not momentum:
            raise ValueError("Nesterov momentum requires a momentum")
        super().__init__(parameters, {"lr": lr, "momentum": momentum, "weight_decay": weight_decay, "nesterov": nesterov})

    def step_group(
        self, group: Mapping[str, Any], parameters: list[nn.Parameter], gradients: list[Tensor], kept: list[Bits | None]
    ) -> None:
        buffers: list[Tensor | None] = [None] * len(parameters)
        if group["momentum"]:
            for place, parameter in enumerate(parameters):
                state = self.state[parameter]
                if not state:
                    state["momentum_buffer"] = torch.zeros_like(parameter)
                buffers[place] = state["momentum_buffer"]
        momentum, nesterov, decay = group["momentum"], group["nesterov"], group["weight_decay"]
        _kernels.sgd_step(parameters, gradients, buffers, kept, group["lr"], momentum, nesterov, decay, torch.get_num_threads())


class Adam(MaskHolding):
    """Adam (Kingma and Ba 2015, algorithm 1) as `torch.optim.Adam` steps; `decoupled`: AdamW (Loshchilov and Hutter 2019)."""

    def __init__(
        self,
        parameters: Iterable[nn.Parameter],
        *,
        lr: float,
        betas: tuple[float, float],
        eps: float,
        weight_decay: float,
        decoupled: bool,
    ) -> None:
        super().__init__(parameters, {"lr": lr, "betas": betas, "eps": eps, "weight_decay": weight_decay, "decoupled": decoupled})

    def step_group(
        self, group: Mapping[str, Any], parameters: list[nn.Parameter], gradients: list[Tensor], kept: list[Bits | None]
    ) -> None:
        beta1, beta2 = group["betas"]
        rate, decay = group["lr"], group["weight_decay"]
        states = []
        for parameter in parameters:
            state = self.state[parameter]
            if not state:
                state.update(step=0.0, exp_avg=torch.zeros_like(parameter), exp_avg_sq=torch.zeros_like(parameter))
            state["step"] += 1.0
            states.append(state)
        for step in {state["step"] for state in states}:  # parameters that a batch did not reach are behind
            places = [place for place, state in enumerate(states) if state["step"] == step]
            _kernels.adam_step(
                [parameters[place] for place in places],
                [gradients[place] for place in places],
                [states[place]["exp_avg"] for place in places],
                [states[place]["exp_avg_sq"] for place in places],
                [kept[place] for place in places],
                rate / (1 - beta1**step),
                1 - beta1,
                beta2,
                1 / math.sqrt(1 - beta2**step),
                group["eps"],
                0.0 if group["decoupled"] else decay,
                1 - rate * decay if group["decoupled"] else 1.0,
                torch.get_num_threads(),
            )
