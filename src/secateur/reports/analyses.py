"""Any further question of a study as a figure: a frame with one row a measurement, and how to draw it."""

from __future__ import annotations

import math
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any, Literal, Protocol, runtime_checkable

import polars as pl

from secateur.analysis import statistics as st
from secateur.errors import InputError
from secateur.reports import look, markup
from secateur.reports.chart_data import Rows
from secateur.reports.charts import SCHEMA, Spec
from secateur.reports.markup import text

_TICKS = 10


@dataclass(frozen=True)
class Analysis:
    """One question, answered: stability over rewind points, mask overlap, a transfer matrix, supermask accuracy …

    `frame` has one row a measurement (a replicate). Rows that agree in `series`, `x` and, for a matrix, `y` are averaged; lines and
    bars show a 95 % interval over them. `lines` draw `value` against the number `x`, a line a `series`; `bars` draw it for each name
    in `x`; a `matrix` draws it in cells, `y` down and `x` across.
    """

    name: str
    title: str
    lead: str
    caption: str
    frame: pl.DataFrame
    kind: Literal["lines", "bars", "matrix"]
    x: str
    value: str
    y: str | None = None
    series: str | None = None
    x_title: str = ""
    value_title: str = ""
    log_x: bool = False
    percent: bool = False

    @property
    def dataset(self) -> str:
        """The data set and the chart of this analysis are called so."""
        return f"analysis-{self.name}"


@runtime_checkable
class HasAnalyses(Protocol):
    """A study with further questions answered."""

    def analyses(self) -> Iterable[Analysis]:
        """The analyses, in the order of the page."""
        ...


def rows(analysis: Analysis) -> Rows:
    """The averaged rows that the chart draws: x, y, series, mean, low, high, n, shown."""
    columns = [column for column in (analysis.series, analysis.y, analysis.x) if column is not None]
    for column in (*columns, analysis.value):
        if column not in analysis.frame.columns:
            raise InputError(f"analysis {analysis.name!r}: its frame has no column {column!r}")
    drawn: Rows = []
    for key, group in analysis.frame.group_by(columns, maintain_order=True):
        values = [float(value) for value in group[analysis.value].drop_nulls().to_list() if math.isfinite(value)]
        if not values:
            continue
        named = dict(zip(columns, key, strict=True))
        of = st.estimate(values)
        drawn.append(
            {
                "series": "" if analysis.series is None else str(named[analysis.series]),
                "y": "" if analysis.y is None else str(named[analysis.y]),
                "x": named[analysis.x] if analysis.kind == "lines" else str(named[analysis.x]),
                "mean": of.mean,
                "low": of.low,
                "high": of.high,
                "n": of.n,
                "shown": f"{100 * of.mean:.1f}" if analysis.percent else f"{of.mean:.3g}",
            }
        )
    return drawn


