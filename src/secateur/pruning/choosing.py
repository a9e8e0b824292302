"""The exact choice among units that compete. Single weights are chosen by a compiled kernel, others by ranking."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from secateur import _kernels
from secateur.errors import PruningError
from secateur.pruning.allocations import lamp_scores
from secateur.pruning.pools import Contest, Flags, Pool, Runs, allocate, check_finite

Bits = NDArray[np.uint8]
"""One bit a weight, packed as by `numpy.packbits`."""


def choose(pools: Sequence[Pool], contest: Contest, floor: int = 0) -> list[Flags]:
    """The units to keep in each pool, given who competes and how many weights each group keeps.

    Units of one weight are kept exactly to the target. Of larger ones a group keeps the best whose weights come nearest to it,
    halves up. Each pool keeps at least `floor` weights (all, if it has fewer): within the target where that is exact.
    """
    scores = _compared(pools, contest)
    targets = contest.targets
    for pool in pools:
        if pool.pattern is not None:
            check_finite(pool.name, pool.scores, pool.pattern)
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
    contest = replace(contest, targets=targets, scores=scores)
    if consists_of_weights(pools, contest):
        bits = choose_weights(pools, contest)
        chosen = [np.unpackbits(its, count=pool.scores.size).view(np.bool_) for its, pool in zip(bits, pools, strict=True)]
    else:
        chosen = _choose_ranked(pools, contest, scores)
    if floor > 0 and not contest.exact:
        for number, pool in enumerate(pools):
            if int(pool.kept[chosen[number]].sum()) < min(floor, pool.available):
                chosen[number] |= _best(pool, scores[number], floor)
    return chosen


def consists_of_weights(pools: Sequence[Pool], contest: Contest) -> bool:
    """Whether units are single weights and groups are whole pools or runs: then `choose_weights` serves, at the speed of memory."""
    return all(pool.pattern is not None for pool in pools) and not any(isinstance(group, np.ndarray) for group in contest.groups)


def choose_weights(pools: Sequence[Pool], contest: Contest) -> list[Bits]:
    """The weights to keep in each pool, as packed bits: of each group exactly its target, or all that the present mask keeps there.

    `PruningError` where the score of a kept weight is not finite; infinite ones are taken as they are where `contest.scores` stand in.
    """
    candidates = [pool.pattern.bits() for pool in pools if pool.pattern is not None]
    chosen = [np.zeros_like(bits) for bits in candidates]
    singles = [pool.scores for pool in pools if pool.scores.dtype == np.float32]
    # The same choice without sorting every layer; only sums of squares are taken in another order.
    lamp = contest.lamp and contest.scores is None and len(singles) == len(pools)
    if lamp and _kernels.highest_by_lamp(singles, candidates, chosen, int(contest.targets[0])):
        return chosen
    scores = _compared(pools, contest)
    finite = True
    for number, group in enumerate(contest.groups):
        if isinstance(group, Runs):
            targets = contest.targets[group.first : group.first + group.ends.size]
            finite &= _kernels.highest_of_each(scores[number], candidates[number], chosen[number], group.ends, targets)
    for group in dict.fromkeys(its for its in contest.groups if isinstance(its, int)):
        members = [number for number, its in enumerate(contest.groups) if isinstance(its, int) and its == group]
        of = [[array[number] for number in members] for array in (scores, candidates, chosen)]
        finite &= _kernels.highest(_of_one_type(of[0]), of[1], of[2], int(contest.targets[group])) < 0
    if not finite and contest.scores is None and not contest.lamp:
        for pool in pools:
            if pool.pattern is not None:
                check_finite(pool.name, pool.scores, pool.pattern)
    return chosen


def _compared(pools: Sequence[Pool], contest: Contest) -> list[NDArray[Any]]:
    """What is compared: one array a pool."""
    if contest.scores is not None:
        return list(contest.scores)
    return [lamp_scores(pool) if contest.lamp else pool.scores for pool in pools]


def highest(scores: NDArray[Any], candidates: Bits, count: int, *, magnitude: bool = False) -> Bits:
    """Exactly min(count, candidates) of the candidates, as packed bits: those of highest score (|score|); ties go to the lower position."""
    chosen = np.zeros_like(candidates)
    _kernels.highest([scores], [candidates], [chosen], count, magnitude)
    return chosen


def at_random(candidates: Bits, size: int, count: int, seed: int) -> Bits:
    """Exactly min(count, candidates) of the candidates among `size` places, as packed bits, each set of so many with the same chance."""
    chosen = np.zeros_like(candidates)
    _kernels.at_random(candidates, chosen, size, count, seed)
    return chosen


def renewed(
    weights: NDArray[Any],
    kept: Bits,
    stay: int,
    grow: int,
    *,
    growth: NDArray[Any] | None = None,
    prunable: Bits | None = None,
    seed: int = 0,
) -> Bits:
    """What lives, as packed bits, after a layer's smallest |weight| are dropped, so that `stay` do, and `grow` others grown.

    Those grow, of all but the ones that stayed, whose |growth| is largest, or which `seed` draws; of `prunable` ones, None: of all.
    """
    bits = np.zeros_like(kept)
    if growth is not None:
        weights, growth = _of_one_type([weights, growth])
    _kernels.renew(weights, kept, bits, stay, grow, growth, prunable, seed)
    return bits


def renewed_by_shares(
    weights: Sequence[NDArray[Any]],
    kept: Sequence[Bits],
    stay: Sequence[int],
    growth: Sequence[NDArray[Any]],
    prunable: Sequence[Bits | None],
    shares: Callable[[list[float]], list[int]],
) -> list[Bits]:
    """The same for layers that share what grows: `shares` says how many in each, given the sums of |growth| of their kept weights.

    It is asked twice, with estimates and with the sums themselves, so that what competes is read but once.
    """
    bits = [np.zeros_like(its) for its in kept]
    arrays = _of_one_type([*weights, *growth])
    _kernels.renew_by_shares(arrays[: len(weights)], kept, bits, stay, arrays[len(weights) :], prunable, shares)
    return bits


def _of_one_type(arrays: list[NDArray[Any]]) -> list[NDArray[Any]]:
    """The arrays, as doubles unless all are of one type."""
    return arrays if len({array.dtype for array in arrays}) == 1 else [array.astype(np.float64) for array in arrays]


def _choose_ranked(pools: Sequence[Pool], contest: Contest, scores: list[NDArray[Any]]) -> list[Flags]:
    """Any groups, units of any size: rank within each group, then keep the prefix that comes nearest to its target."""
    together = np.concatenate(scores).astype(np.float64, copy=False)
    sizes = np.concatenate([pool.kept for pool in pools]).astype(np.int64)
    groups = np.concatenate([
        group.numbers() if isinstance(group, Runs) else np.broadcast_to(group, pool.scores.size)
        for group, pool in zip(contest.groups, pools, strict=True)
    ])  # fmt: skip
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
