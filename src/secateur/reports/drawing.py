"""Which charts a study gets, with the data sets they draw: the one list behind page and figures."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from secateur.analysis import phrasing as say
from secateur.reports import analyses, analysis_charts, chart_data, charts, inside, inside_charts, look
from secateur.reports.chart_data import Rows
from secateur.reports.study import Reported

_ROOM = 0.5


@dataclass(frozen=True)
class Drawn:
    """A study's charts by name, the rows of the data sets that they name, and the further questions among them."""

    names: list[str]
    datasets: Mapping[str, Rows]
    specs: Mapping[str, charts.Spec]
    questions: tuple[analyses.Analysis, ...] = ()


def draw(reported: Reported) -> Drawn:
    """The charts of a study: those for which it has data."""
    rule, names = reported.rule, chart_data.series(reported)
    datasets: dict[str, Rows] = {
        "quality": chart_data.points(reported, rule.column),
        "quality_runs": chart_data.runs(reported, rule.column),
        "published": chart_data.published(reported),
        "lost": chart_data.lost_runs(reported),
        "curves": chart_data.curves(reported),
        "layers": chart_data.layer_points(reported),
        "costs": chart_data.costs(reported),
        "resolution": chart_data.resolution(reported),
    }
    metrics = {row["metric"] for row in datasets["published"]}
    marks = [row["value"] for row in datasets["published"] if row["metric"] == rule.metric]
    most = 1.0 if say.is_fraction(rule.metric) else math.inf
    shown = window(datasets["quality"], datasets["quality_runs"], marks, most)
    specs = {"quality": charts.quality(rule, names, shown, rule.metric in metrics, bool(datasets["lost"]))}
    if "best_step" in reported.results.columns:
        datasets["speed"] = chart_data.points(reported, "best_step")
        datasets["speed_runs"] = chart_data.runs(reported, "best_step")
        if datasets["speed"]:
            specs["speed"] = charts.speed(names, window(datasets["speed"], datasets["speed_runs"], [], math.inf))
    if datasets["curves"] and names:
        lefts = densities(reported)
        for column in chart_data.curve_columns(reported):
            specs[f"curves:{column}"] = charts.curves(column, names[0], lefts)
    pruned = [row for row in datasets["layers"] if row["level"] > 0]
    if pruned:
        levels = len({row["level"] for row in pruned})
        specs["layers"] = charts.layers(names[0], levels, len({row["parameter"] for row in pruned}))
    for measure, title in (("multiply_adds", "multiply-adds"), ("steps", "training steps"), ("seconds", "seconds")):
        if any(row[f"{measure}_of_dense"] is not None for row in datasets["costs"]):
            arms = [row["series"] for row in datasets["costs"]]
            specs[f"costs:{measure}"] = charts.costs(measure, names or arms, f"{title}, as a multiple of training dense once")
    datasets |= inside.prediction_rows(reported)
    datasets |= inside.weight_rows(reported)
    specs |= _inside(datasets)
    answered = []
    for analysis in analyses.of_study(reported.study):
        datasets[analysis.dataset] = analyses.rows(analysis)
        if datasets[analysis.dataset]:
            specs[analysis.dataset] = analysis_charts.spec(analysis, datasets[analysis.dataset], names)
            answered.append(analysis)
    if datasets["resolution"]:
        pairs = max((v.pairs for v in reported.judgement.verdicts), default=0)
        specs["resolution"] = charts.resolution(rule, pairs)
    return Drawn(names, {name: rows for name, rows in datasets.items() if rows}, specs, tuple(answered))


