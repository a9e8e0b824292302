"""How alike masks are: between seeds, between arms, and over the course of training."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from itertools import combinations
from typing import Any

import polars as pl

from secateur.analysis import phrasing as say
from secateur.analysis.masks_over_time import beyond_chance, over_time
from secateur.masks import Mask
from secateur.reports.analyses import Analysis
from secateur.reports.chart_data import series_of
from secateur.reports.questions import arms
from secateur.reports.study import Reported

Identity = Mapping[str, Any]
MOST_ARMS = 12
_ALIKE = 0.1
_BEYOND = (
    "Of the weights that the sparser mask keeps, how many the other keeps too, beyond what random masks as dense in each layer share: "
    "100 % is all of them, 0 as by chance."
)


def analyses(
    reported: Reported, masks: Iterable[tuple[Identity, Mask]], histories: Iterable[tuple[Identity, Sequence[tuple[int, Mask]]]]
) -> Iterator[Analysis]:
    """Overlap between seeds and between arms of the last masks of arms that draw their own; distances along histories of masks."""
    own = [(identity, mask) for identity, mask in masks if "mask_from" not in arms.settings_of(reported, identity["arm"])]
    by_level = _chosen_levels(own)
    yield from _between_seeds(by_level)
    yield from _between_arms(by_level)
    yield from _over_training(histories)


Group = dict[str, dict[tuple[Any, ...], Mask]]


def _chosen_levels(masks: Sequence[tuple[Identity, Mask]]) -> dict[str, Group]:
    """Weights left -> series -> (replicate, factors) -> mask, for some levels, dense to sparse. Only masks about as dense share a level."""
    densities: dict[int, list[float]] = {}
    for identity, mask in masks:
        densities.setdefault(identity["level"], []).append(mask.density)
    levels = [level for level in sorted(densities) if max(densities[level]) <= (1 + _ALIKE) * min(densities[level])]
    most = arms.MOST_LEVELS
    chosen = [levels[round(index * (len(levels) - 1) / (most - 1))] for index in range(most)] if len(levels) > most else levels
    named = {level: say.density(sum(densities[level]) / len(densities[level])) for level in chosen}
    grouped: dict[str, Group] = {named[level]: {} for level in chosen}
    for identity, mask in masks:
        if identity["level"] in named:
            grouped[named[identity["level"]]].setdefault(series_of(identity), {})[(identity["replicate"],)] = mask
    return grouped


def _between_seeds(by_level: Mapping[str, Group]) -> Iterator[Analysis]:
    rows = []
    for group in by_level.values():
        for series, replicates in group.items():
            kept = 100 * sum(mask.density for mask in replicates.values()) / len(replicates)
            for (one, first), (other, second) in combinations(replicates.items(), 2):
                shared = beyond_chance(first, second) if set(first) == set(second) else None
                if shared is not None:
                    rows.append({"series": series, "kept": round(kept, 4), "seeds": f"{one[0]} and {other[0]}", "beyond": shared})
    if not rows:
        return
    yield Analysis(
        name="overlap-seeds",
        title="Do different seeds keep the same weights?",
        lead="Masks of one arm at one density, compared between replicates, which began from other weights.",
        caption=f"{_BEYOND} Means over pairs of replicates, which are not independent and have no interval.",
        frame=pl.DataFrame(rows),
        kind="lines",
        x="kept",
        value="beyond",
        series="series",
        kept=True,
        coloured="arms",
        interval=False,
        percent=True,
        mark=(0.0, "by chance"),
        x_title="weights left (%)",
        value_title="shared beyond chance",
    )


def _between_arms(by_level: Mapping[str, Group]) -> Iterator[Analysis]:
    names = list(dict.fromkeys(series for group in by_level.values() for series in group))
    if not 2 <= len(names) <= MOST_ARMS:
        return
    rows = []
    for left, group in by_level.items():
        for one in names:
            for other in names:
                if one == other or one not in group or other not in group:
                    continue
                for key in group[one].keys() & group[other].keys():
                    first, second = group[one][key], group[other][key]
                    shared = beyond_chance(first, second) if _comparable(first, second) else None
                    if shared is not None:
                        rows.append({"left": left, "one": one, "other": other, "beyond": shared})
    if not rows:
        return
    yield Analysis(
        name="overlap-arms",
        title="Do different arms keep the same weights?",
        lead="Masks of two arms in the same replicate, which began from the same weights.",
        caption=f"{_BEYOND} Percent; means over replicates.",
        frame=pl.DataFrame(rows),
        kind="matrix",
        x="other",
        y="one",
        value="beyond",
        pick="left",
        pick_title="Weights left",
        percent=True,
        value_title="shared beyond chance, %",
        x_title="the other",
    )


def _comparable(first: Mask, second: Mask) -> bool:
    shapes = [{name: pattern.shape for name, pattern in mask.patterns.items()} for mask in (first, second)]
    return shapes[0] == shapes[1]


def _over_training(histories: Iterable[tuple[Identity, Sequence[tuple[int, Mask]]]]) -> Iterator[Analysis]:
    """How far masks still move: distance to the mask drawn before, and to the last."""
    rows = []
    for identity, history in histories:
        if len(history) < 2:
            continue
        frame = over_time(history).filter(pl.col("parameter").is_null())
        place = {"series": series_of(identity), "level": identity["level"], "density": history[-1][1].density}
        for row in frame.iter_rows(named=True):
            if row["step"] != history[0][0]:
                rows.append(place | {"step": row["step"], "distance": row["since_before"], "to": "the mask drawn before"})
            rows.append(place | {"step": row["step"], "distance": row["to_last"], "to": "the last mask"})
    if not rows:
        return
    shown = arms.with_left(pl.DataFrame(rows), most=3)
    several = shown["left"].n_unique() > 1
    series = pl.concat_str(["series", pl.lit(" at "), "left"]) if several else pl.col("series")
    yield Analysis(
        name="masks-over-time",
        title="When do masks settle?",
        lead="Masks drawn while training: the distance of each to the one before, or to the one that training ended with.",
        caption="Fraction of prunable weights on which two masks differ; means over replicates with 95 % intervals.",
        frame=shown.with_columns(series.alias("line")).sort("to", "level", maintain_order=True),
        kind="lines",
        x="step",
        value="distance",
        series="line",
        pick="to",
        pick_title="Distance to",
        percent=True,
        x_title="training step",
        value_title="distance between masks",
    )
