"""The rows that charts are drawn from, computed from a study's frames: one list of plain rows a data set."""

from __future__ import annotations

import math
import statistics
from collections.abc import Iterable, Mapping
from typing import Any

import polars as pl

from secateur.analysis import phrasing as say
from secateur.analysis import statistics as st
from secateur.analysis.verdicts import DENSE, Verdict
from secateur.reports.study import Reported

Rows = list[dict[str, Any]]


def series_of(row: Mapping[str, Any]) -> str:
    """What one line of a chart is called: the arm, and its factors where a study sweeps any."""
    factors = [f"{key.removeprefix('factor.')} = {value}" for key, value in row.items() if key.startswith("factor.") and value is not None]
    return ", ".join([row["arm"], *factors])


def series(reported: Reported) -> list[str]:
    """All series but dense, in the order of the results."""
    names = (series_of(row) for row in _keys(reported.results) if row["arm"] != DENSE)
    return list(dict.fromkeys(names))


def densities(reported: Reported) -> dict[tuple[str, int], float]:
    """The density of each series at each level, the mean over its replicates: where density comes out of training, they differ."""
    found: dict[tuple[str, int], list[float]] = {}
    for row in reported.results.drop_nulls("density").iter_rows(named=True):
        found.setdefault((series_of(row), row["level"]), []).append(row["density"])
    return {place: statistics.fmean(replicates) for place, replicates in found.items()}


def points(reported: Reported, column: str) -> Rows:
    """Mean and 95 % interval over replicates of `column`, one row a series and level; dense at 100 %."""
    rule, rows = reported.rule, []
    verdicts = {
        (series_of({"arm": v.arm} | {f"factor.{k}": f for k, f in v.factors.items()}), v.level): v for v in reported.judgement.verdicts
    }
    for (name, level), group in _grouped(reported.results):
        values = [float(v) for v in group[column].to_list() if v is not None and math.isfinite(v)]
        if not values or math.isnan(_mean(group["density"])):
            continue
        of = st.estimate(values)
        verdict = verdicts.get((name, level))
        rows.append(
            {
                "series": name,
                "level": level,
                "kept": 100 * _mean(group["density"]),
                "mean": of.mean,
                "low": of.low,
                "high": of.high,
                "n": of.n,
                "left": say.density(_mean(group["density"])),
                "shown": say.value(rule.metric, of.mean) if column == rule.column else f"{of.mean:,.0f}",
                "interval": _interval_text(column, reported, of),
                "verdict": verdict.verdict if verdict else "",
                "difference": _difference_text(reported, verdict),
            }
        )
    return rows


def runs(reported: Reported, column: str) -> Rows:
    """`column` of every finished run: the faint points behind the means."""
    rows = reported.results.filter(pl.col(column).is_not_null() & pl.col(column).is_not_nan()).drop_nulls("density")
    return [
        {"series": series_of(row), "kept": 100 * row["density"], "value": row[column], "replicate": row["replicate"]}
        for row in rows.iter_rows(named=True)
    ]


def lost_runs(reported: Reported) -> Rows:
    """The runs that diverged, where they would stand."""
    rows = reported.results.filter(pl.col("status") == "diverged").drop_nulls("density")
    return [{"series": series_of(row), "kept": 100 * row["density"], "replicate": row["replicate"]} for row in rows.iter_rows(named=True)]


def published(reported: Reported) -> Rows:
    """Published numbers beside measured ones, one row an expectation; `measured` is None where nothing was measured near it."""
    rows = []
    for expected in reported.study.expectations:
        kept = _density_of(expected["at"])
        metric = str(expected["metric"]).removeprefix("test_")
        nearest = _nearest(reported, str(expected["arm"]), f"test_{metric}", kept)
        rows.append(
            {
                "series": expected["arm"],
                "kept": 100 * kept,
                "metric": metric,
                "value": float(expected["value"]),
                "source": expected.get("source", ""),
                "comparable": expected.get("comparable", ""),
                "measured": nearest["mean"] if nearest else None,
                "at": 100 * nearest["density"] if nearest else None,
                "n": nearest["n"] if nearest else 0,
            }
        )
    return rows


def curve_columns(reported: Reported) -> list[str]:
    """The measures of the training curves, the deciding metric's validation curve first."""
    taken = {"arm", "level", "replicate", "step", "epoch", *reported.factors}
    columns = [name for name in reported.curves.columns if name not in taken]
    return sorted(columns, key=lambda name: (name != f"valid_{reported.rule.metric}", name))


def curves(reported: Reported) -> Rows:
    """Every evaluation while training, with its series and the kept weights of its run."""
    if reported.curves.is_empty():
        return []
    kept_at = densities(reported)
    columns = curve_columns(reported)
    rows = []
    for row in reported.curves.iter_rows(named=True):
        name = series_of(row)
        density = kept_at.get((name, row["level"]), 1.0)
        kept = {"series": name, "level": row["level"], "replicate": row["replicate"], "step": row["step"], "left": say.density(density)}
        rows.append(kept | {column: row[column] for column in columns})
    return rows


