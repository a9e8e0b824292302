"""Dynamic sparse training: pure functions that drop and grow weights of a mask."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any

import torch
from numpy.typing import NDArray
from torch import Tensor

from secateur.errors import PruningError
from secateur.masks import Mask, Pattern, zero_where
from secateur.pruning.choosing import Bits, renewed, renewed_by_shares
from secateur.pruning.pools import allocate, as_array, rounded
from secateur.registry import dynamic_methods
from secateur.seeds import generator as generator_for

Tensors = Mapping[str, Tensor]


@dataclass(frozen=True)
class Renewed:
    """A mask and what it was renewed from.

    A weight that is dropped and grown again in one renewal stays as it was, as in the authors' code of RigL.
    """

    mask: Mask
    before: Mask

    @property
    def dropped(self) -> Mask:
        """The weights it lost."""
        return self.before & ~self.mask

    @property
    def grown(self) -> Mask:
        """The weights it gained, which start at zero with zero moments."""
        return self.mask & ~self.before


@dynamic_methods.register("static", needs_gradients=False, needs_momentum=False)
def static(weights: Tensors, gradients: Tensors | None, mask: Mask, drop: float, generator: torch.Generator) -> Renewed:
    """Static sparse training: the mask stays as it was drawn."""
    return Renewed(mask, mask)


@dynamic_methods.register("set", needs_gradients=False, needs_momentum=False)
def set_(weights: Tensors, gradients: Tensors | None, mask: Mask, drop: float, generator: torch.Generator) -> Renewed:
    """SET (Mocanu et al. 2018): each layer drops the fraction `drop` of its weights, smallest |w| first, and grows as many at random."""
    seed = int(torch.randint(2**62, (), generator=generator))
    counts = _drops(mask, drop)
    return _renewed(weights, mask, counts, counts, lambda name: {"seed": generator_for(seed, name).initial_seed()})


@dynamic_methods.register("rigl", needs_gradients=True, needs_momentum=False)
def rigl(weights: Tensors, gradients: Tensors | None, mask: Mask, drop: float, generator: torch.Generator) -> Renewed:
    """RigL (Evci et al. 2020): each layer drops its smallest |w| and grows as many where |dL/dw| is largest, kept weights aside."""
    counts = _drops(mask, drop)
    return _renewed(weights, mask, counts, counts, _where_largest(_given(gradients, "rigl")))


@dynamic_methods.register("snfs", needs_gradients=True, needs_momentum=True)
def snfs(weights: Tensors, gradients: Tensors | None, mask: Mask, drop: float, generator: torch.Generator) -> Renewed:
    """SNFS (Dettmers & Zettlemoyer 2019): `gradients` smoothed by momentum decide where to grow, and how much each layer grows.

    Each layer drops its smallest |w|; all that was dropped is shared out in proportion to the mean |momentum| of each layer's kept weights,
    and what a full layer cannot take goes to the others.
    """
    by = _where_largest(_given(gradients, "snfs"))
    drops = _drops(mask, drop)
    patterns = mask.patterns
    room = [pattern.prunable - pattern.kept + drops[name] for name, pattern in patterns.items()]

    def shares(magnitudes: list[float]) -> list[int]:
        means = [magnitude / max(pattern.kept, 1) for magnitude, pattern in zip(magnitudes, patterns.values(), strict=True)]
        return allocate(means, room, sum(drops.values()))

    found = renewed_by_shares(
        [_weight(weights, name) for name in patterns],
        [pattern.bits() for pattern in patterns.values()],
        [pattern.kept - drops[name] for name, pattern in patterns.items()],
        [by(name)["growth"] for name in patterns],
        [_prunable(pattern) for pattern in patterns.values()],
        shares,
    )
    return _of_bits(mask, found)


def clear(state: Mapping[str, Any], where: Pattern, but: Pattern | None = None) -> None:
    """Zero an optimiser's state of one parameter wherever `where`, of the parameter's shape, keeps and `but` does not, in place.

    Every tensor of the parameter's shape is a moment and is cleared; step counts are not.
    """
    for value in state.values():
        if isinstance(value, Tensor) and tuple(value.shape) == where.shape and value.dim() > 0:
            zero_where(value, where, but)


def _drops(mask: Mask, drop: float) -> dict[str, int]:
    if not 0 <= drop <= 1:
        raise PruningError(f"a drop fraction of {drop} lies outside of [0, 1]")
    return {name: rounded(drop * pattern.kept) for name, pattern in mask.patterns.items()}


def _given(gradients: Tensors | None, method: str) -> Tensors:
    if gradients is None:
        raise PruningError(f"{method} grows where gradients are large: it needs dense gradients")
    return gradients


def _where_largest(growth: Tensors) -> Callable[[str], dict[str, Any]]:
    """Grows the places of largest |growth|."""

    def by(name: str) -> dict[str, Any]:
        if name not in growth:
            raise PruningError(f"there is no gradient for {name!r}, which the mask covers")
        return {"growth": as_array(growth[name])}

    return by


def _renewed(
    weights: Tensors, mask: Mask, drops: Mapping[str, int], grows: Mapping[str, int], by: Callable[[str], dict[str, Any]]
) -> Renewed:
    """Drop the smallest kept weights of each parameter, then grow others of what is not kept now; `by`: by what `renewed` chooses them."""
    layers = []
    for name, pattern in mask.patterns.items():
        weight, stay = _weight(weights, name), pattern.kept - drops[name]
        layers.append(partial(renewed, weight, pattern.bits(), stay, grows[name], prunable=_prunable(pattern), **by(name)))
    return _of_bits(mask, [renew() for renew in layers])  # one kernel after another: each pushes out of the cache what Python needs


def _weight(weights: Tensors, name: str) -> NDArray[Any]:
    if name not in weights:
        raise PruningError(f"there is no weight for {name!r}, which the mask covers")
    return as_array(weights[name])


def _prunable(pattern: Pattern) -> Bits | None:
    return pattern.prunable_bits() if pattern.excluded_rows else None


def _of_bits(mask: Mask, found: Sequence[Bits]) -> Renewed:
    return Renewed(Mask({name: pattern.with_bits(bits) for (name, pattern), bits in zip(mask.patterns.items(), found, strict=True)}), mask)
