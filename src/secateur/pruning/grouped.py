"""Pools of units that hold several weights, perhaps of several parameters."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from secateur.masks import Mask
from secateur.pruning.pools import Flags, Pool, prunable_flags


@dataclass(frozen=True)
class Member:
    """A parameter's part in units: for each of its weights the number of its unit, or -1.

    Weights that are not `owned` count with another unit (a recurrent weight with the unit whose row it is in) and go when either goes.
    """

    parameter: str
    ids: NDArray[np.int64]
    owned: bool = True


def grouped_pool(
    name: str,
    shape: tuple[int, ...],
    members: Sequence[Member],
    arrays: Mapping[str, NDArray[np.floating[Any]]],
    mask: Mask,
    reduce: str,
    gates: NDArray[np.int64] | None = None,
) -> Pool:
    """The pool of units that `members` make up, from flat scores of parameters; a unit without kept weights is no candidate."""
    count = max(int(member.ids.max()) for member in members) + 1
    total, seen, kept, weights = np.zeros(count), np.zeros(count), np.zeros(count, np.int64), np.zeros(count, np.int64)
    highest = np.full(count, -np.inf)
    for member in members:
        pattern = mask.pattern(member.parameter)
        ids, flags, values = member.ids.reshape(-1), pattern.flags().reshape(-1), arrays[member.parameter].astype(np.float64)
        read = flags & (ids >= 0)
        total += np.bincount(ids[read], weights=values[read] ** 2 if reduce == "norm" else values[read], minlength=count)
        seen += np.bincount(ids[read], minlength=count)
        np.maximum.at(highest, ids[read], values[read])
        if member.owned:
            kept += np.bincount(ids[read], minlength=count)
            weights += np.bincount(ids[(ids >= 0) & prunable_flags(pattern).reshape(-1)], minlength=count)
    reduced = {
        "mean": np.divide(total, seen, out=np.zeros(count), where=seen > 0),
        "sum": total,
        "max": np.where(seen > 0, highest, 0.0),
        "norm": np.sqrt(np.maximum(total, 0.0)),
    }[reduce]

    def spread(chosen: Flags) -> Mapping[str, Flags]:
        stays: dict[str, Flags] = {}
        with_none = np.append(chosen, True)
        for member in members:
            flags = with_none[member.ids]
            stays[member.parameter] = stays[member.parameter] & flags if member.parameter in stays else flags
        return stays

    return Pool(name, shape, reduced, spread, sizes=weights, sizes_kept=kept, own_gates=gates)
