"""What `keep` promises, written out weight by weight for the small `Tagger`: units, who competes with whom, and the count of each group."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from torch import Tensor, nn

from secateur.linear_maps import linear_maps
from secateur.masks import Mask
from secateur.pruning.pools import allocate

Place = tuple[str, int]
"""A parameter and a flat position."""


@dataclass
class Unit:
    """Weights that go together: `own` count for it, `taken` (others' columns) go with it. `pool`: its layer; `part`: its gate or neuron."""

    pool: str
    own: list[Place]
    taken: list[Place]
    part: int = 0
    score: float = 0.0


def units_by_hand(model: nn.Module, mask: Mask, unit: str, scope: str) -> list[Unit]:
    """Every unit of the mask's parameters, in order of position."""
    maps = {entry.parameter: entry for entry in linear_maps(model)}
    excluded = {name: set(pattern.excluded_rows) for name, pattern in mask.patterns.items()}

    def places(name: str, chosen: NDArray[np.bool_]) -> list[Place]:
        rows = np.arange(chosen.shape[0]).reshape(-1, *(1,) * (chosen.ndim - 1))
        return [(name, int(place)) for place in np.flatnonzero(chosen & ~np.isin(rows, list(excluded[name])))]

    def grid(name: str) -> list[NDArray[np.int64]]:
        return list(np.indices(mask.pattern(name).shape))

    def gate(name: str, row: int) -> int:
        return next((number for number, block in enumerate(maps[name].blocks) if block.start <= row < block.stop), 0)

    found = []
    if unit == "hidden":
        for level in (0, 1):
            for way in ("", "_reverse"):
                ih, hh = f"lstm.weight_ih_l{level}{way}", f"lstm.weight_hh_l{level}{way}"
                for hidden in (0, 1):
                    own = [place for name in (ih, hh) for place in places(name, grid(name)[0] % 2 == hidden)]
                    taken = places(hh, grid(hh)[1] == hidden)
                    if level == 0:
                        column = hidden + (2 if way else 0)
                        for reader in ("lstm.weight_ih_l1", "lstm.weight_ih_l1_reverse"):
                            taken += places(reader, grid(reader)[1] == column)
                    found.append(Unit(ih, own, taken))
        return found
    if unit == "head":
        for head in (0, 1):
            own = places("attention.out_proj.weight", grid("attention.out_proj.weight")[1] // 2 == head)
            own += places("attention.in_proj_weight", grid("attention.in_proj_weight")[0] % 4 // 2 == head)
            found.append(Unit("attention.out_proj.weight", own, []))
        return found
    for name in mask:
        index = grid(name)
        if unit in ("row", "filter"):
            found += [
                Unit(name, places(name, index[0] == row), [], gate(name, row) if scope == "gate" else 0) for row in range(index[0].shape[0])
            ]
        elif unit == "block":
            flat = np.indices((index[0].shape[0], index[0].size // index[0].shape[0])).reshape(2, *index[0].shape)
            tiles = sorted({(int(a), int(b)) for a, b in zip((flat[0] // 4).flat, (flat[1] // 4).flat, strict=True)})
            found += [Unit(name, places(name, (flat[0] // 4 == top) & (flat[1] // 4 == left)), []) for top, left in tiles]
        else:
            neuron = index[maps[name].output_axis]
            along = index[1] // 4
            for place in np.ndindex(index[0].shape):
                chosen = np.zeros(index[0].shape, np.bool_)
                chosen[place] = True
                part = {"gate": gate(name, place[0]), "neuron": int(neuron[place])}.get(scope, 0)
                if unit == "2:4":
                    part = hash((int(neuron[place]), int(along[place]), *place[2:]))
                found.append(Unit(name, places(name, chosen), [], part))
    return [one for one in found if one.own]


def mask_by_hand(model: nn.Module, mask: Mask, scores: dict[str, Tensor], density: float, unit: str, scope: str) -> Mask:
    """The mask that keeps, in each group, the best units whose weights come nearest to its count."""
    units = units_by_hand(model, mask, unit, scope)
    flat = {name: value.detach().double().reshape(-1).numpy() for name, value in scores.items()}
    for one in units:
        one.score = float(np.mean([flat[name][place] for name, place in one.own + one.taken]))
    pools = list(dict.fromkeys(one.pool for one in units))
    weights = {pool: sum(len(one.own) for one in units if one.pool == pool) for pool in pools}

    def shape_of(pool: str) -> tuple[int, ...]:
        return mask.pattern(pool.replace("weight_ih", "weight_hh") if unit == "hidden" else pool).shape

    def kept_at(nominal: float) -> set[Place]:
        total = math.floor(nominal * sum(weights.values()) + 0.5)
        if scope in ("uniform", "erk") and unit != "2:4":
            shares = [weights[pool] * (sum(shape_of(pool)) / math.prod(shape_of(pool)) if scope == "erk" else 1.0) for pool in pools]
            targets = dict(zip(pools, allocate(shares, list(weights.values()), total), strict=True))
            chosen = [one for pool in pools for one in nearest([its for its in units if its.pool == pool], targets[pool])]
        elif scope in ("global", "lamp"):
            ranked = lamp(units, pools) if scope == "lamp" else [(one.score, one) for one in units]
            chosen = nearest(units, total, [score for score, _ in ranked])
        else:
            keys = dict.fromkeys((one.pool, one.part) for one in units)
            groups = [[one for one in units if (one.pool, one.part) == key] for key in keys]
            chosen = [one for its in groups for one in nearest(its, math.floor(nominal * sum(len(u.own) for u in its) + 0.5))]
        stays = {id(one) for one in chosen}
        gone = {place for one in units if id(one) not in stays for place in one.own + one.taken}
        return {place for one in chosen for place in one.own} - gone

    kept = kept_at(density)
    if unit == "hidden":  # columns of others go too: of all numbers of units, the one that comes nearest
        target = math.floor(density * mask.prunable + 0.5)
        kept = min((kept_at(density + (1 - density) * step / 400) for step in range(401)), key=lambda its: abs(len(its) - target))

    def flags(name: str) -> NDArray[np.bool_]:
        chosen = np.zeros(mask.pattern(name).size, np.bool_)
        chosen[[place for its, place in kept if its == name]] = True
        return chosen

    return mask.map(lambda name, pattern: pattern.with_kept(flags(name)))


def nearest(units: Sequence[Unit], target: int, scores: Sequence[float] | None = None) -> list[Unit]:
    """The best units, as many as bring their weights nearest to `target`, halves up."""
    scores = [one.score for one in units] if scores is None else scores
    order = sorted(range(len(units)), key=lambda number: -scores[number])
    best, kept = [], 0
    for number in order:
        if abs(kept + len(units[number].own) - target) > abs(kept - target):
            break
        kept += len(units[number].own)
        best.append(units[number])
    return best


def lamp(units: Sequence[Unit], pools: Sequence[str]) -> list[tuple[float, Unit]]:
    """s**2 / (sum of s**2 over units of the layer that rank no lower), in the order of the units."""
    found: dict[int, float] = {}
    for pool in pools:
        its = sorted((one for one in units if one.pool == pool), key=lambda one: -one.score)
        largest = its[0].score or 1.0
        total = 0.0
        for one in its:
            total += (one.score / largest) ** 2
            found[id(one)] = (one.score / largest) ** 2 / total if total else 0.0
    return [(found[id(one)], one) for one in units]
