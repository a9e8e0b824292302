"""Where scores compete: everywhere, in each layer, gate or neuron; or within densities that an allocation gives each layer.

A scope is a function (pools, densities) -> `Contest`; `densities` holds the density that each pool is to have, the same for all
but where rates differ.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np
from numpy.typing import NDArray

from secateur.errors import PruningError
from secateur.pruning.pools import Contest, Pool, Runs, rounded
from secateur.registry import scopes

Scope = Callable[[Sequence[Pool], Sequence[float]], Contest]


@scopes.register("global", rates=False)
def global_(pools: Sequence[Pool], densities: Sequence[float]) -> Contest:
    """All units of the network compete. Scores of layers must be comparable: magnitudes of different fan-in are not."""
    return Contest([0] * len(pools), np.array([total_kept(pools, densities[0])]), exact=True)


@scopes.register("layer", rates=True)
def layer(pools: Sequence[Pool], densities: Sequence[float]) -> Contest:
    """The units of each layer compete: floor(density * prunable + 0.5) weights of each are kept."""
    targets = [rounded(density * pool.prunable) for pool, density in zip(pools, densities, strict=True)]
    return Contest(list(range(len(pools))), np.array(targets, dtype=np.int64))


@scopes.register("gate", rates=True)
def gate(pools: Sequence[Pool], densities: Sequence[float]) -> Contest:
    """The units of each block compete: a gate of a recurrent layer; q, k or v of an attention. Layers without blocks compete whole."""
    return _divided(pools, densities, [_runs_of_gates(pool) or pool.gates for pool in pools])


@scopes.register("neuron", rates=True)
def neuron(pools: Sequence[Pool], densities: Sequence[float]) -> Contest:
    """The weights of each output compete (Wanda's scope). Parameters that are no linear map compete whole."""
    return _divided(pools, densities, [_runs_of_neurons(pool) or pool.neurons for pool in pools])


def total_kept(pools: Sequence[Pool], density: float) -> int:
    """The number of weights that `density` means over all pools; `PruningError` when the present mask keeps fewer."""
    target = rounded(density * sum(pool.prunable for pool in pools))
    available = sum(pool.available for pool in pools)
    if target > available:
        raise PruningError(
            f"density {density} means {target} kept weights, but the mask keeps only {available}: keeping cannot bring weights back"
        )
    return target


def _divided(pools: Sequence[Pool], densities: Sequence[float], places: Sequence[Runs | NDArray[np.int64] | None]) -> Contest:
    """Each pool split into groups, numbered from 0; each group keeps its own rounded share."""
    groups: list[int | Runs | NDArray[np.int64]] = []
    targets: list[NDArray[np.int64]] = []
    first = 0
    for pool, density, place in zip(pools, densities, places, strict=True):
        if place is None:
            prunable = np.array([pool.prunable])
            groups.append(first)
        elif isinstance(place, Runs):
            prunable = np.diff(place.ends, prepend=0)
            groups.append(Runs(first, place.ends))
        else:
            prunable = np.bincount(place, weights=pool.weights)
            groups.append(place + first)
        targets.append(np.floor(density * prunable + 0.5).astype(np.int64))
        first += prunable.size
    return Contest(groups, np.concatenate(targets))


def _runs_of_gates(pool: Pool) -> Runs | None:
    """The gates of single weights that lie one behind the other, with nothing in between; None for others."""
    if pool.pattern is None or pool.pattern.excluded_rows or pool.entry is None or not pool.entry.blocks:
        return None
    stops = [block.stop for block in pool.entry.blocks]
    if [block.start for block in pool.entry.blocks] != [0, *stops[:-1]] or stops[-1] != pool.shape[0]:
        return None
    return Runs(0, np.array(stops, dtype=np.int64) * (pool.pattern.size // pool.shape[0]))


def _runs_of_neurons(pool: Pool) -> Runs | None:
    """The weights of each output, where they lie one behind the other; None for others."""
    if pool.pattern is None or pool.pattern.excluded_rows or pool.entry is None or pool.entry.output_axis != 0 or not pool.shape[0]:
        return None
    return Runs(0, np.arange(1, pool.shape[0] + 1) * (pool.pattern.size // pool.shape[0]))
