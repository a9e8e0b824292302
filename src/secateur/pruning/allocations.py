"""Allocations: scopes that first fix each layer's density, so that the total is exact."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from secateur.errors import PruningError
from secateur.pruning.pools import Contest, Pool, allocate, check_finite
from secateur.pruning.scopes import total_kept
from secateur.registry import scopes


def _allocated(pools: Sequence[Pool], density: float, shares: Sequence[float]) -> Contest:
    total = total_kept(pools, density)
    targets = allocate(shares, [pool.available for pool in pools], total)
    return Contest(list(range(len(pools))), np.array(targets, dtype=np.int64), exact=True)


@scopes.register("uniform", rates=False, allocation=True)
def uniform(pools: Sequence[Pool], densities: Sequence[float]) -> Contest:
    """Each layer has the same density, and the total is exact: as scope layer, but shares are rounded by largest remainders."""
    return _allocated(pools, densities[0], [pool.prunable for pool in pools])


@scopes.register("erk", rates=False, allocation=True)
def erk(pools: Sequence[Pool], densities: Sequence[float]) -> Contest:
    """Erdos-Renyi-kernel (Evci et al. 2020): density of a layer proportional to (sum of its dimensions) / (their product).

    A layer whose share exceeds 1 is full, and what it cannot take goes to the others in proportion. Packed matrices (gates; q, k, v) count
    with the shape they are stored in.
    """
    return _allocated(
        pools, densities[0], [pool.prunable * sum(pool.shape) / math.prod(pool.shape) if pool.prunable else 0.0 for pool in pools]
    )


@scopes.register("lamp", rates=False, allocation=True, non_negative=True)
def lamp(pools: Sequence[Pool], densities: Sequence[float]) -> Contest:
    """LAMP (Lee et al. 2021): all compete by s**2 / (sum of s**2 over what ranks no lower in the layer); s is the (non-negative) score."""
    total = total_kept(pools, densities[0])
    return Contest([0] * len(pools), np.array([total]), exact=True, lamp=True)


def lamp_scores(pool: Pool) -> NDArray[np.float64]:
    """The LAMP score of each unit among the pool's kept ones (0 for the others); of equal scores the lower position ranks higher."""
    if pool.pattern is not None:
        check_finite(pool.name, pool.scores, pool.pattern)
    places = np.flatnonzero(pool.candidates)
    values = pool.scores[places]
    if (values < 0).any():
        raise PruningError(f"scope 'lamp' squares scores, and those of {pool.name!r} are negative in places: it needs a non-negative score")
    places, ordered = _falling(places, values)
    squares = ordered.astype(np.float64)
    if squares.size and squares[0] > 0:
        squares = (squares / squares[0]) ** 2
    ranked = np.cumsum(squares)
    scores = np.zeros(pool.scores.size)
    scores[places] = np.divide(squares, ranked, out=np.zeros_like(ranked), where=ranked > 0)
    return scores


def _falling(places: NDArray[np.int64], values: NDArray[Any]) -> tuple[NDArray[np.int64], NDArray[Any]]:
    """Places (ascending) and their non-negative values, the highest value first, of equal ones the lower place."""
    if values.dtype != np.float32 or (places.size and places[-1] >= 1 << 32):
        order = np.argsort(-values, kind="stable")
        return places[order], values[order]
    # Bits of non-negative numbers rank as the numbers do: one whole number a weight is sorted several times faster than an order found.
    bits = np.abs(values).view(np.uint32)
    keys = np.sort((~bits).astype(np.uint64) << np.uint64(32) | places.astype(np.uint64))
    found = ~(keys >> np.uint64(32)).astype(np.uint32)
    return (keys & np.uint64(0xFFFFFFFF)).astype(np.int64), found.view(np.float32)
