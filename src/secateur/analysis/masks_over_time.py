"""How alike masks are: over time, over seeds, over layers. Pure functions of masks, each with what chance alone would give."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import combinations

import numpy as np
import polars as pl

from secateur.errors import PruningError
from secateur.masks import Mask, Pattern


@dataclass(frozen=True)
class Agreement:
    """How two masks agree on `prunable` weights, of which they keep `first` and `second`, and both keep `both`."""

    prunable: int
    first: int
    second: int
    both: int

    @property
    def hamming(self) -> float:
        """The fraction of prunable weights on which the masks differ."""
        return (self.first + self.second - 2 * self.both) / self.prunable if self.prunable else 0.0

    @property
    def jaccard(self) -> float:
        """Kept by both / kept by either; 1 where neither keeps any."""
        either = self.first + self.second - self.both
        return self.both / either if either else 1.0

    @property
    def overlap(self) -> float:
        """Kept by both / kept by the sparser one; 1 where that keeps none."""
        fewer = min(self.first, self.second)
        return self.both / fewer if fewer else 1.0

    @property
    def chance(self) -> float:
        """The overlap expected of independent random masks with the same counts: the density of the denser one."""
        return max(self.first, self.second) / self.prunable if self.prunable else 1.0


def agreement(first: Mask, second: Mask) -> Agreement:
    """How two masks over the same parameters agree, all weights taken together."""
    parts = list(agreement_by_parameter(first, second).values())
    return Agreement(*(sum(getattr(part, name) for part in parts) for name in ("prunable", "first", "second", "both")))


def agreement_by_parameter(first: Mask, second: Mask) -> dict[str, Agreement]:
    """How two masks over the same parameters agree, for each parameter. `PruningError` for masks over different ones."""
    if set(first) != set(second):
        raise PruningError(f"masks over different parameters cannot be compared: {', '.join(sorted(set(first) ^ set(second)))}")
    return {
        name: Agreement(pattern.prunable, pattern.kept, second.pattern(name).kept, _kept_by_both(pattern, second.pattern(name)))
        for name, pattern in first.patterns.items()
    }


def beyond_chance(first: Mask, second: Mask) -> float | None:
    """How much of the sparser mask the other holds too, beyond what independent random masks as dense in each parameter would: 1 when
    all of it, 0 as by chance, below 0 when they avoid one another. None where chance alone gives all."""
    parts = agreement_by_parameter(first, second).values()
    expected = sum(part.first * part.second / part.prunable for part in parts if part.prunable)
    fewer = sum(min(part.first, part.second) for part in parts)
    both = sum(part.both for part in parts)
    return (both - expected) / (fewer - expected) if fewer > expected else None


def _kept_by_both(first: Pattern, second: Pattern) -> int:
    """Weights that both patterns keep, counted in the form in which they are held. `PruningError` for other shapes."""
    if first.shape != second.shape:
        raise PruningError(f"masks of shapes {first.shape} and {second.shape} cannot be compared")
    (form, mine), (other_form, theirs) = first.stored(), second.stored()
    if form == other_form == "bits":
        return int(np.count_nonzero(np.unpackbits(mine & theirs)))
    return int(np.intersect1d(first.indices(), second.indices(), assume_unique=True).size)


def pairwise(masks: Mapping[str, Mask]) -> pl.DataFrame:
    """All pairs of named masks (of seeds, arms, levels), for each parameter and, under `parameter` null, for all together.

    Columns: first, second, parameter, prunable, kept_first, kept_second, kept_both, hamming, jaccard, overlap, chance.
    """
    rows = []
    for one, other in combinations(masks, 2):
        parts = agreement_by_parameter(masks[one], masks[other])
        rows += [
            _row(one, other, None, agreement(masks[one], masks[other])),
            *(_row(one, other, name, part) for name, part in parts.items()),
        ]
    return pl.DataFrame(rows, schema=_COLUMNS)


def over_time(history: Sequence[tuple[int, Mask]]) -> pl.DataFrame:
    """A mask's history, (step, mask) in order: for each step and parameter (null: all) the distance to the mask before, to the first
    and to the last, and the weights dropped and grown since the one before.

    Columns: step, parameter, density, since_before, since_first, to_last, dropped, grown.
    """
    rows = []
    for number, (step, mask) in enumerate(history):
        compared = {
            "before": history[max(number - 1, 0)][1], "first": history[0][1], "last": history[-1][1],
        }  # fmt: skip
        parts = {key: {None: agreement(other, mask), **agreement_by_parameter(other, mask)} for key, other in compared.items()}
        for name, part in parts["before"].items():
            rows.append({
                "step": step, "parameter": name, "density": part.second / part.prunable if part.prunable else 1.0,
                "since_before": part.hamming, "since_first": parts["first"][name].hamming, "to_last": parts["last"][name].hamming,
                "dropped": part.first - part.both, "grown": part.second - part.both,
            })  # fmt: skip
    return pl.DataFrame(rows, schema=_HISTORY)


def ever_kept(history: Sequence[tuple[int, Mask]]) -> float:
    """The fraction of prunable weights that some mask of the history kept: how much a dynamic method has explored."""
    union = history[0][1]
    for _, mask in history[1:]:
        union = union | mask
    return union.density


def kept_connections(mask: Mask) -> dict[str, tuple[int, int]]:
    """For each matrix or filter bank, (outputs without a kept weight, inputs without one), excluded rows aside: what is cut off."""
    found = {}
    for name, pattern in mask.patterns.items():
        if len(pattern.shape) < 2:
            continue
        flags = pattern.flags().reshape(*pattern.shape[:2], -1).any(2)
        rows = np.delete(flags, list(pattern.excluded_rows), axis=0)
        found[name] = (int((~rows.any(1)).sum()), int((~rows.any(0)).sum()))
    return found


_COLUMNS = {
    "first": pl.String, "second": pl.String, "parameter": pl.String, "prunable": pl.Int64, "kept_first": pl.Int64, "kept_second": pl.Int64,
    "kept_both": pl.Int64, "hamming": pl.Float64, "jaccard": pl.Float64, "overlap": pl.Float64, "chance": pl.Float64,
}  # fmt: skip
_HISTORY = {
    "step": pl.Int64, "parameter": pl.String, "density": pl.Float64, "since_before": pl.Float64, "since_first": pl.Float64,
    "to_last": pl.Float64, "dropped": pl.Int64, "grown": pl.Int64,
}  # fmt: skip


def _row(first: str, second: str, parameter: str | None, part: Agreement) -> dict[str, object]:
    return {
        "first": first, "second": second, "parameter": parameter, "prunable": part.prunable, "kept_first": part.first,
        "kept_second": part.second, "kept_both": part.both, "hamming": part.hamming, "jaccard": part.jaccard, "overlap": part.overlap,
        "chance": part.chance,
    }  # fmt: skip
