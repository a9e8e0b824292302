"""The charts, as Vega-Lite specs over named data sets: the same dicts are drawn in the page and written as figures."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from secateur.analysis import phrasing as say
from secateur.analysis.verdicts import Rule
from secateur.reports import look

Spec = dict[str, Any]


@dataclass(frozen=True)
class Window:
    """What a chart against remaining weights shows: densities marked on its axis (percent) and the range of its values."""

    ticks: tuple[float, ...]
    low: float
    high: float


SCHEMA = "https://vega.github.io/schema/vega-lite/v6.json"
MOST_TICKS = 8
DECADES = (100, 50, 20, 10, 5, 2, 1, 0.5, 0.2, 0.1, 0.05, 0.02, 0.01)
HOVER_POINTS = {"size": 14, "opacity": 0.01}
_VISIBLE = {"filter": "indexof(hidden, datum.series) < 0"}


def quality(rule: Rule, names: Sequence[str], window: Window, with_published: bool = True, with_lost: bool = True) -> Spec:
    """Quality against remaining weights: data sets `quality`, `quality_runs` and, where there are any, `published` and `lost`."""
    tooltip = [
        ("series", "arm"),
        ("left", "weights left"),
        ("shown", say.metric_name(rule.metric)),
        ("interval", "95 % interval"),
        ("n", "replicates"),
    ]
    tooltip += [("difference", "to dense"), ("verdict", "verdict")]
    layers = _against_kept("quality", names, _metric_axis(rule), tooltip, window)
    layers.insert(1, _run_points("quality_runs", names, window))
    if with_published:
        layers.append(
            {
                "data": {"name": "published"},
                "transform": [_VISIBLE, {"filter": f"datum.metric == '{rule.metric}'"}],
                "mark": {
                    "type": "point",
                    "shape": "M-1,-1L1,1M-1,1L1,-1",
                    "size": 90,
                    "strokeWidth": 2,
                    "opacity": 1,
                    "description": "published",
                },
                "encoding": {
                    "x": _kept(window),
                    "y": {"field": "value", "type": "quantitative"},
                    "color": _colour(names),
                    "tooltip": _tooltip(
                        [
                            ("series", "published for"),
                            ("value", say.metric_name(rule.metric)),
                            ("source", "source"),
                            ("comparable", "comparable"),
                        ]
                    ),
                },
            }
        )
    if with_lost:
        layers.append(
            {
                "data": {"name": "lost"},
                "transform": [_VISIBLE],
                "mark": {"type": "text", "text": "\u2020", "fontSize": 16, "baseline": "bottom", "y": "height"},
                "encoding": {
                    "x": _kept(window),
                    "color": _colour(names),
                    "tooltip": _tooltip([("series", "diverged"), ("replicate", "replicate")]),
                },
            }
        )
    return _chart(layers, height=330)


def speed(names: Sequence[str], window: Window) -> Spec:
    """Step of best validation against remaining weights: data sets `speed`, `speed_runs`."""
    tooltip = [
        ("series", "arm"),
        ("left", "weights left"),
        ("shown", "step of best validation"),
        ("interval", "95 % interval"),
        ("n", "replicates"),
    ]
    layers = _against_kept("speed", names, {"title": "step of best validation", "format": ",.0f"}, tooltip, window)
    layers.insert(1, _run_points("speed_runs", names, window))
    return _chart(layers, height=260)


def together(names: Sequence[str], window: Window) -> Spec:
    """Several studies: difference to dense, in margins, against remaining weights: data set `together`."""
    tooltip = [
        ("series", "study and arm"),
        ("left", "weights left"),
        ("shown", "to dense"),
        ("interval", "95 % interval"),
        ("n", "replicates"),
    ]
    marks: list[Spec] = [
        {
            "data": {"values": [{"mean": value}]},
            "mark": {"type": "rule", "color": "var(--ink)", "strokeWidth": 1.2, "strokeDash": dash, "aria": False},
            "encoding": {"y": {"field": "mean", "type": "quantitative"}},
        }
        for value, dash in ((0.0, [1, 0]), (-1.0, [5, 3]))
    ]
    arms = _against_kept("together", names, {"title": "difference to dense, in margins"}, [*tooltip, ("verdict", "verdict")], window)[2:]
    return _chart([*marks, *arms], height=330)


def curves(column: str, series: str, lefts: Sequence[str]) -> Spec:
    """Training curves of one series: a line a density (mean over replicates), each replicate faint: data set `curves`."""
    axis: Spec = {"title": measure_name(column)}
    if say.is_fraction(column):
        axis["format"] = "~%"
    colour = {
        "field": "left",
        "type": "nominal",
        "sort": None,
        "scale": {"domain": list(lefts), "range": ["var(--ink)", *look.ramp(len(lefts) - 1)]},
        "legend": {"title": "weights left", "symbolStrokeWidth": 3, "symbolType": "stroke", "symbolOpacity": 1},
    }
    y = {
        "field": column,
        "type": "quantitative",
        "axis": axis,
        "scale": {"type": "log"} if "perplexity" in column else {"zero": False},
    }
    x = {"field": "step", "type": "quantitative", "axis": {"title": "training step", "format": ",.0f", "tickCount": 8}}
    return _chart(
        [
            {
                "data": {"name": "curves"},
                "transform": [_of_series(series)],
                "mark": {"type": "line", "strokeWidth": 1, "strokeOpacity": 0.22, "aria": False},
                "encoding": {"x": x, "y": y, "color": colour, "detail": [{"field": "replicate"}, {"field": "level"}]},
            },
            {
                "data": {"name": "curves"},
                "transform": [
                    _of_series(series),
                    {"aggregate": [{"op": "mean", "field": column, "as": column}], "groupby": ["left", "level", "step"]},
                ],
                "mark": {"type": "line", "strokeWidth": 2.2, "point": HOVER_POINTS, "aria": False},
                "encoding": {
                    "x": x,
                    "y": y,
                    "color": colour,
                    "tooltip": [
                        {"field": "left", "title": "weights left"},
                        {"field": "step", "title": "step"},
                        {"field": column, "title": f"{measure_name(column)}, mean", "format": ".4~g"},
                    ],
                },
            },
        ],
        height=300,
        params={"curve_series": series},
    )


def layers(series: str, levels: int, parameters: int) -> Spec:
    """Density of each parameter at each level, as a heat map with its numbers: data set `layers`."""
    encoding: Spec = {
        "x": {
            "field": "left",
            "type": "ordinal",
            "sort": {"field": "level"},
            "axis": {"title": "weights left in all", "labelAngle": 0, "domain": False, "ticks": False},
        },
        "y": {
            "field": "parameter",
            "type": "nominal",
            "sort": None,
            "axis": {"title": None, "domain": False, "ticks": False, "labelLimit": 260},
        },
    }
    cell = {
        "data": {"name": "layers"},
        "transform": [_of_series(series, with_dense=False)],
        "mark": {"type": "rect", "stroke": "var(--paper)", "strokeWidth": 2},
        "encoding": encoding
        | {
            "color": {
                "field": "log",
                "type": "quantitative",
                "scale": {"scheme": "blues", "domain": [-3, 0], "clamp": True},
                "legend": None,
            },
            "tooltip": _tooltip(
                [
                    ("parameter", "parameter"),
                    ("kind", "kind"),
                    ("left", "weights left in all"),
                    ("shown", "% of it kept"),
                    ("prunable", "prunable weights"),
                ]
            ),
        },
    }
    parts = [cell]
    if levels <= 12:
        parts.append(
            {
                "data": {"name": "layers"},
                "transform": [_of_series(series, with_dense=False)],
                "mark": {"type": "text", "fontSize": 11, "aria": False},
                "encoding": encoding
                | {
                    "text": {"field": "shown"},
                    "color": {"condition": {"test": "datum.log > -1.1", "value": "#ffffff"}, "value": "#12263f"},
                },
            }
        )
    return _chart(parts, height=max(90, 30 * parameters), params={"layer_series": series})


def costs(measure: str, names: Sequence[str], title: str) -> Spec:
    """What finding each arm's tickets took, as a multiple of training dense once: data set `costs`."""
    field = f"{measure}_of_dense"
    y = {"field": "series", "type": "nominal", "sort": None, "axis": {"title": None, "domain": False, "ticks": False}}
    x = {"field": field, "type": "quantitative", "axis": {"title": title, "tickCount": 6}}
    shared = {"data": {"name": "costs"}, "transform": [_VISIBLE]}
    return _chart(
        [
            shared
            | {
                "mark": {"type": "bar", "cornerRadiusEnd": 2, "height": 18},
                "encoding": {
                    "x": x,
                    "y": y,
                    "color": _colour(names),
                    "tooltip": [{"field": "series", "title": "arm"}, {"field": field, "title": title, "format": ".3~g"}],
                },
            },
            shared
            | {
                "mark": {"type": "text", "align": "left", "dx": 6, "fontSize": 12, "aria": False},
                "encoding": {"x": x, "y": y, "text": {"field": field, "format": ".3~g"}},
            },
        ],
        height=max(60, 34 * len(names)),
    )


