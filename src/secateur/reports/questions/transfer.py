"""Do tickets win on other data than those they were found on? A matrix of where masks come from and where they are trained."""

from __future__ import annotations

from collections.abc import Iterator

import polars as pl

from secateur.analysis.differences import differences
from secateur.reports.analyses import Analysis
from secateur.reports.questions import arms
from secateur.reports.questions.restarts import scale, unit
from secateur.reports.study import Reported


def analyses(reported: Reported) -> Iterator[Analysis]:
    """The transfer matrix, where some arm trains masks on other data than those they were found on."""
    data = {row["arm"]: row["data"] for row in reported.results.select("arm", "data").unique(maintain_order=True).iter_rows(named=True)}
    if len(set(data.values())) < 2:
        return
    found = {arm: data.get(_source(reported, arm), data[arm]) for arm in reported.arms}
    if all(found[arm] == data[arm] for arm in reported.arms):
        return
    frame = differences(reported.results, reported.rule).with_columns((pl.col("difference") * scale(reported)).alias("difference"))
    if frame.is_empty():
        return
    origin = {arm: _origin(reported, arm, found[arm]) for arm in reported.arms}
    frame = arms.with_left(frame).with_columns(
        pl.col("arm").replace_strict(origin, return_dtype=pl.String).alias("masks"),
        pl.col("arm").replace_strict(data, return_dtype=pl.String).alias("trained on"),
    )
    rows = list(dict.fromkeys(sorted(origin.values(), key=lambda words: (not words.startswith("found on"), words.startswith("random")))))
    order = {words: place for place, words in enumerate(rows)}
    yield Analysis(
        name="transfer",
        main=True,
        title="From one data set to another",
        lead="Rows say where the masks were found, columns where they are trained and tested. "
        "Each cell is the difference to the dense network there.",
        caption=f"Differences in {unit(reported)}, paired by replicate; means over replicates.",
        frame=arms.with_setting(
            frame.sort("level", pl.col("masks").replace_strict(order, return_dtype=pl.Int64), maintain_order=True), "left"
        ),
        kind="matrix",
        x="trained on",
        y="masks",
        value="difference",
        pick="setting",
        pick_title="Weights left",
        signed=True,
        value_title=f"difference to dense, {unit(reported)}",
    )


def _source(reported: Reported, arm: str) -> str:
    """The arm that an arm's masks come from, in the end."""
    seen = [arm]
    while (source := arms.settings_of(reported, seen[-1]).get("mask_from")) and source not in seen:
        seen.append(source)
    return seen[-1]


def _origin(reported: Reported, arm: str, found: str) -> str:
    if arm in arms.controls(reported):
        return f"found on {found}, new weights" if arms.rewind_of(reported, arm).kind == "reinit" else "random masks"
    return f"found on {found}"
