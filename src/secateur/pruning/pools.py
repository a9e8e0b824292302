"""What competes when a mask is drawn: units in pools, and in which groups they compete."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from secateur.errors import PruningError
from secateur.linear_maps import LinearMap
from secateur.masks import Mask, Pattern

Flags = NDArray[np.bool_]
Spread = Callable[[Flags], Mapping[str, Flags]]
"""chosen units (units,) -> for each parameter touched, which of its weights stay, of the parameter's shape."""


@dataclass(frozen=True)
class Pool:
    """The units of one layer. All arrays have shape (units,), in the order of position.

    `scores`: higher is kept, meaningless where `kept` is 0. `shape` is the layer's, for ERK. Units are the single weights of a
    `pattern`, whose linear map is `entry`; or they hold several, `sizes` prunable ones each of which the present mask keeps
    `sizes_kept`, with the gate of each in `own_gates`. A unit that fixes how many are kept in each group (N:M) sets `groups`, the group
    of each weight, and `quota`, what each group keeps.
    """

    name: str
    shape: tuple[int, ...]
    scores: NDArray[Any]
    spread: Spread
    pattern: Pattern | None = None
    sizes: NDArray[np.int64] | None = None
    sizes_kept: NDArray[np.int64] | None = None
    entry: LinearMap | None = None
    own_gates: NDArray[np.int64] | None = None
    groups: NDArray[np.int64] | None = None
    quota: NDArray[np.int64] | None = None

    @cached_property
    def weights(self) -> NDArray[Any]:
        """Prunable weights of each unit; bool where units are single weights."""
        return self._of_several(self.sizes) if self.pattern is None else prunable_flags(self.pattern).reshape(-1)

    @cached_property
    def kept(self) -> NDArray[Any]:
        """Those of them that the present mask keeps."""
        return self._of_several(self.sizes_kept) if self.pattern is None else self.pattern.flags().reshape(-1)

    @property
    def gates(self) -> NDArray[np.int64] | None:
        """The gate (or q, k, v) of each unit; None where the layer has no blocks."""
        return gate_of_weights(self.entry) if self.entry is not None else self.own_gates

    @property
    def neurons(self) -> NDArray[np.int64] | None:
        """The output that each weight feeds; None for a parameter that is no linear map."""
        return neuron_of_weights(self.entry) if self.entry is not None else None

    def with_groups(self, groups: NDArray[np.int64], quota: NDArray[np.int64]) -> Pool:
        """The same pool, with a fixed number kept in each group."""
        return replace(self, groups=groups, quota=quota)

    @property
    def candidates(self) -> Flags:
        """Units of which something is still kept."""
        return self.kept > 0

    @property
    def prunable(self) -> int:
        """Prunable weights of the pool, kept or not."""
        return int(self.weights.sum(dtype=np.int64)) if self.pattern is None else self.pattern.prunable

    @property
    def available(self) -> int:
        """Weights of the pool that the present mask keeps."""
        return int(self.kept.sum(dtype=np.int64)) if self.pattern is None else self.pattern.kept

    @staticmethod
    def _of_several(sizes: NDArray[np.int64] | None) -> NDArray[np.int64]:
        assert sizes is not None, "a pool has a pattern, or units of several weights"
        return sizes


@dataclass(frozen=True)
class Runs:
    """Groups that lie one behind the other: group `first` + i are the units up to `ends[i]` that belong to none before."""

    first: int
    ends: NDArray[np.int64]

    def numbers(self) -> NDArray[np.int64]:
        """The group of each unit."""
        return np.repeat(np.arange(self.first, self.first + self.ends.size), np.diff(self.ends, prepend=0))


@dataclass(frozen=True)
class Contest:
    """Who competes with whom: for each pool its group, one number, runs of places or an array (units,), and what each group keeps.

    `scores`, one array a pool, stand in for the pools' own where something else is compared; with `lamp` and without them, what LAMP makes
    of the pools'. `exact` says that the sum of the targets is a promise, which a floor may not exceed.
    """

    groups: list[int | Runs | NDArray[np.int64]]
    targets: NDArray[np.int64]
    scores: list[NDArray[Any]] | None = None
    exact: bool = False
    lamp: bool = False