def speedup(data: str, names: Sequence[str], kept: Sequence[float]) -> Spec:
    """How many times faster than the best dense way, against remaining weights, with the quartiles: data set `data`."""
    x = kept_axis(kept)
    axis = {"title": "times as fast as dense", "format": "~g"}
    y = {"field": "speedup", "type": "quantitative", "axis": axis, "scale": {"type": "log", "nice": True}}
    shared = {"data": {"name": data}, "transform": [_VISIBLE]}
    place = {"x": x, "color": _colour(names)}
    return _chart(
        [
            {
                "data": {"values": [{"speedup": 1.0}]},
                "mark": {"type": "rule", "color": "var(--ink)", "strokeWidth": 1.2, "strokeDash": [5, 3], "aria": False},
                "encoding": {"y": y},
            },
            shared | {"mark": {"type": "rule", "aria": False}, "encoding": place | {"y": y | {"field": "low"}, "y2": {"field": "high"}}},
            shared | {"mark": {"type": "line"}, "encoding": place | {"y": y, "strokeDash": _dash(names)}},
            shared
            | {"mark": {"type": "point", "filled": True, "size": 60, "opacity": 1}, "encoding": place | {"y": y, "shape": _shape(names)}},
        ],
        height=230,
    )


def resolution(rule: Rule, replicates: int) -> Spec:
    """The smallest difference that n replicates show, beside the margin: data set `resolution`."""
    margin = rule.margin * (100 if rule.margin_is_relative or say.is_fraction(rule.metric) else 1)
    unit = "% of dense" if rule.margin_is_relative else "points" if say.is_fraction(rule.metric) else say.metric_name(rule.metric)
    x = {"field": "replicates", "type": "quantitative", "axis": {"title": "replicates", "tickCount": 10}, "scale": {"domain": [1, 30]}}
    y = {"field": "difference", "type": "quantitative", "axis": {"title": f"difference, {unit}"}, "scale": {"type": "log", "nice": True}}
    return _chart(
        [
            {
                "mark": {"type": "rule", "strokeDash": [4, 3], "color": "var(--muted)"},
                "data": {"values": [{"difference": margin}]},
                "encoding": {"y": y},
            },
            {
                "mark": {
                    "type": "text",
                    "align": "right",
                    "baseline": "bottom",
                    "dy": -4,
                    "color": "var(--muted)",
                    "x": "width",
                    "text": "the margin",
                },
                "data": {"values": [{"difference": margin}]},
                "encoding": {"y": y},
            },
            {
                "data": {"name": "resolution"},
                "mark": {"type": "line", "color": "var(--accent)", "point": {"color": "var(--accent)", "size": 22}},
                "encoding": {"x": x, "y": y, "tooltip": _tooltip([("replicates", "replicates"), ("shown", "smallest difference shown")])},
            },
            {
                "data": {"name": "resolution"},
                "transform": [{"filter": f"datum.replicates == {replicates}"}],
                "mark": {"type": "point", "filled": True, "size": 110, "color": "var(--accent)", "opacity": 1},
                "encoding": {"x": x, "y": y},
            },
        ],
        height=230,
    )


