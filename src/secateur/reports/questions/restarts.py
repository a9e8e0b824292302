"""Where and what tickets restart from: rewinding swept over steps, parts of the initial weights, weights that are never trained."""

from __future__ import annotations

from collections.abc import Iterator

import polars as pl

from secateur.analysis import phrasing as say
from secateur.analysis.differences import differences
from secateur.reports.analyses import Analysis
from secateur.reports.questions import arms
from secateur.reports.questions.stability import at_steps
from secateur.reports.study import Reported


def analyses(reported: Reported) -> Iterator[Analysis]:
    """The rewinding sweep, the ablations of initial weights and the supermasks of a study, as far as it has the arms."""
    rule = reported.rule
    frame = differences(reported.results, rule)
    if frame.is_empty():
        return
    frame = frame.with_columns((pl.col("difference") * scale(reported)).alias("difference"))
    yield from _sweep(reported, frame)
    yield from _parts(reported, frame)
    yield from _untrained(reported, frame)


def unit(reported: Reported) -> str:
    """What differences to dense are counted in, for an axis."""
    if reported.rule.margin_is_relative:
        return "% of dense"
    return "points" if say.is_fraction(reported.rule.metric) else say.metric_name(reported.rule.metric)


def scale(reported: Reported) -> int:
    """What a difference is multiplied by to be in that unit."""
    return 100 if reported.rule.margin_is_relative or say.is_fraction(reported.rule.metric) else 1


def _sweep(reported: Reported, frame: pl.DataFrame) -> Iterator[Analysis]:
    sweep = arms.rewind_sweep(reported)
    if not sweep:
        return
    yield by_step(
        reported,
        at_steps(frame, sweep),
        name="rewinding",
        title="To which step should tickets be rewound?",
        lead="Each line is a density; each point the difference to the dense network of tickets that restart from that step.",
        x_title="rewound to step",
    )


def by_step(reported: Reported, frame: pl.DataFrame, *, name: str, title: str, lead: str, x_title: str) -> Analysis:
    """Differences to dense by a step that arms differ in: a line a density."""
    return Analysis(
        name=name,
        main=True,
        title=title,
        lead=lead,
        caption="Paired by replicate; means with 95 % intervals. Zero is the dense network.",
        frame=arms.with_setting(frame),
        pick="setting" if arms.is_swept(frame) else None,
        pick_title="With",
        kind="lines",
        x="step",
        value="difference",
        series="left",
        log_x=True,
        coloured="densities",
        signed=True,
        mark=(0.0, "dense"),
        x_title=x_title,
        value_title=f"difference to dense, {unit(reported)}",
    )


def _parts(reported: Reported, frame: pl.DataFrame) -> Iterator[Analysis]:
    """Arms that restart from a part of their initial weights, beside the arm whose masks they share and its new weights."""
    partial = [arm for arm in reported.arms if arms.rewind_of(reported, arm).keep != "values" and not arms.is_untrained(reported, arm)]
    if not partial:
        return
    sources = list(dict.fromkeys(arms.settings_of(reported, arm).get("mask_from", arm) for arm in partial))
    shared = [
        arm for arm in reported.arms
        if arms.settings_of(reported, arm).get("mask_from") in sources and not arms.is_untrained(reported, arm)
    ]  # fmt: skip
    names = list(dict.fromkeys([*(source for source in sources if source in reported.arms), *shared, *partial]))
    yield Analysis(
        name="signs",
        main=True,
        title="What of the initial weights counts?",
        lead="The same masks over less and less of the weights that training began with: "
        + "; ".join(arms.told(reported, arm) for arm in names)
        + ".",
        caption="Difference to the dense network, paired by replicate; means with 95 % intervals.",
        frame=arms.with_setting(arms.with_left(arms.in_order(frame, names)).sort("level", maintain_order=True), "left"),
        kind="bars",
        x="arm",
        value="difference",
        pick="setting",
        pick_title="Weights left",
        signed=True,
        mark=(0.0, "dense"),
        value_title=f"difference to dense, {unit(reported)}",
    )


def _untrained(reported: Reported, frame: pl.DataFrame) -> Iterator[Analysis]:
    """Arms that are never trained: what masks alone are good for."""
    names = [arm for arm in reported.arms if arms.is_untrained(reported, arm)]
    if not names:
        return
    mine = arms.with_series(arms.in_order(frame, names)).with_columns((100 * pl.col("density")).round(3).alias("kept"))
    yield Analysis(
        name="supermasks",
        main=True,
        title="Masks without training",
        lead="Networks whose weights are never trained: what is good about them is the mask. "
        + "; ".join(arms.told(reported, arm) for arm in names)
        + ".",
        caption=f"Test {say.metric_name(reported.rule.metric)}; means over replicates with 95 % intervals.",
        frame=mine,
        kind="lines",
        x="kept",
        value="value",
        series="series",
        kept=True,
        coloured="arms",
        percent=say.is_fraction(reported.rule.metric),
        x_title="weights left (%)",
        value_title=f"test {say.metric_name(reported.rule.metric)}",
    )
