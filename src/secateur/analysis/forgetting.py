"""What pruning forgets: confusion matrices, classes and examples that dense gets right and the ticket gets wrong (Hooker et al. 2019)."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy import special

from secateur.errors import InputError

Labels = NDArray[np.int64]


@dataclass(frozen=True)
class ClassChange:
    """How one class (or, for `name` "all", every class together) fares after pruning, on one replicate's test split."""

    name: str
    examples: int
    both_right: int
    forgotten: int
    learned: int
    both_wrong: int

    @property
    def recall_dense(self) -> float:
        """Fraction of the class that dense gets right."""
        return (self.both_right + self.forgotten) / self.examples if self.examples else float("nan")

    @property
    def recall_pruned(self) -> float:
        """Fraction of the class that the ticket gets right."""
        return (self.both_right + self.learned) / self.examples if self.examples else float("nan")

    @property
    def p(self) -> float:
        """Exact two-sided McNemar test of "pruning forgets as often as it learns", within this replicate."""
        return mcnemar_p(self.forgotten, self.learned)


def confusion(targets: Labels, predicted: Labels, classes: int) -> NDArray[np.int64]:
    """Counts (classes, classes): row = true class, column = predicted class."""
    _check(targets, predicted)
    if targets.size and (min(targets.min(), predicted.min()) < 0 or max(targets.max(), predicted.max()) >= classes):
        raise InputError(f"class numbers lie in 0 to {classes - 1}")
    return np.bincount(targets * classes + predicted, minlength=classes * classes).reshape(classes, classes).astype(np.int64)


def class_changes(targets: Labels, dense: Labels, pruned: Labels, names: Sequence[str]) -> list[ClassChange]:
    """One change a class, in the order of `names`, then all together. `dense` and `pruned` are predictions on the same examples."""
    _check(targets, dense)
    _check(targets, pruned)
    was, now = dense == targets, pruned == targets
    groups = [(name, targets == number) for number, name in enumerate(names)]
    groups.append(("all", np.ones_like(was)))
    return [
        ClassChange(
            name,
            int(group.sum()),
            int((was & now & group).sum()),
            int((was & ~now & group).sum()),
            int((~was & now & group).sum()),
            int((~was & ~now & group).sum()),
        )
        for name, group in groups
    ]


def forgotten_examples(targets: Labels, dense: Sequence[Labels], pruned: Sequence[Labels]) -> Labels:
    """Examples (their numbers, ascending) that every dense replicate gets right and every ticket gets wrong."""
    if not dense or not pruned:
        raise InputError("forgotten examples need predictions of dense and of pruned networks")
    right = np.logical_and.reduce([predicted == targets for predicted in dense])
    wrong = np.logical_and.reduce([predicted != targets for predicted in pruned])
    return np.flatnonzero(right & wrong).astype(np.int64)


def mcnemar_p(forgotten: int, learned: int) -> float:
    """Exact two-sided McNemar test: a fair coin decides each example on which the two networks differ."""
    differing = forgotten + learned
    if differing == 0:
        return 1.0
    return float(min(1.0, 2 * special.bdtr(min(forgotten, learned), differing, 0.5)))


def _check(targets: Labels, predicted: Labels) -> None:
    if targets.shape != predicted.shape or targets.ndim != 1:
        raise InputError(f"predictions of shape {predicted.shape} do not fit targets of shape {targets.shape}: one class number an example")