def measure_name(column: str) -> str:
    """A curve's column in words: `valid_macro_f1` is validation macro-F1."""
    split, _, metric = column.partition("_")
    return f"{ {'train': 'training', 'valid': 'validation', 'test': 'test'}.get(split, split) } {say.metric_name(metric)}"


def _chart(layer: list[Spec], height: int, params: Spec | None = None) -> Spec:
    return {
        "$schema": SCHEMA,
        "width": "container",
        "height": height,
        "autosize": {"type": "fit-x", "contains": "padding"},
        "params": [{"name": "hidden", "value": []}, *({"name": name, "value": value} for name, value in (params or {}).items())],
        "layer": layer,
    }


def _against_kept(data: str, names: Sequence[str], axis: Spec, tooltip: Sequence[tuple[str, str]], window: Window) -> list[Spec]:
    y = {"field": "mean", "type": "quantitative", "axis": axis, "scale": {"domain": [window.low, window.high], "nice": False}}
    dense = {"data": {"name": data}, "transform": [{"filter": "datum.series == 'dense' || indexof(datum.series, 'dense,') == 0"}]}
    arms = {"data": {"name": data}, "transform": [{"filter": "datum.level > 0"}, _VISIBLE, _apart(names)]}
    return [
        dense
        | {
            "mark": {"type": "rect", "color": "var(--ink)", "opacity": 0.08, "aria": False, "clip": True},
            "encoding": {"y": y | {"field": "low"}, "y2": {"field": "high"}},
        },
        dense
        | {
            "mark": {"type": "rule", "color": "var(--ink)", "strokeWidth": 1.5, "strokeDash": [5, 3]},
            "encoding": {"y": y, "tooltip": _tooltip(tooltip[:5])},
        },
        arms
        | {
            "mark": {"type": "rule", "strokeWidth": 1.6, "opacity": 0.75, "aria": False, "clip": True},
            "encoding": {"x": _kept(window, "place"), "y": y | {"field": "low"}, "y2": {"field": "high"}, "color": _colour(names)},
        },
        arms
        | {
            "mark": {"type": "line", "strokeWidth": 2, "aria": False},
            "encoding": {"x": _kept(window, "place"), "y": y, "color": _colour(names), "strokeDash": _dash(names)},
        },
        arms
        | {
            "mark": {"type": "point", "filled": True, "size": 70, "opacity": 1},
            "encoding": {
                "x": _kept(window, "place"),
                "y": y,
                "color": _colour(names),
                "shape": _shape(names),
                "tooltip": _tooltip(tooltip),
            },
        },
    ]


