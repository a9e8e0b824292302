"""Looking inside: what a study's networks predict and hold, as rows for charts. Only for studies that can tell."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any, Protocol, runtime_checkable

import numpy as np
from numpy.typing import NDArray

from secateur.analysis import phrasing as say
from secateur.analysis import statistics as st
from secateur.analysis.forgetting import class_changes, confusion, forgotten_examples
from secateur.analysis.verdicts import DENSE
from secateur.analysis.weights import heat_map, histogram, nearest_words, radar
from secateur.reports.chart_data import Rows, densities, series_of
from secateur.reports.study import Reported

MOST_CLASSES = 30
MOST_MATRICES = 16
NEIGHBOURS = 6

Identity = Mapping[str, Any]
Predictions = tuple[Identity, NDArray[np.int64], NDArray[np.int64]]


@runtime_checkable
class HasPredictions(Protocol):
    """A study that keeps what its networks predict on the test split."""

    def predictions(self) -> Iterable[Predictions]:
        """(arm, level, replicate and factors; true classes; predicted classes), one a finished run. Class numbers, one an example."""
        ...


@runtime_checkable
class HasWeights(Protocol):
    """A study that can show the weights of some of its networks; one replicate of a few levels is enough."""

    def weights(self) -> Iterable[tuple[Identity, str, Mapping[str, NDArray[Any]], Mapping[str, NDArray[np.bool_]]]]:
        """(arm, level, replicate and factors; when: "start" or "end"; values by parameter; kept by prunable parameter)."""
        ...


@runtime_checkable
class HasWords(Protocol):
    """A study of text that knows the words of its embedding's rows, and a few worth looking at."""

    def words(self) -> tuple[Sequence[str], Sequence[str]]:
        """(the vocabulary in the order of the embedding's rows, words to look at)."""
        ...


def prediction_rows(reported: Reported) -> dict[str, Rows]:
    """Data sets `confusion`, `forgetting` and `forgotten`; empty for a study that keeps no predictions of single classes."""
    study = reported.study
    names = [str(name) for name in reported.method.get("data", {}).get("classes") or []]
    if not isinstance(study, HasPredictions) or not 2 <= len(names) <= MOST_CLASSES:
        return {}
    runs = [(identity, targets, predicted) for identity, targets, predicted in study.predictions() if targets.ndim == 1]
    cells: dict[tuple[str, int], dict[int, tuple[NDArray[np.int64], NDArray[np.int64]]]] = {}
    for identity, targets, predicted in runs:
        cells.setdefault((series_of(identity), identity["level"]), {})[identity["replicate"]] = (targets, predicted)
    left = _densities(reported)
    rows: dict[str, Rows] = {"confusion": [], "forgetting": [], "forgotten": []}
    for (series, level), replicates in cells.items():
        rows["confusion"] += _confusion(series, level, left.get((series, level), ""), list(replicates.values()), names)
        dense = cells.get((series.replace(series.split(",")[0], DENSE, 1), 0)) or cells.get((DENSE, 0), {})
        shared = sorted(replicates.keys() & dense.keys()) if level else []
        if shared:
            key = {"series": series, "level": level, "left": left.get((series, level), "")}
            changes = [class_changes(dense[r][0], dense[r][1], replicates[r][1], names) for r in shared]
            rows["forgetting"] += [key | _change(list(of_class)) for of_class in zip(*changes, strict=True)]
            forgotten = forgotten_examples(dense[shared[0]][0], [dense[r][1] for r in shared], [replicates[r][1] for r in shared])
            examples = changes[0][-1].examples
            rows["forgotten"].append(key | {"always": len(forgotten), "examples": examples, "n": len(shared)})
    return {name: found for name, found in rows.items() if found}