def layer_points(reported: Reported) -> Rows:
    """Mean density of each parameter over replicates, one row a series, level and parameter."""
    frame = reported.layers
    if frame.is_empty():
        return []
    overall = densities(reported)
    keys = ["arm", *[c for c in frame.columns if c.startswith("factor.")], "level", "parameter", "kind"]
    means = frame.group_by(keys, maintain_order=True).agg(pl.col("kept").mean(), pl.col("prunable").mean())
    rows = []
    for row in means.iter_rows(named=True):
        name = series_of(row)
        density = row["kept"] / row["prunable"] if row["prunable"] else 1.0
        total = overall.get((name, row["level"]), 1.0)
        rows.append(
            {
                "series": name,
                "level": row["level"],
                "left": say.density(total),
                "kept": 100 * total,
                "parameter": row["parameter"],
                "kind": row["kind"],
                "prunable": row["prunable"],
                "density": density,
                "shown": say.percent_digits(100 * density) if density else "0",
                "log": math.log10(max(density, 1e-6)),
            }
        )
    return rows


def costs(reported: Reported) -> Rows:
    """What one replicate of each arm took, its search for tickets included, and that as a multiple of training dense once.

    The method's costs are totals over an arm's replicates. A total of zero was not counted.
    """
    dense = reported.results.filter((pl.col("arm") == DENSE) & (pl.col("status") == "done"))
    rows = []
    for arm, spent in reported.method.get("cost", {}).items():
        if arm == DENSE:
            continue
        row: dict[str, Any] = {"series": arm}
        replicates = max(1, reported.results.filter(pl.col("arm") == arm)["replicate"].n_unique())
        for name in ("steps", "multiply_adds", "seconds"):
            total = spent.get(name)
            amount = total / replicates if total else None
            once = _mean(dense[name]) if name in dense.columns else math.nan
            row[name] = amount
            row[f"{name}_of_dense"] = amount / once if amount is not None and once and math.isfinite(once) else None
        rows.append(row)
    return rows


def resolution(reported: Reported, most: int = 30) -> Rows:
    """The smallest difference to dense that n replicates show with 80 % power, at the median spread of this study."""
    spreads = [v.to_dense.sd for v in reported.judgement.verdicts if v.to_dense is not None and v.to_dense.sd is not None]
    if not spreads:
        return []
    sd = statistics.median(spreads)
    scale = 100 if reported.rule.margin_is_relative or say.is_fraction(reported.rule.metric) else 1
    detectable = ((n, st.detectable_difference(sd, n)) for n in range(2, most + 1))
    return [
        {"replicates": n, "difference": scale * smallest, "shown": say.size(reported.rule, smallest)}
        for n, smallest in detectable
        if smallest is not None
    ]


def columnar(rows: Rows) -> dict[str, Any]:
    """Rows as columns, NaN as None; a column of repeated texts as its distinct `values` and their `codes`: many times smaller as JSON."""
    if not rows:
        return {}
    return {key: compact([_plain(row[key]) for row in rows]) for key in rows[0]}


def compact(column: list[Any]) -> Any:
    """A column as it stands in the page."""
    if not all(isinstance(value, str) for value in column):
        return column
    values = list(dict.fromkeys(column))
    if 2 * len(values) > len(column):
        return column
    place = {value: code for code, value in enumerate(values)}
    return {"values": values, "codes": [place[value] for value in column]}


def _plain(value: Any) -> Any:
    return None if isinstance(value, float) and not math.isfinite(value) else value


def _keys(frame: pl.DataFrame) -> Iterable[dict[str, Any]]:
    columns = ["arm", *[column for column in frame.columns if column.startswith("factor.")], "level"]
    return frame.select(columns).unique(maintain_order=True).iter_rows(named=True)


def _grouped(frame: pl.DataFrame) -> Iterable[tuple[tuple[str, int], pl.DataFrame]]:
    columns = ["arm", *[column for column in frame.columns if column.startswith("factor.")], "level"]
    for _, group in frame.group_by(columns, maintain_order=True):
        first = group.row(0, named=True)
        yield (series_of(first), first["level"]), group


def _mean(values: pl.Series) -> float:
    finite = [float(v) for v in values.drop_nulls().to_list() if math.isfinite(v)]
    return math.fsum(finite) / len(finite) if finite else math.nan


def _interval_text(column: str, reported: Reported, of: st.Estimate) -> str:
    if of.low is None or of.high is None:
        return "none from one replicate"
    if column == reported.rule.column:
        return f"{say.value(reported.rule.metric, of.low)} to {say.value(reported.rule.metric, of.high)}"
    return f"{of.low:,.0f} to {of.high:,.0f}"


def _difference_text(reported: Reported, verdict: Verdict | None) -> str:
    if verdict is None or verdict.to_dense is None:
        return ""
    return f"{say.difference(reported.rule, verdict.to_dense.difference)} ({say.interval(reported.rule, verdict.to_dense)})"


def _density_of(at: Mapping[str, float]) -> float:
    if "density" in at:
        return float(at["density"])
    if "sparsity" in at:
        return 1.0 - float(at["sparsity"])
    return float(10.0 ** -float(at["compression"]))


def _nearest(reported: Reported, arm: str, column: str, kept: float) -> dict[str, Any] | None:
    """The measured level whose density is nearest to `kept` on the log scale, if it is within a tenth of it."""
    frame = reported.results
    if column not in frame.columns:
        return None
    near: dict[str, Any] | None = None
    for _, group in frame.filter((pl.col("arm") == arm) & (pl.col("status") == "done")).group_by("level"):
        density = _mean(group["density"])
        distance = abs(math.log(density / kept)) if density > 0 else math.inf
        if distance <= math.log(1.1) and (near is None or distance < near["distance"]):
            near = {"distance": distance, "density": density, "mean": _mean(group[column]), "n": group[column].drop_nulls().len()}
    return near
