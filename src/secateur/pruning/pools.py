"""What competes when a mask is drawn: units in pools, and the exact choice among them."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
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

    `scores`: higher is kept, meaningless where `kept` is 0. `weights`: prunable weights of each unit; `kept`: those that the
    present mask keeps (both bool where units are single weights). `shape` is the layer's, for ERK. `entry` is the linear map whose
    weights the units are; `own_gates` the gate of each unit of several weights. A unit that fixes how many are kept in each group (N:M)
    sets `groups`, the group of each weight, and `quota`, what each group keeps.
    """

    name: str
    shape: tuple[int, ...]
    scores: NDArray[Any]
    weights: NDArray[Any]
    kept: NDArray[Any]
    spread: Spread
    entry: LinearMap | None = None
    own_gates: NDArray[np.int64] | None = None
    groups: NDArray[np.int64] | None = None
    quota: NDArray[np.int64] | None = None

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
        return int(self.weights.sum(dtype=np.int64))

    @property
    def available(self) -> int:
        """Weights of the pool that the present mask keeps."""
        return int(self.kept.sum(dtype=np.int64))


@dataclass(frozen=True)
class Contest:
    """Who competes with whom: for each pool its group, one number or an array (units,), and the weights that each group keeps.

    `scores`, one array a pool, stand in for the pools' own where the scope compares something else (LAMP). `exact` says that
    the sum of the targets is a promise, which a floor may not exceed.
    """

    groups: list[int | NDArray[np.int64]]
    targets: NDArray[np.int64]
    scores: list[NDArray[Any]] | None = None
    exact: bool = False


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
    flat = scores.detach().cpu().reshape(-1)
    return (flat if flat.dtype.itemsize >= 4 and flat.dtype.is_floating_point else flat.float()).numpy()


def checked_scores(scores: Mapping[str, Tensor], mask: Mask) -> dict[str, NDArray[Any]]:
    """The scores of the mask's parameters as flat arrays; `PruningError` when one lacks, does not fit or is not finite."""
    arrays = {}
    for name, pattern in mask.patterns.items():
        if name not in scores:
            raise PruningError(f"there is no score for {name!r}, which the mask covers")
        if tuple(scores[name].shape) != pattern.shape:
            raise PruningError(f"the score of {name!r} has shape {tuple(scores[name].shape)}, the parameter {pattern.shape}")
        arrays[name] = as_array(scores[name])
        bad = ~np.isfinite(arrays[name])
        if bad.any() and (bad & pattern.flags().reshape(-1)).any():
            raise PruningError(f"the score of {name!r} is not finite for some kept weights: it overflowed, or the network diverged")
    return arrays


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
        scale = left / sum(weights)
        full = [number for number, weight in zip(open_, weights, strict=True) if weight * scale >= capacities[number]]
        if not full:
            for number, weight in zip(open_, weights, strict=True):
                amounts[number] = weight * scale
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


def highest(scores: NDArray[Any], candidates: Flags, count: int) -> Flags:
    """Exactly min(count, candidates) of the candidates: those of highest score; ties go to the lower position."""
    values = scores[candidates]
    if count >= values.size:
        return candidates.copy()
    if count <= 0:
        return np.zeros_like(candidates)
    threshold = np.partition(values, values.size - count)[values.size - count]
    chosen: Flags = candidates & (scores > threshold)
    ties = np.flatnonzero(candidates & (scores == threshold))
    chosen[ties[: count - int(np.count_nonzero(chosen))]] = True
    return chosen


