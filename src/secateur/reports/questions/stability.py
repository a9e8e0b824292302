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
    "Highest error on the straight line between the two, above the mean of its ends; about zero is stable. "
    "Means over replicates with 95 % intervals."
)


def analyses(reported: Reported, barriers: pl.DataFrame) -> Iterator[Analysis]:
    """Barriers over densities, arm by arm, with paired differences to the controls; and over rewind points, where a study has several."""
    if barriers.is_empty():
        return
    frame = arms.with_series(barriers.with_columns(pl.col("density").fill_null(1.0)))
    frame = frame.with_columns((100 * pl.col("density")).round(3).alias("kept"))
    percent = say.is_fraction(reported.rule.metric)
    yield Analysis(
        name="stability",
        title="Stability to the noise of training",
        lead="Two copies from one start, trained in another order of the data: how much worse is what lies between them?",
        caption=_CAPTION,
        frame=_one_density_a_level(arms.in_order(frame, [DENSE, *reported.arms])),
        kind="lines",
        x="kept",
        value="barrier",
        series="series",
        kept=True,
        coloured="arms",
        x_title="weights left (%)",
        value_title="error barrier",
        percent=percent,
        table=_table(reported, frame, percent),
    )
    sweep = arms.rewind_sweep(reported)
    pruned = frame.filter(pl.col("arm").is_in(list(sweep)) & (pl.col("level") > 0))
    if not sweep or pruned.is_empty():
        return
    yield Analysis(
        name="stability-rewind",
        title="From which rewind point on are tickets stable?",
        lead="The same barrier against the step that tickets are rewound to, a line a density.",
        caption=_CAPTION,
        frame=at_steps(pruned, sweep),
        kind="lines",
        x="step",
        value="barrier",
        series="left",
        log_x=True,
        coloured="densities",
        x_title="rewound to step",
        value_title="error barrier",
        percent=percent,
    )


def at_steps(frame: pl.DataFrame, sweep: Mapping[str, int]) -> pl.DataFrame:
    """Rows of the arms of a rewinding sweep with their `step`, in its order, and `left`."""
    placed = frame.filter(pl.col("arm").is_in(list(sweep))).with_columns(
        pl.col("arm").replace_strict(dict(sweep), return_dtype=pl.Int64).alias("step")
    )
    return arms.with_left(placed).sort("level", "step", maintain_order=True)


def _one_density_a_level(frame: pl.DataFrame) -> pl.DataFrame:
    """Replicates of one level stand at one place, their mean density."""
    return frame.with_columns(pl.col("kept").mean().over("series", "level").round(3))


def _table(reported: Reported, frame: pl.DataFrame, percent: bool) -> Table | None:
    """Barriers, and their paired differences to those of the controls at the same density."""
    controls = [arm for arm in arms.controls(reported) if arm in frame["arm"]]
    scale = 100 if percent else 1
    values: dict[tuple[str, int], dict[object, float]] = {}
    keys = ["replicate", *[column for column in frame.columns if column.startswith("factor.")]]
    for row in frame.iter_rows(named=True):
        values.setdefault((row["arm"], row["level"]), {})[tuple(row[key] for key in keys)] = scale * row["barrier"]
    lines = []
    for arm in [DENSE, *[arm for arm in reported.arms if arm not in controls], *controls]:
        for level in sorted(level for name, level in values if name == arm):
            mine = values[arm, level]
            kept = frame.filter((pl.col("arm") == arm) & (pl.col("level") == level))["density"].mean()
            cells = [arm, say.density(float(kept)) if isinstance(kept, float) else "", _estimate(list(mine.values())), str(len(mine))]
            for control in controls:
                theirs = values.get((control, level), {}) if arm not in (DENSE, *controls) else {}
                shared = [key for key in mine if key in theirs]
                cells.append(_estimate([mine[key] - theirs[key] for key in shared], signed=True))
            lines.append((arm, cells))
    heads = [("arm", False), ("weights left", True), ("barrier, 95 % interval", True), ("n", True)]
    heads += [(f"minus {control}'s, paired", True) for control in controls]
    unit = "points of error" if percent else "the metric's own unit"
    return Table(f"Error barriers, in {unit}", heads, lines, summary="Every barrier, with its paired differences to the controls'")


def _estimate(values: list[float], signed: bool = False) -> str:
    """The mean with its interval, as text; empty without values."""
    if not values:
        return ""
    of = st.estimate(values)
    mean, *bounds = [say.signed(number, 2) if signed else f"{number:.2f}" for number in (of.mean, of.low, of.high) if number is not None]
    return f"{mean} ({bounds[0]} to {bounds[1]})" if bounds else mean
