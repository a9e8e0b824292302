"""Keeping pruned weights at zero, whatever the optimiser does."""

from __future__ import annotations

import torch
from torch import Tensor

from secateur.errors import PruningError
from secateur.masks import Mask, Pattern, zero_each
from secateur.pruning.dynamic import clear
from secateur.training.loop import Run
from secateur.training.mask_holding import MaskHolding
from secateur.training.states import live_tensors


class KeepPruned:
    """Holds `run.mask`: gradients of pruned weights are zeroed before they are clipped or used, weights after each update.

    Gradients alone would not do: momentum, Adam's moments and weight decay revive weights. Weights alone would not
    either: the gradient's norm would count what is not there. Call `enforce` when the mask changes: it zeroes the
    weights and the optimiser's moments at what is pruned. An optimiser that holds masks itself is given it, zeroes its moments by itself,
    and no pass over the weights is left to do here, but for the gradients where they are clipped.
    """

    def __init__(self) -> None:
        self._mask: Mask | None = None
        self._enforced: Mask | None = None  # what is zero outside of this mask has stayed so
        self._names: list[str] = []
        self._patterns: list[Pattern] = []
        self._parameters: list[Tensor] = []
        self._factors: list[Tensor] = []  # the patterns as numbers, where they are multiplied
        self._handed_over = False

    def enforce(self, run: Run) -> None:
        """Take over `run.mask`: zero pruned weights and the optimiser's state there.

        Where another mask was enforced before, only what it kept and the new one prunes is touched: all else is zero already.
        """
        before = self._enforced
        self.hold(run)
        enforced = run.settings.masking == "enforced"
        holder = run.optimizer if isinstance(run.optimizer, MaskHolding) and enforced else None
        held = list(zip(self._names, self._patterns, strict=True))
        dropped = [(pattern.complement(), None) if before is None else (before.pattern(name), pattern) for name, pattern in held]
        zero_each((parameter, *its) for parameter, its in zip(self._parameters, dropped, strict=True))
        if holder is None:
            for parameter, its in zip(self._parameters, dropped, strict=True):
                clear(run.optimizer.state.get(parameter, {}), *its)
        else:
            holder.hold(dict(zip(self._parameters, self._patterns, strict=True)))
        self._enforced = run.mask if enforced else None
        self._handed_over = holder is not None

    def hold(self, run: Run) -> None:
        """Take over `run.mask` and change nothing yet."""
        self._mask, self._enforced, self._names, self._patterns, self._parameters = run.mask, None, [], [], []
        self._factors = []
        if run.mask is None:
            return
        live = live_tensors(run.model)
        sparse = {name for name, (_, pattern) in live.items() if pattern is not None}  # those have nothing to zero
        covered = {name: tensor for name, (tensor, _) in live.items() if name in run.mask and name not in sparse}
        missing = set(run.mask) - set(covered) - sparse
        if missing:
            raise PruningError(f"the model has no parameter {', '.join(sorted(missing))}, which the mask covers")
        patterns = {name: run.mask.pattern(name) for name in covered}
        self._names = [name for name, pattern in patterns.items() if pattern.kept < pattern.size]
        self._patterns = [patterns[name] for name in self._names]
        self._parameters = [covered[name] for name in self._names]

    def mask_gradients(self, run: Run) -> None:
        """At `gradients`: zero what pruned weights got."""
        self._check(run)
        if self._handed_over and run.settings.clip is None:
            return
        reached = [(p.grad, factor) for p, factor in zip(self._parameters, self._as_factors(), strict=True) if p.grad is not None]
        if reached:
            torch._foreach_mul_([gradient for gradient, _ in reached], [factor for _, factor in reached])

    def mask_weights(self, run: Run) -> None:
        """At `updated`: zero the pruned weights again."""
        self._check(run)
        if self._parameters and not self._handed_over:
            with torch.no_grad():
                torch._foreach_mul_(self._parameters, self._as_factors())

    def _as_factors(self) -> list[Tensor]:
        if not self._factors:
            self._factors = [
                pattern.tensor().to(its.device, its.dtype) for pattern, its in zip(self._patterns, self._parameters, strict=True)
            ]
        return self._factors

    def _check(self, run: Run) -> None:
        if self._mask is not run.mask:
            raise PruningError("the mask of a run changed without being enforced")
