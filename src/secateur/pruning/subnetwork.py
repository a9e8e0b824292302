"""The weights of a parameter that edge-popup uses, and the scores that say which: chosen by, and updated step after step.

On contiguous CPU tensors, float32 or float64, kernels do it, each step in one pass over the weights; elsewhere torch does. Both round
and choose alike.
"""

from __future__ import annotations

import math
from typing import Any

import torch
from numpy.typing import NDArray
from torch import Tensor

from secateur import _kernels
from secateur.masks import Pattern, zero_where
from secateur.pruning.arithmetic import alike, flat
from secateur.pruning.choosing import highest
from secateur.pruning.pools import as_array


class Subnetwork:
    """`used` are the weights at the `count` kept places of largest |score|, zero elsewhere; their gradient is asked for.

    `scores`, of the weights' shape and dtype, change in place. Where they were drawn evenly from +-`bound`, the first choice knows where
    to look.
    """

    def __init__(self, weights: Tensor, scores: Tensor, kept: Pattern, count: int, bound: float) -> None:
        self.scores = scores
        self.used = torch.empty_like(weights, memory_format=torch.contiguous_format, requires_grad=False)
        self._weights, self._kept, self._count = weights.detach(), kept, min(count, kept.kept)
        self._candidates = None if kept.kept == weights.numel() else kept.bits()
        self._arrays: tuple[NDArray[Any], ...] | None = None  # the memory of weights, scores, used, and of buffers once there are any
        self._buffers: Tensor | None = None
        if alike(self._weights, scores):
            share = self._count / max(1, kept.kept)
            spread = 4 * math.sqrt(share * (1 - share) / max(1, kept.kept))
            low, high = (bound * (1 - share + width) for width in (-spread, spread))
            self._arrays = (flat(self._weights), flat(scores), flat(self.used))
            self._bracket = _kernels.popup_choose(*self._arrays, self._candidates, self._count, low, high, torch.get_num_threads())
        else:
            self._choose()
        self.used.requires_grad_(True)

    def step(self, slopes: Tensor, *, rate: float, momentum: float, decay: float, last: bool) -> None:
        """SGD with momentum on the scores, by the `slopes` of what is used, and the choice after it; or, at last, their magnitudes.

        The first slopes become the momentum buffer, so that they must not be read afterwards.
        """
        if self._arrays is None:
            self._step_by_torch(slopes, rate, momentum, decay, last)
            return
        gradients = flat(slopes.contiguous())
        first = len(self._arrays) == 3
        if first:
            self._arrays = (*self._arrays, gradients)
        weights, scores, used, buffers = self._arrays
        self._bracket = _kernels.popup_step(
            weights, scores, None if last else used, self._candidates, self._count, self._bracket,
            gradients, buffers, rate, momentum, decay, first, torch.get_num_threads(),
        )  # fmt: skip

    @torch.no_grad()
    def _step_by_torch(self, slopes: Tensor, rate: float, momentum: float, decay: float, last: bool) -> None:
        gradients = (slopes * self._weights).mul_(self.scores.sign()).add_(self.scores, alpha=decay)
        self._buffers = gradients if self._buffers is None else self._buffers.mul_(momentum).add_(gradients)
        self.scores.add_(self._buffers, alpha=-rate)
        if last:
            self.scores.abs_()
        else:
            self._choose()

    @torch.no_grad()
    def _choose(self) -> None:
        bits = highest(as_array(self.scores), self._kept.bits(), self._count, magnitude=True)
        zero_where(self.used.copy_(self._weights), self._kept.with_bits(bits).complement())
