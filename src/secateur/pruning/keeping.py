"""`keep`: from scores to a mask, at a density, with a scope and a unit. Pure."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from fnmatch import fnmatchcase
from typing import Any

import numpy as np
from torch import Tensor

from secateur.errors import PruningError, UnknownName
from secateur.linear_maps import SELECTABLE, LinearMap
from secateur.masks import Mask, Pattern
from secateur.pruning.pools import Flags, Pool, choose
from secateur.registry import Registry, scopes, units

Named = str | Mapping[str, Any]
"""A component and its options: a name, or a table that holds `name` and options."""


def keep(
    scores: Mapping[str, Tensor],
    mask: Mask,
    density: float,
    *,
    scope: Named = "global",
    unit: Named = "weight",
    rates: Mapping[str, float] | None = None,
    floor: int = 0,
    maps: Sequence[LinearMap] = (),
) -> Mask:
    """The mask that keeps the best of what `mask` keeps, at `density` of the prunable weights.

    `scores`: one tensor a parameter of the mask, of its shape; higher is kept; ties go to the lower position. Counts are
    exact: floor(density * prunable + 0.5) in each competing group (for units of several weights, the nearest that they allow; at most
    what the group still has). `rates` (selectors of `prunable_mask` -> relative rate, later ones first; for scopes layer, gate, neuron)
    slow a layer down: where a round keeps the fraction f of the others, a layer of rate r keeps 1 - r * (1 - f), and `density` is that
    of the layers at rate 1. `floor` is the least number of weights that each layer keeps. `maps` (`linear_maps(model)`) are needed by
    every scope and unit but global, layer and weight.
    """
    if not 0 <= density <= 1:
        raise PruningError(f"density {density} lies outside of [0, 1]")
    scope_name, scope_options = _named(scope)
    unit_name, unit_options = _named(unit)
    pools = units[unit_name](scores, mask, maps, **_checked(units, unit_name, unit_options))
    if rates and not scopes.entry(scope_name).traits["rates"]:
        raise PruningError(
            f"rates do not go with scope {scope_name!r}, which decides itself how much each layer keeps; use layer, gate or neuron"
        )
    densities = pool_densities(pools, density, rates or {}, maps)
    contest = scopes[scope_name](pools, densities, **_checked(scopes, scope_name, scope_options))
    return spread(mask, pools, choose(pools, contest, floor))


def spread(mask: Mask, pools: Sequence[Pool], chosen: Sequence[Flags]) -> Mask:
    """The mask that keeps, of what `mask` keeps, the weights that belong to chosen units only."""
    flags = {name: pattern.flags() for name, pattern in mask.patterns.items()}
    for pool, its in zip(pools, chosen, strict=True):
        for name, stays in pool.spread(its).items():
            flags[name] = flags[name] & stays

    def kept(name: str, pattern: Pattern) -> Pattern:
        return pattern.with_kept(np.ascontiguousarray(flags[name]))

    return mask.map(kept)


def pool_densities(pools: Sequence[Pool], density: float, rates: Mapping[str, float], maps: Sequence[LinearMap]) -> list[float]:
    """The density that each pool is to have. A pool's rate is that of the last selector which matches it, else 1."""
    if not rates:
        return [density] * len(pools)
    kinds = {entry.parameter: entry.kind for entry in maps}
    rate_of = dict.fromkeys((pool.name for pool in pools), 1.0)
    for selector, rate in rates.items():
        if not 0 <= rate <= 1:
            raise PruningError(f"rates: {selector!r} has rate {rate}, outside of [0, 1]")
        matched = [pool.name for pool in pools if kinds.get(pool.name) == selector or fnmatchcase(pool.name, selector)]
        if not matched and selector not in SELECTABLE:
            raise UnknownName("selector", selector, (*SELECTABLE, *rate_of), "rates")
        rate_of.update(dict.fromkeys(matched, rate))
    ordinary = [pool for pool in pools if rate_of[pool.name] == 1.0] or list(pools)
    kept, prunable = sum(pool.available for pool in ordinary), sum(pool.prunable for pool in ordinary)
    fraction = min(1.0, density * prunable / kept) if kept else 1.0
    return [
        density if rate_of[pool.name] == 1.0
        else (pool.available / pool.prunable if pool.prunable else 1.0) * (1.0 - rate_of[pool.name] * (1.0 - fraction))
        for pool in pools
    ]  # fmt: skip


def _named(component: Named) -> tuple[str, dict[str, Any]]:
    if isinstance(component, str):
        return component, {}
    options = dict(component)
    name = options.pop("name", None)
    if not isinstance(name, str):
        raise PruningError(f"{dict(component)!r} does not say its name")
    return name, options


def _checked(registry: Registry[Any], name: str, options: Mapping[str, Any]) -> Mapping[str, Any]:
    allowed = registry.entry(name).options
    for key in options:
        if key not in allowed:
            raise UnknownName("option", key, allowed, f"{registry.what} {name!r}")
    return options
