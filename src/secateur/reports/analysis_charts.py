"""The charts of further questions: lines, bars or a matrix over the rows of an `Analysis`."""

from __future__ import annotations

from collections.abc import Sequence

from secateur.analysis.verdicts import DENSE
from secateur.reports import look
from secateur.reports.analyses import Analysis
from secateur.reports.chart_data import Rows
from secateur.reports.charts import SCHEMA, Spec, kept_axis

_TICKS = 10
_ROOM = 0.6


def spec(analysis: Analysis, drawn: Rows, arms: Sequence[str] = ()) -> Spec:
    """The chart of an analysis over its rows; `arms` are the study's series in the order of the page's colours."""
    layers = _matrix(analysis, drawn) if analysis.kind == "matrix" else _plain(analysis, drawn, arms)
    params: list[Spec] = [{"name": "hidden", "value": []}] if analysis.coloured == "arms" else []
    if analysis.pick is not None:
        params.append({"name": "picked", "value": drawn[0]["pick"]})
    height = max(90, 40 * len({row["y"] for row in drawn})) if analysis.kind == "matrix" else 280
    return {"$schema": SCHEMA, "width": "container", "height": height, "params": params, "layer": layers}


def _plain(analysis: Analysis, drawn: Rows, arms: Sequence[str]) -> list[Spec]:
    """Lines or bars, with their intervals."""
    names = list(dict.fromkeys(row["series"] for row in drawn))
    y = _value_axis(analysis, drawn)
    x = _place(analysis, drawn)
    colour = _colour(analysis, names, arms)
    aside: Spec = {"xOffset": {"field": "series", "sort": None}} if analysis.kind == "bars" and len(names) > 1 else {}
    data = _data(analysis)
    tooltip = [
        *([{"field": "series", "title": "line"}] if len(names) > 1 else []),
        {
            "field": "kept" if analysis.kept else "x",
            "title": analysis.x_title or analysis.x,
            **({"format": ".3~g"} if analysis.kept else {}),
        },
        {"field": "shown", "title": analysis.value_title or analysis.value},
        {"field": "n", "title": "measurements"},
    ]
    if analysis.kind == "bars":
        mark: Spec = {"type": "bar", "cornerRadiusEnd": 2, "width": {"band": 0.55}}
        layers = [data | {"mark": mark, "encoding": {"x": x, "y": y, "color": colour, "tooltip": tooltip, **aside}}]
    else:
        layers = [
            data | {"mark": {"type": "line", "aria": False}, "encoding": {"x": x, "y": y, "color": colour}},
            data
            | {
                "mark": {"type": "point", "filled": True, "size": 60, "opacity": 1},
                "encoding": {"x": x, "y": y, "color": colour, "tooltip": tooltip},
            },
        ]
    interval = data | {
        "transform": [*data.get("transform", []), {"filter": "datum.low !== null"}],
        "mark": {"type": "rule", "strokeWidth": 1.5, "aria": False, "clip": True},
        "encoding": {
            "x": x,
            "y": y | {"field": "low"},
            "y2": {"field": "high"},
            "color": {"value": "var(--ink)"} if analysis.kind == "bars" else colour,
            **aside,
        },
    }
    return [*layers, interval, *_mark(analysis, y)]


def _data(analysis: Analysis) -> Spec:
    """The rows that are drawn: those that the reader picked, of the arms that are not hidden."""
    filters = []
    if analysis.pick is not None:
        filters.append({"filter": "datum.pick == picked"})
    if analysis.coloured == "arms":
        filters.append({"filter": "indexof(hidden, datum.series) < 0"})
    return {"data": {"name": analysis.dataset}} | ({"transform": filters} if filters else {})


def _value_axis(analysis: Analysis, drawn: Rows) -> Spec:
    """The axis of the values: all means are in sight, and of the intervals as much as leaves the means most of the room."""
    axis: Spec = {"title": analysis.value_title or analysis.value}
    if analysis.percent:
        axis["format"] = "~%"
    marked = [0.0] if analysis.kind == "bars" else [analysis.mark[0]] if analysis.mark else []
    values = [row["mean"] for row in drawn] + marked
    low, high = min(values), max(values)
    room = _ROOM * ((high - low) or abs(high) or 1.0)
    bounds = (
        [low, *(row["low"] for row in drawn if row["low"] is not None)],
        [high, *(row["high"] for row in drawn if row["high"] is not None)],
    )
    down, up = max(min(bounds[0]), low - room), min(max(bounds[1]), high + room)
    domain = [down if low < 0 else max(0.0, down), up]
    return {"field": "mean", "type": "quantitative", "axis": axis, "scale": {"domain": domain, "nice": True, "zero": False}}


