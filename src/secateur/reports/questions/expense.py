"""What tickets cost to use: quality against multiply-adds, bytes and measured time; and which layers the multiply-adds are in."""

from __future__ import annotations

from collections.abc import Iterator

import polars as pl

from secateur.analysis import phrasing as say
from secateur.analysis.verdicts import DENSE
from secateur.reports.analyses import Analysis
from secateur.reports.questions import arms
from secateur.reports.study import Reported

_MEASURES = {
    "example_multiply_adds": "multiply-adds of one example",
    "bytes": "bytes stored",
    "latency": "measured seconds of a forward pass",
    "seconds": "measured seconds of its training",
}


def analyses(reported: Reported, latencies: pl.DataFrame | None = None) -> Iterator[Analysis]:
    """Quality against cost, and multiply-adds by layer, of a study that says what its networks cost. `latencies`: what the study's
    `[analyses.latency]` measured, if it did."""
    frame = reported.results.filter(pl.col("status") == "done")
    if latencies is not None and len(latencies):
        keys = ["arm", "level", "replicate", *[column for column in latencies.columns if column.startswith("factor.")]]
        frame = frame.join(latencies.select(*keys, _latency(latencies)), on=keys, how="left", nulls_equal=True)
    measures = [name for name in _MEASURES if name in frame.columns and frame[name].drop_nulls().n_unique() > 1]
    pruned = frame.filter(pl.col("level") > 0)
    if not measures or pruned.is_empty() or frame[reported.rule.column].drop_nulls().is_empty():
        return
    of_cell = arms.with_series(arms.in_order(frame, [DENSE, *reported.arms]))
    placed = [
        of_cell.drop_nulls(name).with_columns(
            pl.col(name).mean().over("series", "level").alias("cost"), pl.lit(_MEASURES[name]).alias("counted in")
        ).select("series", "level", "cost", "counted in", reported.rule.column)
        for name in measures
    ]  # fmt: skip
    metric = say.metric_name(reported.rule.metric)
    yield Analysis(
        name="expense",
        title="Quality against cost",
        lead="What a ticket costs to run, to store and to train, beside how good it is. To the left is cheaper.",
        caption="Means over replicates with 95 % intervals. Bytes: survivors, and where they are. "
        "Seconds: of the machine that ran it, whatever else it did.",
        frame=pl.concat(placed),
        kind="lines",
        x="cost",
        value=reported.rule.column,
        series="series",
        pick="counted in",
        pick_title="Cost in",
        log_x=True,
        coloured="arms",
        percent=say.is_fraction(reported.rule.metric),
        x_title="cost, as chosen above",
        value_title=f"test {metric}",
    )
    yield from _by_layer(reported)


def _latency(measured: pl.DataFrame) -> pl.Expr:
    """Measured seconds of a forward pass: of the ticket where there is one, else of the dense network."""
    ticket = [pl.col("seconds_ticket")] if "seconds_ticket" in measured.columns else []
    return pl.coalesce(*ticket, pl.col("seconds_dense")).alias("latency")


def _by_layer(reported: Reported) -> Iterator[Analysis]:
    """Multiply-adds of each layer: how often each of its weights is used for an example, times how many are kept."""
    maps = {entry["parameter"]: entry for entry in reported.method.get("maps", []) if entry["uses"]}
    layers = reported.layers
    if not maps or layers.is_empty():
        return
    own = [
        arm
        for arm in reported.arms
        if "mask_from" not in arms.settings_of(reported, arm) and "model" not in arms.settings_of(reported, arm)
    ]
    factors = [column for column in layers.columns if column.startswith("factor.")]
    if any("model" in column for column in factors):
        return
    known = layers.filter(pl.col("arm").is_in(own) & (pl.col("level") > 0) & pl.col("parameter").is_in(list(maps)))
    if known.is_empty():
        return
    uses = {parameter: float(entry["uses"]) for parameter, entry in maps.items()}
    keys = ["arm", "level", "replicate", *factors]
    density = reported.results.select(*keys, "density")
    frame = known.join(density, on=keys, how="left", nulls_equal=True).with_columns(
        (pl.col("kept") * pl.col("parameter").replace_strict(uses, return_dtype=pl.Float64)).alias("multiply_adds")
    )
    frame = frame.with_columns((pl.col("multiply_adds") / pl.col("multiply_adds").sum().over(keys)).alias("share"))
    order = {parameter: place for place, parameter in enumerate(maps)}
    frame = arms.with_left(arms.with_series(frame.drop_nulls("density")))
    yield Analysis(
        name="layer-costs",
        title="Where the multiply-adds are",
        lead="The share of each pruned parameter in what is left to compute for one example, as pruning goes on.",
        caption="Percent of the multiply-adds of all prunable parameters; means over replicates. Columns: weights left in all.",
        frame=frame.sort("level", pl.col("parameter").replace_strict(order, return_dtype=pl.Int64), maintain_order=True),
        kind="matrix",
        x="left",
        y="parameter",
        value="share",
        pick="series",
        pick_title="Arm",
        percent=True,
        x_title="weights left in all",
        value_title="% of the multiply-adds",
    )
