"""Are tickets stable to the noise of training? The error barrier between two trainings from one start (Frankle et al. 2020)."""

from __future__ import annotations

from collections.abc import Iterator, Mapping

import polars as pl

from secateur.analysis import phrasing as say
from secateur.analysis import statistics as st
from secateur.analysis.verdicts import DENSE
from secateur.reports.analyses import Analysis, Table
from secateur.reports.questions import arms
from secateur.reports.study import Reported

_CAPTION = (
    "Highest error (or loss) on the straight line between the two, above the mean of its ends; about zero is stable. "
    "Means over replicates with 95 % intervals."
)


def analyses(reported: Reported, barriers: pl.DataFrame) -> Iterator[Analysis]:
    """Barriers over densities, arm by arm, with paired differences to the controls; and over rewind points, where a study has several."""
    if barriers.is_empty():
        return
    frame = arms.with_series(barriers.with_columns(pl.col("density").fill_null(1.0)))
    frame = frame.with_columns((100 * pl.col("density")).mean().over("series", "level").round(3).alias("kept"))
    measured = _measured(reported, arms.in_order(frame, [DENSE, *reported.arms]))
    yield Analysis(
        name="stability",
        main=True,
        title="Stability to the noise of training",
        lead="Two copies from one start, trained in another order of the data: how much worse is what lies between them?",
        caption=_CAPTION,
        frame=measured,
        kind="lines",
        x="kept",
        value="barrier",
        series="series",
        kept=True,
        coloured="arms",
        pick="measure",
        pick_title="Barrier in",
        x_title="weights left (%)",
        value_title="barrier",
        table=_table(reported, frame),
    )
    sweep = arms.rewind_sweep(reported)
    pruned = measured.filter(pl.col("arm").is_in(list(sweep)) & (pl.col("level") > 0))
    if not sweep or pruned.is_empty():
        return
    yield Analysis(
        name="stability-rewind",
        main=True,
        title="From which rewind point on are tickets stable?",
        lead="The same barrier against the step that tickets are rewound to, a line a density.",
        caption=_CAPTION,
        frame=arms.with_setting(at_steps(pruned, sweep), "measure"),
        kind="lines",
        x="step",
        value="barrier",
        series="left",
        log_x=True,
        coloured="densities",
        pick="setting",
        pick_title="Barrier in",
        x_title="rewound to step",
        value_title="barrier",
    )


def _measured(reported: Reported, frame: pl.DataFrame) -> pl.DataFrame:
    """The barriers of the error, and those of the loss where there are any, one below the other, with `measure`."""
    error = "error (points)" if say.is_fraction(reported.rule.metric) else say.metric_name(reported.rule.metric)
    parts = [frame.with_columns(pl.col("barrier") * _scale(reported), pl.lit(error).alias("measure"))]
    if "loss_barrier" in frame.columns:
        parts.append(frame.with_columns(pl.col("loss_barrier").alias("barrier"), pl.lit("loss").alias("measure")))
    return pl.concat(parts)


def _scale(reported: Reported) -> int:
    return 100 if say.is_fraction(reported.rule.metric) else 1


def at_steps(frame: pl.DataFrame, sweep: Mapping[str, int]) -> pl.DataFrame:
    """Rows of the arms of a rewinding sweep with their `step`, in its order, and `left`."""
    placed = frame.filter(pl.col("arm").is_in(list(sweep))).with_columns(
        pl.col("arm").replace_strict(dict(sweep), return_dtype=pl.Int64).alias("step")
    )
    return arms.with_left(placed).sort("level", "step", maintain_order=True)


def _table(reported: Reported, frame: pl.DataFrame) -> Table | None:
    """Barriers of the error, and their paired differences to those of the controls at the same density and setting."""
    controls = [arm for arm in arms.controls(reported) if arm in frame["arm"]]
    settled = arms.with_setting(frame)
    values: dict[tuple[str, str, int], dict[int, float]] = {}
    places: dict[tuple[str, str, int], tuple[str, str]] = {}
    for row in settled.iter_rows(named=True):
        key = (row["setting"], row["arm"], row["level"])
        values.setdefault(key, {})[row["replicate"]] = _scale(reported) * row["barrier"]
        places[key] = (row["series"], say.density(row["kept"] / 100))
    lines = []
    order = [DENSE, *[arm for arm in reported.arms if arm not in controls], *controls]
    for setting, arm, level in sorted(values, key=lambda key: (key[0], order.index(key[1]), key[2])):
        mine = values[setting, arm, level]
        series, left = places[setting, arm, level]
        cells = [series, left, _estimate(list(mine.values())), str(len(mine))]
        for control in controls:
            theirs = values.get((setting, control, level), {}) if arm not in (DENSE, *controls) else {}
            cells.append(_estimate([mine[replicate] - theirs[replicate] for replicate in mine if replicate in theirs], signed=True))
        lines.append((series, cells))
    heads = [("arm", False), ("weights left", True), ("barrier, 95 % interval", True), ("n", True)]
    heads += [(f"minus {control}'s, paired", True) for control in controls]
    unit = "points of error" if say.is_fraction(reported.rule.metric) else say.metric_name(reported.rule.metric)
    return Table(f"Error barriers, in {unit}", heads, lines, summary="Every barrier, with its paired differences to the controls'")


def _estimate(values: list[float], signed: bool = False) -> str:
    """The mean with its interval, as text; empty without values."""
    if not values:
        return ""
    of = st.estimate(values)
    mean, *bounds = [say.signed(number, 2) if signed else f"{number:.2f}" for number in (of.mean, of.low, of.high) if number is not None]
    return f"{mean} ({bounds[0]} to {bounds[1]})" if bounds else mean
