"""Dynamic sparse training: pure functions that drop and grow weights of a mask."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor

from secateur.errors import PruningError
from secateur.masks import Mask, Pattern, zero_where
from secateur.pruning.choosing import highest
from secateur.pruning.pools import allocate, as_array, rounded
from secateur.registry import dynamic_methods
from secateur.seeds import generator as generator_for

Tensors = Mapping[str, Tensor]


@dataclass(frozen=True)
class Renewed:
    """A renewed mask; the weights it lost, and those it gained, which start at zero with zero moments.

    A weight that is dropped and grown again in one renewal is neither: it stays as it was, as in the authors' code of RigL.
    """

    mask: Mask
    dropped: Mask
    grown: Mask


@dynamic_methods.register("static", needs_gradients=False, needs_momentum=False)
def static(weights: Tensors, gradients: Tensors | None, mask: Mask, drop: float, generator: torch.Generator) -> Renewed:
    """Static sparse training: the mask stays as it was drawn."""
    return _compared(mask, mask)


@dynamic_methods.register("set", needs_gradients=False, needs_momentum=False)
def set_(weights: Tensors, gradients: Tensors | None, mask: Mask, drop: float, generator: torch.Generator) -> Renewed:
    """SET (Mocanu et al. 2018): each layer drops the fraction `drop` of its weights, smallest |w| first, and grows as many at random."""
    seed = int(torch.randint(2**62, (), generator=generator))
    draws = {
        name: torch.rand(pattern.shape, generator=generator_for(seed, name), dtype=torch.float64) for name, pattern in mask.patterns.items()
    }
    counts = _drops(mask, drop)
    return _renewed(weights, draws, mask, counts, counts)


@dynamic_methods.register("rigl", needs_gradients=True, needs_momentum=False)
def rigl(weights: Tensors, gradients: Tensors | None, mask: Mask, drop: float, generator: torch.Generator) -> Renewed:
    """RigL (Evci et al. 2020): each layer drops its smallest |w| and grows as many where |dL/dw| is largest, kept weights aside."""
    counts = _drops(mask, drop)
    return _renewed(weights, _given(gradients, "rigl"), mask, counts, counts)


@dynamic_methods.register("snfs", needs_gradients=True, needs_momentum=True)
def snfs(weights: Tensors, gradients: Tensors | None, mask: Mask, drop: float, generator: torch.Generator) -> Renewed:
    """SNFS (Dettmers & Zettlemoyer 2019): `gradients` smoothed by momentum decide where to grow, and how much each layer grows.

    Each layer drops its smallest |w|; all that was dropped is shared out in proportion to the mean |momentum| of each layer's kept weights,
    and what a full layer cannot take goes to the others.
    """
    momentum = _given(gradients, "snfs")
    drops = _drops(mask, drop)
    means, room = [], []
    for name, pattern in mask.patterns.items():
        values = np.abs(as_array(momentum[name])[pattern.indices()])
        means.append(float(values.mean(dtype=np.float64)) if values.size else 0.0)
        room.append(pattern.prunable - pattern.kept + drops[name])
    grows = dict(zip(mask, allocate(means, room, sum(drops.values())), strict=True))
    return _renewed(weights, momentum, mask, drops, grows)


def clear(state: Mapping[str, Any], where: Pattern) -> None:
    """Zero an optimiser's state of one parameter wherever `where`, of the parameter's shape, is set, in place.

    Every tensor of the parameter's shape is a moment and is cleared; step counts are not.
    """
    for value in state.values():
        if isinstance(value, Tensor) and tuple(value.shape) == where.shape and value.dim() > 0:
            zero_where(value, where)


def _drops(mask: Mask, drop: float) -> dict[str, int]:
    if not 0 <= drop <= 1:
        raise PruningError(f"a drop fraction of {drop} lies outside of [0, 1]")
    return {name: rounded(drop * pattern.kept) for name, pattern in mask.patterns.items()}


def _given(gradients: Tensors | None, method: str) -> Tensors:
    if gradients is None:
        raise PruningError(f"{method} grows where gradients are large: it needs dense gradients")
    return gradients


def _renewed(weights: Tensors, growth: Tensors, mask: Mask, drops: Mapping[str, int], grows: Mapping[str, int]) -> Renewed:
    """Drop the smallest kept weights of each parameter, then grow where |growth| is largest among what is not kept now."""

    def renew(name: str, pattern: Pattern) -> Pattern:
        if name not in weights or name not in growth:
            raise PruningError(f"there is no weight or gradient for {name!r}, which the mask covers")
        stays = highest(as_array(weights[name]), pattern.bits(), pattern.kept - drops[name], magnitude=True)
        free = pattern.prunable_bits() & ~stays
        return pattern.with_bits(stays | highest(as_array(growth[name]), free, grows[name], magnitude=True))

    return _compared(mask, mask.map(renew))


def _compared(old: Mask, new: Mask) -> Renewed:
    return Renewed(new, old & ~new, new & ~old)