def _place(analysis: Analysis, drawn: Rows) -> Spec:
    if analysis.kept:
        return kept_axis([row["kept"] for row in drawn])
    if analysis.kind == "bars":
        axis: Spec = {"title": analysis.x_title or None, "labelAngle": 0, "labelLimit": 160}
        return {"field": "x", "type": "nominal", "sort": None, "axis": axis}
    x: Spec = {"field": "x", "type": "quantitative", "axis": {"title": analysis.x_title or analysis.x, "format": ".3~s"}}
    places = sorted({row["x"] for row in drawn})
    if len(places) <= _TICKS:
        x["axis"] |= {"values": places, "labelOverlap": True}
    if analysis.log_x:
        x["scale"] = {"type": "log", "nice": False, "padding": 14} if places and places[0] > 0 else {"type": "symlog"}
    return x


def _colour(analysis: Analysis, names: Sequence[str], arms: Sequence[str]) -> Spec:
    """Each series' colour: its arm's, a step from dense to sparse, or the next of the palette. Dense is in the colour of the text."""
    if analysis.coloured == "densities":
        colours = look.ramp(max(2, len(names)))[: len(names)]
    else:
        order = [name for name in (arms if analysis.coloured == "arms" else names) if name != DENSE]
        colours = ["var(--ink)" if name == DENSE else look.arm_colour(order.index(name) if name in order else 0) for name in names]
    legend = {"title": None, "labelLimit": 260} if len(names) > 1 else None
    return {"field": "series", "type": "nominal", "sort": None, "scale": {"domain": list(names), "range": colours}, "legend": legend}


def _mark(analysis: Analysis, y: Spec) -> list[Spec]:
    if analysis.mark is None:
        return []
    value, name = analysis.mark
    data: Spec = {"data": {"values": [{"mean": value}]}}
    words = {"type": "text", "align": "right", "baseline": "bottom", "dy": -4, "color": "var(--muted)", "x": "width", "text": name}
    return [
        data | {"mark": {"type": "rule", "color": "var(--muted)", "strokeDash": [5, 3], "aria": False}, "encoding": {"y": y}},
        data | {"mark": words | {"aria": False}, "encoding": {"y": y}},
    ]


def _matrix(analysis: Analysis, drawn: Rows) -> list[Spec]:
    across, down = (list(dict.fromkeys(row[axis] for row in drawn)) for axis in ("x", "y"))
    if set(across) == set(down):
        across = down
    place: Spec = {
        "x": {
            "field": "x",
            "type": "nominal",
            "sort": across,
            "axis": {"title": analysis.x_title or analysis.x, "labelAngle": 0, "orient": "top", "labelLimit": 160},
        },
        "y": {"field": "y", "type": "nominal", "sort": down, "axis": {"title": None, "labelLimit": 260}},
    }
    values = sorted(row["mean"] for row in drawn)
    data = _data(analysis)
    colour: Spec = {"field": "mean", "type": "quantitative", "legend": None}
    if analysis.signed:
        reach = max(abs(values[0]), abs(values[-1])) or 1.0
        steps = [-reach, -reach / 3, 0.0, reach / 3, reach]
        colour["scale"] = {"range": ["#b5482a", "#e9b79c", "#f1efe9", "#9cc5bf", "#1d7a72"], "domain": steps}
        dark = f"abs(datum.mean) > {0.65 * reach:.6g}"
    else:
        colour["scale"] = {"scheme": "blues"}
        dark = f"datum.mean > {(values[0] + values[-1]) / 2:.6g}"
    titles = (("y", analysis.y), ("x", analysis.x_title or analysis.x), ("shown", analysis.value_title), ("n", "measurements"))
    tooltip = [{"field": field, "title": title or field} for field, title in titles]
    text_colour = {"condition": {"test": dark, "value": "#ffffff"}, "value": "#1b2733"}
    return [
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
    ]
