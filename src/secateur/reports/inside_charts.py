"""Charts of what networks predict and hold: confusion, forgetting, weights, embeddings. Specs over the data sets of `inside`."""

from __future__ import annotations

from collections.abc import Sequence

from secateur.reports import look
from secateur.reports.charts import SCHEMA, Spec


def confusion(pick: str, classes: int) -> Spec:
    """True class down, predicted class across, in percent of the true class: data set `confusion`."""
    x = {
        "field": "predicted",
        "type": "nominal",
        "sort": None,
        "axis": {"title": "predicted", "labelAngle": -40, "domain": False, "ticks": False},
    }
    y = {"field": "true", "type": "nominal", "sort": None, "axis": {"title": "true", "domain": False, "ticks": False}}
    tooltip = [
        {"field": "true", "title": "true class"},
        {"field": "predicted", "title": "predicted"},
        {"field": "shown", "title": "% of the class"},
        {"field": "count", "title": "examples, mean over replicates", "format": ".1f"},
    ]
    colour = {"field": "share", "type": "quantitative", "scale": {"scheme": "blues", "domain": [0, 1]}, "legend": None}
    return _picked("confusion", pick, 30 + 26 * classes, {"x": x, "y": y}, colour, tooltip, "datum.share > 0.45", classes <= 12)


def forgetting(pick: str, classes: int) -> Spec:
    """Change of each class's recall against dense, by density, in points: data set `forgetting`."""
    x = {
        "field": "left",
        "type": "ordinal",
        "sort": {"field": "level"},
        "axis": {"title": "weights left", "labelAngle": 0, "domain": False, "ticks": False},
    }
    y = {"field": "class", "type": "nominal", "sort": None, "axis": {"title": None, "domain": False, "ticks": False}}
    tooltip = [
        {"field": "class", "title": "class"},
        {"field": "shown", "title": "recall against dense, points"},
        {"field": "low", "title": "95 % interval from", "format": "+.1f"},
        {"field": "high", "title": "to", "format": "+.1f"},
        {"field": "forgotten", "title": "examples forgotten", "format": ".1f"},
        {"field": "learned", "title": "examples learned", "format": ".1f"},
        {"field": "examples", "title": "examples in all"},
    ]
    scale = {"range": ["#b5482a", "#e9b79c", "#f1efe9", "#9cc5bf", "#1d7a72"], "domain": [-20, -6, 0, 6, 20], "clamp": True}
    colour = {"field": "difference", "type": "quantitative", "scale": scale, "legend": None}
    return _picked("forgetting", pick, 30 * (classes + 1), {"x": x, "y": y}, colour, tooltip, "abs(datum.difference) > 13", True, "series")


def histograms(parameter: str, labels: Sequence[str]) -> Spec:
    """Distribution of one parameter's kept weights, a line a network and moment: data set `histograms`."""
    return {
        "$schema": SCHEMA,
        "width": "container",
        "height": 240,
        "params": [{"name": "picked", "value": parameter}],
        "data": {"name": "histograms"},
        "transform": [{"filter": "datum.parameter == picked"}],
        "mark": {"type": "line", "interpolate": "step", "strokeWidth": 1.8, "aria": False},
        "encoding": {
            "x": {"field": "weight", "type": "quantitative", "axis": {"title": "weight (kept ones only)"}},
            "y": {"field": "share", "type": "quantitative", "axis": {"title": "share of kept weights", "format": "~%"}},
            "color": {
                "field": "label",
                "type": "nominal",
                "sort": None,
                "scale": {
                    "domain": list(labels),
                    "range": ["var(--muted)", "var(--ink)", *look.ramp(max(1, len(labels) - 2))][: len(labels)],
                },
                "legend": {"title": None, "symbolType": "stroke", "symbolStrokeWidth": 3, "labelLimit": 260},
            },
            "tooltip": [{"field": "label", "title": "network"}, {"field": "weight", "format": ".3g"}, {"field": "share", "format": ".2%"}],
        },
    }


def heat(pick: str) -> Spec:
    """Magnitude of one weight matrix, blocks of it averaged: data set `heat`."""
    axis = {"title": None, "labels": False, "ticks": False, "domain": False}
    return {
        "$schema": SCHEMA,
        "width": "container",
        "height": 300,
        "params": [{"name": "picked", "value": pick}],
        "data": {"name": "heat"},
        "transform": [{"filter": "datum.pick == picked"}],
        "mark": {"type": "rect", "aria": False},
        "encoding": {
            "x": {"field": "column", "type": "ordinal", "axis": axis | {"title": "inputs"}},
            "y": {"field": "row", "type": "ordinal", "axis": axis | {"title": "outputs"}},
            "color": {"field": "value", "type": "quantitative", "scale": {"scheme": "inferno"}, "legend": {"title": "magnitude"}},
            "tooltip": [{"field": "value", "title": "root mean square"}],
        },
    }


def radar(pick: str) -> Spec:
    """Embeddings of words, an axis a dimension: data set `radar`."""
    hidden_axis = None
    square = {"scale": {"domain": [-1.05, 1.05]}, "axis": hidden_axis, "type": "quantitative"}
    rings = [{"radius": radius, "x": 0, "y": 0} for radius in (0.5, 1.0)]
    return {
        "$schema": SCHEMA,
        "width": 320,
        "height": 320,
        "params": [{"name": "picked", "value": pick}],
        "layer": [
            {
                "data": {"values": rings},
                "mark": {"type": "arc", "filled": False, "stroke": "var(--line)", "theta": 0, "theta2": 6.2832, "aria": False},
                "encoding": {
                    "radius": {
                        "field": "radius",
                        "type": "quantitative",
                        "scale": {"type": "linear", "domain": [0, 1.05], "range": [0, 160]},
                    }
                },
            },
            {
                "data": {"name": "radar"},
                "transform": [{"filter": "datum.pick == picked"}],
                "mark": {"type": "line", "strokeWidth": 1.8, "aria": False},
                "encoding": {
                    "x": square | {"field": "x"},
                    "y": square | {"field": "y"},
                    "order": {"field": "corner"},
                    "color": {
                        "field": "word",
                        "type": "nominal",
                        "sort": None,
                        "scale": {"range": ["var(--arm-0)", "var(--arm-2)"]},
                        "legend": {"title": None, "symbolType": "stroke", "symbolStrokeWidth": 3},
                    },
                },
            },
        ],
    }


def _picked(
    data: str, pick: str, height: int, place: Spec, colour: Spec, tooltip: list[Spec], is_dark: str, with_text: bool, field: str = "pick"
) -> Spec:
    """A heat map of the rows that one choice picks, with its numbers where there is room."""
    chosen = {"data": {"name": data}, "transform": [{"filter": f"datum.{field} == picked"}]}
    layers = [
        chosen
        | {
            "mark": {"type": "rect", "stroke": "var(--paper)", "strokeWidth": 1.5},
            "encoding": place | {"color": colour, "tooltip": tooltip},
        }
    ]
    if with_text:
        text_colour = {"condition": {"test": is_dark, "value": "#ffffff"}, "value": "#1b2733"}
        layers.append(
            chosen
            | {
                "mark": {"type": "text", "fontSize": 11, "aria": False},
                "encoding": place | {"text": {"field": "shown"}, "color": text_colour},
            }
        )
    return {"$schema": SCHEMA, "width": "container", "height": height, "params": [{"name": "picked", "value": pick}], "layer": layers}
