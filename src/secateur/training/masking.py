"""Keeping pruned weights at zero, whatever the optimiser does."""

from __future__ import annotations

import torch
from torch import Tensor

from secateur.errors import PruningError
from secateur.masks import Mask
from secateur.training.loop import Run
from secateur.training.states import live_tensors


class KeepPruned:
    """Holds `run.mask`: gradients of pruned weights are zeroed before they are clipped or used, weights after each update.

    Gradients alone would not do: momentum, Adam's moments and weight decay revive weights. Weights alone would not
    either: the gradient's norm would count what is not there. Call `enforce` when the mask changes: it zeroes the
    weights and the optimiser's moments at what is pruned.
    """

    def __init__(self) -> None:
        self._mask: Mask | None = None
        self._parameters: list[Tensor] = []
        self._kept: list[Tensor] = []

    def enforce(self, run: Run) -> None:
        """Take over `run.mask`: zero pruned weights and the optimiser's state there."""
        self.hold(run)
        with torch.no_grad():
            for parameter, kept in zip(self._parameters, self._kept, strict=True):
                parameter.mul_(kept)
                for value in run.optimizer.state.get(parameter, {}).values():
                    if isinstance(value, Tensor) and value.shape == parameter.shape:
                        value.mul_(kept)

    def hold(self, run: Run) -> None:
        """Take over `run.mask` and change nothing yet."""
        if run.mask is None:
            self._mask, self._parameters, self._kept = None, [], []
            return
        live = live_tensors(run.model)
        sparse = {name for name, (_, pattern) in live.items() if pattern is not None}  # those have nothing to zero
        covered = {name: tensor for name, (tensor, _) in live.items() if name in run.mask and name not in sparse}
        missing = set(run.mask) - set(covered) - sparse
        if missing:
            raise PruningError(f"the model has no parameter {', '.join(sorted(missing))}, which the mask covers")
        pruned_somewhere = [name for name in covered if run.mask.pattern(name).kept < run.mask.pattern(name).size]
        self._mask = run.mask
        self._parameters = [covered[name] for name in pruned_somewhere]
        self._kept = [run.mask[name].to(parameter.dtype) for name, parameter in zip(pruned_somewhere, self._parameters, strict=True)]

    @torch.no_grad()
    def mask_gradients(self, run: Run) -> None:
        """At `gradients`: zero what pruned weights got."""
        self._check(run)
        pairs = [(p.grad, kept) for p, kept in zip(self._parameters, self._kept, strict=True) if p.grad is not None]
        if pairs:
            torch._foreach_mul_([gradient for gradient, _ in pairs], [kept for _, kept in pairs])

    @torch.no_grad()
    def mask_weights(self, run: Run) -> None:
        """At `updated`: zero the pruned weights again."""
        self._check(run)
        if self._parameters:
            torch._foreach_mul_(self._parameters, self._kept)

    def _check(self, run: Run) -> None:
        if self._mask is not run.mask:
            raise PruningError("the mask of a run changed without being enforced")