def weight_rows(reported: Reported) -> dict[str, Rows]:
    """Data sets `histograms`, `heat`, and for text `radar` and `neighbours`; empty for a study that shows no weights."""
    study = reported.study
    if not isinstance(study, HasWeights):
        return {}
    left = _densities(reported)
    vocabulary, looked_at = study.words() if isinstance(study, HasWords) else ((), ())
    rows: dict[str, Rows] = {"histograms": [], "heat": [], "radar": [], "neighbours": []}
    reach: dict[str, float] = {}
    matrices = 0
    for order, (identity, when, values, kept) in enumerate(study.weights()):
        series, level = series_of(identity), identity["level"]
        label = f"{series}{f' {left.get((series, level), level)}' if level else ''}, {when}"
        for parameter, tensor in values.items():
            reach.setdefault(parameter, 1.2 * float(np.abs(tensor).max(initial=0.0)))
            rows["histograms"] += _histogram(label, order, parameter, tensor, kept.get(parameter), reach[parameter])
            if tensor.ndim >= 2 and matrices < MOST_MATRICES:
                matrices += 1
                rows["heat"] += _heat(f"{parameter}: {label}", tensor)
            if len(vocabulary) == len(tensor) and tensor.ndim == 2:
                rows["neighbours"] += _neighbours(label, tensor, vocabulary, looked_at)
                rows["radar"] += _radar(label, tensor, vocabulary, looked_at)
    return {name: found for name, found in rows.items() if found}


def _confusion(series: str, level: int, left: str, runs: Sequence[tuple[Any, Any]], names: Sequence[str]) -> Rows:
    counts = np.mean([confusion(targets, predicted, len(names)) for targets, predicted in runs], axis=0)
    totals = counts.sum(axis=1, keepdims=True)
    shares = np.divide(counts, totals, out=np.zeros_like(counts), where=totals > 0)
    pick = f"{series} {left}" if level else series
    return [
        {
            "pick": pick,
            "true": true,
            "predicted": guess,
            "share": float(shares[i, j]),
            "shown": f"{100 * shares[i, j]:.0f}",
            "count": float(counts[i, j]),
        }
        for i, true in enumerate(names)
        for j, guess in enumerate(names)
    ]


def _change(changes: Sequence[Any]) -> dict[str, Any]:
    of = st.estimate([change.recall_pruned - change.recall_dense for change in changes if change.examples] or [0.0])
    return {
        "class": changes[0].name,
        "examples": changes[0].examples,
        "dense": float(np.mean([change.recall_dense for change in changes])),
        "pruned": float(np.mean([change.recall_pruned for change in changes])),
        "difference": 100 * of.mean,
        "low": None if of.low is None else 100 * of.low,
        "high": None if of.high is None else 100 * of.high,
        "shown": say.signed(100 * of.mean, 1),
        "forgotten": float(np.mean([change.forgotten for change in changes])),
        "learned": float(np.mean([change.learned for change in changes])),
        "n": of.n,
    }


def _histogram(label: str, order: int, parameter: str, tensor: NDArray[Any], kept: NDArray[np.bool_] | None, reach: float) -> Rows:
    of = histogram(tensor, kept, reach=reach)
    total = max(1, int(of.counts.sum()))
    middles = (of.edges[:-1] + of.edges[1:]) / 2
    return [
        {"label": label, "order": order, "parameter": parameter, "weight": float(f"{middle:.4g}"), "share": count / total}
        for middle, count in zip(middles, of.counts.tolist(), strict=True)
    ]


def _heat(pick: str, tensor: NDArray[Any]) -> Rows:
    grid = heat_map(tensor, most=32)
    return [
        {"pick": pick, "row": row, "column": column, "value": float(f"{grid[row, column]:.3g}")}
        for row in range(grid.shape[0])
        for column in range(grid.shape[1])
    ]


def _neighbours(label: str, tensor: NDArray[Any], vocabulary: Sequence[str], looked_at: Sequence[str]) -> Rows:
    rows: Rows = []
    for word in looked_at:
        if word in vocabulary and np.any(tensor[list(vocabulary).index(word)]):
            near = nearest_words(tensor, vocabulary, word, NEIGHBOURS)
            rows.append({"label": label, "word": word, "near": ", ".join(f"{other} {similarity:.2f}" for other, similarity in near)})
        elif word in vocabulary:
            rows.append({"label": label, "word": word, "near": "pruned away"})
    return rows


def _radar(label: str, tensor: NDArray[Any], vocabulary: Sequence[str], looked_at: Sequence[str]) -> Rows:
    shown = [word for word in looked_at if word in vocabulary][:2]
    if not shown:
        return []
    corners = radar(tensor, [list(vocabulary).index(word) for word in shown])
    return [
        {"pick": label, "word": word, "corner": corner, "x": float(x), "y": float(y)}
        for word, points in zip(shown, corners, strict=True)
        for corner, (x, y) in enumerate(points)
    ]


def _densities(reported: Reported) -> dict[tuple[str, int], str]:
    return {place: say.density(density) for place, density in densities(reported).items()}
