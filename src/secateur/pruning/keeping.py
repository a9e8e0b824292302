"""`keep`: from scores to a mask, at a density, with a scope and a unit. Pure."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from fnmatch import fnmatchcase
from typing import Any

import numpy as np
from torch import Tensor

from secateur.errors import PruningError, UnknownName
from secateur.linear_maps import SELECTABLE, LinearMap
from secateur.masks import Mask, Pattern
from secateur.pruning.choosing import choose, choose_weights, consists_of_weights
from secateur.pruning.combinations import check
from secateur.pruning.pools import Contest, Flags, Pool, Runs, rounded
from secateur.registry import Registry, scopes, units

Named = str | Mapping[str, Any]
"""A component and its options: a name, or a table that holds `name` and options. `"2:4"` is short for unit nm."""


def keep(
    scores: Mapping[str, Tensor],
    mask: Mask,
    density: float | None,
    *,
    scope: Named | None = None,
    unit: Named = "weight",
    rates: Mapping[str, float] | None = None,
    floor: int = 0,
    maps: Sequence[LinearMap] = (),
) -> Mask:
    """The mask that keeps the best of what `mask` keeps, at `density` of the prunable weights.

    `scores`: one tensor a parameter of the mask, of its shape; higher is kept; ties go to the lower position. Counts are exact:
    floor(density * prunable + 0.5) in each competing group (for units of several weights, the nearest that they allow; at most what the
    group still has). `scope` is global unless given. `floor` is the least number of weights that each layer keeps. `maps`
    (`linear_maps(model)`) are needed by every scope and unit but global, layer, the allocations and weight.

    `rates` (selectors of `prunable_mask` -> relative rate, later ones first; for scopes layer, gate, neuron) slow layers down: where a
    round keeps the fraction f of the others, a layer of rate r keeps 1 - r * (1 - f), and `density` is that of the layers at rate 1.

    Unit nm fixes its density itself: None, or n / m. `PruningError` for what cannot be, with the reason.
    """
    unit_name, unit_options = named(unit)
    scope_name, scope_options = named(scope if scope is not None else "layer" if unit_name == "nm" else "global")
    check(scope=scope_name, unit=unit_name, rates=bool(rates))
    pools = units[unit_name](scores, mask, maps, **checked_options(units, unit_name, unit_options))
    if units.entry(unit_name).traits.get("own_density"):
        _check_own_density(density, pools, mask)
        return spread(mask, pools, choose(pools, _fixed(pools), floor))
    if density is None:
        raise PruningError(f"unit {unit_name!r} needs a density")
    if not 0 <= density <= 1:
        raise PruningError(f"density {density} lies outside of [0, 1]")
    make, options = scopes[scope_name], checked_options(scopes, scope_name, scope_options)

    def kept_at(nominal: float) -> Mask:
        densities = pool_densities(pools, nominal, rates or {}, maps)
        contest = make(pools, densities, **options)
        if floor <= 0 and consists_of_weights(pools, contest):
            bits = choose_weights(pools, contest)
            return Mask({pool.name: mask.pattern(pool.name).with_bits(its) for pool, its in zip(pools, bits, strict=True)})
        return spread(mask, pools, choose(pools, contest, floor))

    if units.entry(unit_name).traits.get("coupled"):
        return _nearest(kept_at, density, rounded(density * mask.prunable))
    return kept_at(density)


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


def named(component: Named) -> tuple[str, dict[str, Any]]:
    """A component's name and options."""
    if isinstance(component, str):
        ratio = re.fullmatch(r"(\d+):(\d+)", component)
        return ("nm", {"n": int(ratio[1]), "m": int(ratio[2])}) if ratio else (component, {})
    options = dict(component)
    name = options.pop("name", None)
    if not isinstance(name, str):
        raise PruningError(f"{dict(component)!r} does not say its name")
    return name, options


def checked_options(registry: Registry[Any], name: str, options: Mapping[str, Any]) -> Mapping[str, Any]:
    """`options`, if the component knows them all; `UnknownName` otherwise."""
    allowed = registry.entry(name).options
    for key in options:
        if key not in allowed:
            raise UnknownName("option", key, allowed, f"{registry.what} {name!r}")
    return options


def _fixed(pools: Sequence[Pool]) -> Contest:
    """The contest of a unit that sets its own groups and quotas."""
    groups: list[int | Runs | np.ndarray[Any, np.dtype[np.int64]]] = []
    quotas, first = [], 0
    for pool in pools:
        assert pool.groups is not None
        assert pool.quota is not None
        groups.append(pool.groups + first)
        quotas.append(pool.quota)
        first += pool.quota.size
    return Contest(groups, np.concatenate(quotas))


def _check_own_density(density: float | None, pools: Sequence[Pool], mask: Mask) -> None:
    fixed = sum(int(pool.quota.sum()) for pool in pools if pool.quota is not None)
    if density is not None and abs(density * mask.prunable - fixed) > 0.5 + 1e-9 * mask.prunable:
        raise PruningError(f"unit 'nm' fixes its own density, here {fixed / mask.prunable:.6g}; density {density} cannot be asked for")


def _nearest(kept_at: Any, density: float, target: int) -> Mask:
    """The mask nearest to `target` weights among those of nominal densities from `density` upwards, by bisection.

    Removing a coupled unit takes others' weights with it, so the density comes out lower than the one that units were chosen by.
    """
    low, high = density, 1.0
    best: Mask = kept_at(low)
    for _ in range(30):
        if best.kept == target:
            break
        middle = (low + high) / 2
        candidate: Mask = kept_at(middle)
        if abs(candidate.kept - target) < abs(best.kept - target):
            best = candidate
        low, high = (middle, high) if candidate.kept < target else (low, middle)
    return best