def gate_of_weights(entry: LinearMap) -> NDArray[np.int64] | None:
    """The block (gate; q, k or v) of each weight, flat; None for a map without blocks."""
    if not entry.blocks:
        return None
    rows = np.zeros(entry.shape[0], dtype=np.int64)
    for number, block in enumerate(entry.blocks):
        rows[block.start : block.stop] = number
    return np.broadcast_to(rows.reshape(-1, *(1,) * (len(entry.shape) - 1)), entry.shape).reshape(-1)


def neuron_of_weights(entry: LinearMap) -> NDArray[np.int64]:
    """The output that each weight feeds, flat."""
    outputs = np.arange(entry.shape[entry.output_axis])
    along = [1] * len(entry.shape)
    along[entry.output_axis] = -1
    return np.broadcast_to(outputs.reshape(along), entry.shape).reshape(-1)


def rounded(count: float) -> int:
    """floor(count + 0.5): the nearest whole number, halves up."""
    return math.floor(count + 0.5)


def prunable_flags(pattern: Pattern) -> Flags:
    """Which weights of a parameter are prunable: all but those of excluded rows. Of the parameter's shape."""
    flags = np.ones(pattern.shape, dtype=np.bool_)
    if pattern.excluded_rows:
        flags[list(pattern.excluded_rows)] = False
    return flags


def as_array(scores: Tensor) -> NDArray[Any]:
    """Scores as a flat array in single or double precision."""
    found = scores.detach()
    if not found.is_cpu or not found.is_contiguous():
        found = found.cpu().contiguous()
    return (found if found.dtype in (torch.float32, torch.float64) else found.float()).numpy().reshape(-1)


def arrays_of(scores: Mapping[str, Tensor], mask: Mask) -> dict[str, NDArray[Any]]:
    """The scores of the mask's parameters as flat arrays; `PruningError` when one lacks or does not fit."""
    arrays = {}
    for name, pattern in mask.patterns.items():
        if name not in scores:
            raise PruningError(f"there is no score for {name!r}, which the mask covers")
        if tuple(scores[name].shape) != pattern.shape:
            raise PruningError(f"the score of {name!r} has shape {tuple(scores[name].shape)}, the parameter {pattern.shape}")
        arrays[name] = as_array(scores[name])
    return arrays


def checked_scores(scores: Mapping[str, Tensor], mask: Mask) -> dict[str, NDArray[Any]]:
    """The same, and all scores of kept weights are finite; `PruningError` otherwise."""
    arrays = arrays_of(scores, mask)
    for name, pattern in mask.patterns.items():
        check_finite(name, arrays[name], pattern)
    return arrays


def check_finite(name: str, scores: NDArray[Any], pattern: Pattern) -> None:
    """`PruningError` where a kept weight's score is not finite."""
    bad = ~np.isfinite(scores)
    if bad.any() and (bad & pattern.flags().reshape(-1)).any():
        raise PruningError(f"the score of {name!r} is not finite for some kept weights: it overflowed, or the network diverged")


def allocate(shares: Sequence[float], capacities: Sequence[int], total: int) -> list[int]:
    """`total` split in proportion to `shares`, at most `capacities[i]` to each; what a full one cannot take goes to the others.

    Whole numbers by largest remainders, ties to the first. `PruningError` when the capacities do not hold the total.
    """
    if not 0 <= total <= sum(capacities):
        raise PruningError(f"{total} weights cannot be split among layers that hold {sum(capacities)}")
    amounts = [0.0] * len(shares)
    left, open_ = total, [number for number, capacity in enumerate(capacities) if capacity > 0]
    while left > 0 and open_:
        weights = [max(shares[number], 0.0) for number in open_]
        if not sum(weights) > 0:
            weights = [float(capacities[number]) for number in open_]
        whole_share = sum(weights)
        full = [number for number, weight in zip(open_, weights, strict=True) if left * (weight / whole_share) >= capacities[number]]
        if not full:
            for number, weight in zip(open_, weights, strict=True):
                amounts[number] = left * (weight / whole_share)
            break
        for number in full:
            amounts[number] = capacities[number]
            left -= capacities[number]
        open_ = [number for number in open_ if number not in full]
    whole = [math.floor(amount) for amount in amounts]
    by_remainder = sorted(range(len(shares)), key=lambda number: whole[number] - amounts[number])
    missing = total - sum(whole)
    while missing:
        for number in by_remainder:
            step = 1 if missing > 0 else -1
            if missing and 0 <= whole[number] + step <= capacities[number]:
                whole[number] += step
                missing -= step
    return whole