def spec(analysis: Analysis, drawn: Rows) -> Spec:
    """The chart of an analysis over its rows."""
    if analysis.kind == "matrix":
        return _matrix(analysis, drawn)
    names = list(dict.fromkeys(row["series"] for row in drawn))
    value_axis: Spec = {"title": analysis.value_title or analysis.value}
    if analysis.percent:
        value_axis["format"] = "~%"
    y = {"field": "mean", "type": "quantitative", "axis": value_axis, "scale": {"zero": analysis.kind == "bars"}}
    if analysis.kind == "lines":
        x: Spec = {"field": "x", "type": "quantitative", "axis": {"title": analysis.x_title or analysis.x, "format": "~s"}}
        places = sorted({row["x"] for row in drawn})
        if len(places) <= _TICKS:
            x["axis"] |= {"values": places, "labelOverlap": True}
        if analysis.log_x:
            x["scale"] = {"type": "symlog"}
    else:
        x = {"field": "x", "type": "nominal", "sort": None, "axis": {"title": analysis.x_title or None, "labelAngle": 0}}
        if len(names) > 1:
            x["axis"]["title"] = analysis.x_title or None
    legend = {"title": None} if len(names) > 1 else None
    colour = {
        "field": "series",
        "type": "nominal",
        "sort": None,
        "scale": {"domain": names, "range": [look.arm_colour(i) for i in range(len(names))]},
        "legend": legend,
    }
    aside: Spec = {"xOffset": {"field": "series"}} if analysis.kind == "bars" and len(names) > 1 else {}
    tooltip = [{"field": field} for field in ("series", "x", "shown", "n")]
    data: Spec = {"data": {"name": analysis.dataset}}
    main: list[Spec] = [
        data
        | {
            "mark": {"type": "bar", "cornerRadiusEnd": 2, "width": {"band": 0.55}},
            "encoding": {"x": x, "y": y, "color": colour, "tooltip": tooltip, **aside},
        }
    ]
    if analysis.kind == "lines":
        main = [
            data | {"mark": {"type": "line", "aria": False}, "encoding": {"x": x, "y": y, "color": colour}},
            data
            | {
                "mark": {"type": "point", "filled": True, "size": 60, "opacity": 1},
                "encoding": {"x": x, "y": y, "color": colour, "tooltip": tooltip},
            },
        ]
    interval_colour = {"value": "var(--ink)"} if analysis.kind == "bars" else colour
    interval = data | {
        "transform": [{"filter": "datum.low !== null"}],
        "mark": {"type": "rule", "strokeWidth": 1.5, "aria": False},
        "encoding": {"x": x, "y": y | {"field": "low"}, "y2": {"field": "high"}, "color": interval_colour, **aside},
    }
    return {"$schema": SCHEMA, "width": "container", "height": 280, "layer": [*main, interval]}


def section(index: int, analyses: Iterable[Analysis]) -> str:
    """A section an analysis: its figure and its data as a table."""
    parts = []
    for analysis in analyses:
        label = f"Chart: {analysis.title}"
        parts.append(
            f"<section><h2>{text(analysis.title)}</h2><p class=lead>{text(analysis.lead)}</p>"
            + markup.figure(index, analysis.dataset, label, text(analysis.caption))
            + markup.lazy_table(index, analysis.dataset, "The same as a table")
            + "</section>"
        )
    return "".join(parts)


def _matrix(analysis: Analysis, drawn: Rows) -> Spec:
    place: Spec = {
        "x": {
            "field": "x",
            "type": "nominal",
            "sort": None,
            "axis": {"title": analysis.x_title or analysis.x, "labelAngle": 0, "orient": "top"},
        },
        "y": {"field": "y", "type": "nominal", "sort": None, "axis": {"title": analysis.y}},
    }
    values = sorted(row["mean"] for row in drawn)
    dark = (values[0] + 2 * values[-1]) / 3 if values else 0.0
    data: Spec = {"data": {"name": analysis.dataset}}
    colour = {"field": "mean", "type": "quantitative", "scale": {"scheme": "blues"}, "legend": None}
    tooltip = [{"field": field} for field in ("y", "x", "shown", "n")]
    text_colour = {"condition": {"test": f"datum.mean > {dark:.6g}", "value": "#ffffff"}, "value": "#1b2733"}
    return {
        "$schema": SCHEMA,
        "width": "container",
        "height": max(90, 40 * len({row["y"] for row in drawn})),
        "layer": [
            data
            | {
                "mark": {"type": "rect", "stroke": "var(--paper)", "strokeWidth": 2},
                "encoding": {**place, "color": colour, "tooltip": tooltip},
            },
            data
            | {
                "mark": {"type": "text", "fontSize": 12, "aria": False},
                "encoding": {**place, "text": {"field": "shown"}, "color": text_colour},
            },
        ],
    }


def of_study(study: Any) -> list[Analysis]:
    """The analyses of a study that has any."""
    return list(study.analyses()) if isinstance(study, HasAnalyses) else []