def _run_points(data: str, names: Sequence[str], window: Window) -> Spec:
    return {
        "data": {"name": data},
        "transform": [{"filter": "datum.kept < 100"}, _VISIBLE, _apart(names)],
        "mark": {"type": "point", "filled": True, "size": 16, "opacity": 0.35, "aria": False},
        "encoding": {"x": _kept(window, "place"), "y": {"field": "value", "type": "quantitative"}, "color": _colour(names)},
    }


def _apart(names: Sequence[str]) -> Spec:
    """Arms stand a hair beside one another, so that one arm's interval does not hide another's; tooltips keep the true density."""
    middle = (len(names) - 1) / 2
    listed = "[" + ",".join(json.dumps(name) for name in names) + "]"
    return {"calculate": f"datum.kept * pow(0.985, indexof({listed}, datum.series) - {middle:g})", "as": "place"}


def _metric_axis(rule: Rule) -> Spec:
    name = f"test {say.metric_name(rule.metric)}"
    return {"title": name, "format": "~%"} if say.is_fraction(rule.metric) else {"title": name}


def _kept(window: Window, field: str = "kept") -> Spec:
    return {
        "field": field,
        "type": "quantitative",
        "scale": {"type": "log", "reverse": True, "nice": False, "padding": 14},
        "axis": {
            "title": "weights left (%, log scale)",
            "values": list(window.ticks),
            "format": ".3~g",
            "labelOverlap": True,
        },
    }


def kept_axis(kept: Sequence[float]) -> Spec:
    """The axis of remaining weights, in percent, from dense to sparse: field `kept`, with the densities that there are marked."""
    places = sorted({round(value, 6) for value in kept}, reverse=True)
    return _kept(Window(tuple(places if len(places) <= MOST_TICKS else DECADES), 0.0, 1.0))


def _colour(names: Sequence[str]) -> Spec:
    return {
        "field": "series",
        "type": "nominal",
        "scale": {"domain": list(names), "range": [look.arm_colour(i) for i in range(len(names))]},
        "legend": None,
    }


def _shape(names: Sequence[str]) -> Spec:
    shapes = [look.SHAPES[(i + i // len(look.SHAPES)) % len(look.SHAPES)] for i in range(len(names))]
    return {"field": "series", "type": "nominal", "scale": {"domain": list(names), "range": shapes}, "legend": None}


def _dash(names: Sequence[str]) -> Spec:
    dashes = [look.DASHES[(i // look.ARM_COLOURS) % len(look.DASHES)] for i in range(len(names))]
    return {"field": "series", "type": "nominal", "scale": {"domain": list(names), "range": dashes}, "legend": None}


def _tooltip(fields: Sequence[tuple[str, str]]) -> list[Spec]:
    return [{"field": field, "title": title} for field, title in fields]


def _of_series(series: str, with_dense: bool = True) -> Spec:
    name = "layer_series" if not with_dense else "curve_series"
    dense = " || datum.level == 0" if with_dense else ""
    return {"filter": f"datum.series == {name}{dense}"}