def _inside(datasets: Mapping[str, Rows]) -> dict[str, charts.Spec]:
    """The charts of what networks predict and hold, as far as there is anything to draw."""
    specs = {}
    if datasets.get("forgetting"):
        classes = len({row["class"] for row in datasets["forgetting"]}) - 1
        picks = list(dict.fromkeys(row["pick"] for row in datasets["confusion"]))
        specs["forgetting"] = inside_charts.forgetting(datasets["forgetting"][0]["series"], classes)
        specs["confusion"] = inside_charts.confusion(picks[0], classes)
        specs["confusion-pruned"] = inside_charts.confusion(picks[-1], classes)
    if datasets.get("histograms"):
        first = datasets["histograms"][0]
        specs["histograms"] = inside_charts.histograms(
            first["parameter"], list(dict.fromkeys(row["label"] for row in datasets["histograms"]))
        )
    for name, make in (("heat", inside_charts.heat), ("radar", inside_charts.radar)):
        if datasets.get(name):
            specs[name] = make(datasets[name][0]["pick"])
    return specs


def window(points: Rows, runs: Rows, marks: Sequence[float], most: float) -> charts.Window:
    """All runs and published numbers are in sight; of the intervals as much as leaves the runs most of the room."""
    densities = sorted({round(row["kept"], 6) for row in points if row["level"] > 0}, reverse=True)
    ticks = densities if len(densities) <= charts.MOST_TICKS else charts.DECADES
    values = [row["value"] for row in runs] + [row["mean"] for row in points] + list(marks)
    if not values:
        return charts.Window(tuple(ticks), 0.0, 1.0)
    low, high = min(values), max(values)
    span = (high - low) or abs(high) * 0.1 or 1.0
    wide_low = min([low - 0.05 * span, *(row["low"] for row in points if row["low"] is not None)])
    wide_high = max([high + 0.05 * span, *(row["high"] for row in points if row["high"] is not None)])
    floor = max(0.0, low - _ROOM * span) if low >= 0 else low - _ROOM * span
    return charts.Window(tuple(ticks), max(wide_low, floor), min(wide_high, high + _ROOM * span, most))


def densities(reported: Reported) -> list[str]:
    """The densities of a study as they are written, dense first, without repetition."""
    pairs = {(level, say.density(density)): density for (_, level), density in chart_data.densities(reported).items()}
    ordered = sorted(pairs, key=lambda pair: -pairs[pair])
    return list(dict.fromkeys(text for _, text in ordered)) or [say.density(1.0)]


def datasets_of(spec: Any) -> set[str]:
    """The names of the data sets that a spec draws."""
    if isinstance(spec, dict):
        own = {spec["data"]["name"]} if isinstance(spec.get("data"), dict) and "name" in spec["data"] else set()
        return own.union(*(datasets_of(value) for value in spec.values()))
    if isinstance(spec, list):
        return set().union(*(datasets_of(value) for value in spec))
    return set()


def figure_spec(spec: charts.Spec, drawn: Drawn, width: int = 520, legend: bool = True) -> charts.Spec:
    """The spec with its data, a fixed width, the light colours and a legend of arms: ready for a static figure."""
    complete = {
        **spec,
        "width": width if spec["width"] == "container" else spec["width"],
        "autosize": {"type": "pad"},
        "datasets": {name: drawn.datasets.get(name, []) for name in datasets_of(spec)},
        "config": look.vega_config(look.FIGURE_FONT) | {"background": "#ffffff"},
    }
    if legend:
        complete = _with_legend(complete)
    fixed: charts.Spec = look.resolved(_without_hover(complete))
    return fixed


def _without_hover(spec: Any) -> Any:
    """Points that are there only to be pointed at have no place in a figure, and most of its drawing time."""
    if isinstance(spec, list):
        return [_without_hover(value) for value in spec]
    if not isinstance(spec, dict):
        return spec
    return {key: _without_hover(value) for key, value in spec.items() if not (key == "point" and value == charts.HOVER_POINTS)}


def _with_legend(spec: Any) -> Any:
    """Arms have their toggles in the page; in a figure the scales of colour and shape show their legend."""
    if isinstance(spec, list):
        return [_with_legend(value) for value in spec]
    if not isinstance(spec, dict):
        return spec
    changed = {key: _with_legend(value) for key, value in spec.items()}
    if spec.get("field") == "series" and "legend" in spec:
        values = spec["scale"]["range"]
        of_dashes = any(isinstance(value, list) for value in values)
        changed["legend"] = None if of_dashes or not values else {"title": None, "orient": "top"}
    return changed