def choose(pools: Sequence[Pool], contest: Contest, floor: int = 0) -> list[Flags]:
    """The units to keep in each pool, given who competes and how many weights each group keeps.

    Units of one weight are kept exactly to the target. Of larger ones a group keeps the best whose weights come nearest to it,
    halves up. Each pool keeps at least `floor` weights (all, if it has fewer): within the target where that is exact.
    """
    scores = list(contest.scores) if contest.scores is not None else [pool.scores for pool in pools]
    targets = contest.targets
    if floor > 0 and contest.exact:
        reserved = [_best(pool, values, floor) for pool, values in zip(pools, scores, strict=True)]
        needed = [int(pool.kept[flags].sum()) for pool, flags in zip(pools, reserved, strict=True)]
        if sum(needed) > int(targets.sum()):
            to_keep = int(targets.sum())
            raise PruningError(
                f"a floor of {floor} weights in each of {len(pools)} layers needs {sum(needed)}, but only {to_keep} are to be kept"
            )
        if len(targets) > 1:
            above = [max(int(target) - low, 0) for target, low in zip(targets, needed, strict=True)]
            room = [pool.available - low for pool, low in zip(pools, needed, strict=True)]
            targets = np.array(needed) + np.array(allocate(above, room, int(targets.sum()) - sum(needed)))
        scores = [np.where(flags, np.inf, values) for flags, values in zip(reserved, scores, strict=True)]
    contest = replace(contest, targets=targets)
    if all(isinstance(group, int) for group in contest.groups) and all(pool.kept.dtype == np.bool_ for pool in pools):
        chosen = _choose_weights(pools, contest, scores)
    else:
        chosen = _choose_ranked(pools, contest, scores)
    if floor > 0 and not contest.exact:
        for number, pool in enumerate(pools):
            if int(pool.kept[chosen[number]].sum()) < min(floor, pool.available):
                chosen[number] |= _best(pool, scores[number], floor)
    return chosen


def _choose_weights(pools: Sequence[Pool], contest: Contest, scores: list[NDArray[Any]]) -> list[Flags]:
    """Single weights, whole pools as groups: one selection a group, without sorting."""
    chosen: list[Flags] = [np.empty(0, np.bool_)] * len(pools)
    for group, target in enumerate(contest.targets):
        members = [number for number, its in enumerate(contest.groups) if its == group]
        if not members:
            continue
        together = highest(
            np.concatenate([scores[number] for number in members]),
            np.concatenate([pools[number].candidates for number in members]),
            int(target),
        )
        ends = np.cumsum([pools[number].scores.size for number in members])
        for number, flags in zip(members, np.split(together, ends[:-1]), strict=True):
            chosen[number] = flags
    return chosen


def _choose_ranked(pools: Sequence[Pool], contest: Contest, scores: list[NDArray[Any]]) -> list[Flags]:
    """Any groups, units of any size: rank within each group, then keep the prefix that comes nearest to its target."""
    together = np.concatenate(scores).astype(np.float64, copy=False)
    sizes = np.concatenate([pool.kept for pool in pools]).astype(np.int64)
    groups = np.concatenate([np.broadcast_to(group, pool.scores.size) for group, pool in zip(contest.groups, pools, strict=True)])
    places = np.flatnonzero(sizes > 0)
    order = places[np.lexsort((-together[places], groups[places]))]
    total = np.cumsum(sizes[order])
    ranked = groups[order]
    starts = np.flatnonzero(np.diff(ranked, prepend=-1))
    before = np.repeat(total[starts] - sizes[order][starts], np.diff(np.append(starts, order.size)))
    within = total - before
    keep = 2 * within - sizes[order] <= 2 * contest.targets[ranked]
    flags = np.zeros(together.size, dtype=np.bool_)
    flags[order[keep]] = True
    return np.split(flags, np.cumsum([pool.scores.size for pool in pools])[:-1])


def _best(pool: Pool, scores: NDArray[Any], floor: int) -> Flags:
    """The fewest best units of a pool that hold at least `floor` kept weights, or all of them."""
    order = np.flatnonzero(pool.candidates)
    order = order[np.argsort(-scores[order].astype(np.float64), kind="stable")]
    needed = int(np.searchsorted(np.cumsum(pool.kept[order], dtype=np.int64), min(floor, pool.available))) + 1
    flags = np.zeros(pool.scores.size, dtype=np.bool_)
    flags[order[:needed]] = True
    return flags
