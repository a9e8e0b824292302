"""What an arm's settings say about it: where it restarts, what it differs in, which arms are controls."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import polars as pl

from secateur.analysis import phrasing as say
from secateur.canonical import canonical_json
from secateur.pruning.rewind import Rewind
from secateur.reports.chart_data import series_of
from secateur.reports.study import Reported
from secateur.steps import Step

_FEWEST_POINTS = 3
MOST_LEVELS = 7


def settings_of(reported: Reported, arm: str) -> Mapping[str, Any]:
    """An arm's own settings, as the recipe gives them."""
    settings: Mapping[str, Any] = reported.method.get("arms", {}).get(arm, {})
    return settings


def rewind_of(reported: Reported, arm: str) -> Rewind:
    """Where an arm restarts: by its own settings, else by the recipe's, else at the initial weights."""
    return Rewind.parse(settings_of(reported, arm).get("rewind", reported.method.get("rewind", "init")))


def is_untrained(reported: Reported, arm: str) -> bool:
    """Whether the arm's networks are never trained."""
    length = settings_of(reported, arm).get("train", {}).get("length")
    return length is not None and Step.parse(length).count == 0


def controls(reported: Reported) -> list[str]:
    """Arms whose masks or weights are drawn anew: what a ticket has to beat."""
    return [arm for arm in reported.arms if rewind_of(reported, arm).kind == "reinit" or _score_of(reported, arm) == "random"]


def rewind_sweep(reported: Reported) -> dict[str, int]:
    """Arm -> the step it restarts from, for the largest family of arms that differ in nothing else; empty unless there are three steps."""
    steps = steps_per_epoch(reported)
    families: dict[str, dict[str, int]] = {}
    for arm in reported.arms:
        rewind, settings = rewind_of(reported, arm), settings_of(reported, arm)
        if rewind.kind not in ("init", "step") or rewind.keep != "values" or "mask_from" in settings:
            continue
        if rewind.step is not None and rewind.step.unit == "ep" and steps is None:
            continue
        rest = {name: value for name, value in settings.items() if name not in ("rewind", "about")}
        families.setdefault(canonical_json(rest), {})[arm] = rewind.position(steps or 1) or 0
    largest = max(families.values(), key=lambda family: len(set(family.values())), default={})
    return largest if len(set(largest.values())) >= _FEWEST_POINTS else {}


def with_left(frame: pl.DataFrame, most: int = MOST_LEVELS) -> pl.DataFrame:
    """Rows of at most `most` levels, evenly chosen from dense to sparse, with the column `left`: the level's weights left, in words."""
    levels = sorted(frame["level"].unique().to_list())
    chosen = [levels[round(index * (len(levels) - 1) / max(1, most - 1))] for index in range(most)] if len(levels) > most else levels
    density = {level: frame.filter(pl.col("level") == level)["density"].mean() for level in chosen}
    words = {level: say.density(float(kept)) for level, kept in density.items() if isinstance(kept, float)}
    kept_rows = frame.filter(pl.col("level").is_in(list(words))).sort("level", maintain_order=True)
    return kept_rows.with_columns(pl.col("level").replace_strict(words, return_dtype=pl.String).alias("left"))


def with_series(frame: pl.DataFrame) -> pl.DataFrame:
    """The frame with the column `series`: the arm with its factors, as the page calls it."""
    return frame.with_columns(pl.Series("series", [series_of(row) for row in frame.iter_rows(named=True)], dtype=pl.String))


def with_setting(frame: pl.DataFrame, *columns: str) -> pl.DataFrame:
    """The frame with the column `setting`: the values of `columns` and of the swept factors, in words, for the reader to choose from."""
    factors = [column for column in frame.columns if column.startswith("factor.")]
    named = [pl.col(column).cast(pl.String) for column in columns]
    named += [pl.lit(f"{column.removeprefix('factor.')} = ") + pl.col(column).cast(pl.String) for column in factors]
    return frame.with_columns((pl.concat_str(named, separator=", ", ignore_nulls=True) if named else pl.lit("")).alias("setting"))


def is_swept(frame: pl.DataFrame) -> bool:
    """Whether the rows are of several settings of swept factors."""
    return any(column.startswith("factor.") for column in frame.columns)


def in_order(frame: pl.DataFrame, names: Sequence[str]) -> pl.DataFrame:
    """Rows in the order of the arms in `names`; those of other arms are left out."""
    order = {name: place for place, name in enumerate(names)}
    mine = frame.filter(pl.col("arm").is_in(list(order)))
    return mine.sort(pl.col("arm").replace_strict(order, return_dtype=pl.Int64), maintain_order=True)


def told(reported: Reported, arm: str) -> str:
    """An arm's name with what the recipe says of it."""
    about = settings_of(reported, arm).get("about")
    return f"{arm}: {about}" if about else arm


def _score_of(reported: Reported, arm: str) -> str:
    score = settings_of(reported, arm).get("prune", {}).get("score", "")
    return str(score.get("name", "")) if isinstance(score, Mapping) else str(score)


def steps_per_epoch(reported: Reported) -> int | None:
    """Optimiser steps of an epoch of the dense network, from its first evaluation."""
    curves = reported.curves
    if curves.is_empty() or "epoch" not in curves.columns:
        return None
    row = curves.filter((pl.col("arm") == "dense") & (pl.col("epoch") > 0)).head(1)
    return round(row["step"].item() / row["epoch"].item()) if len(row) else None
