"""What survives: gates and heads, neurons, words."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any

import numpy as np
import polars as pl

from secateur.analysis import phrasing as say
from secateur.analysis.masks_over_time import kept_connections
from secateur.analysis.survival import by_block, by_rank
from secateur.masks import Mask
from secateur.reports.analyses import Analysis, Table
from secateur.reports.chart_data import series_of
from secateur.reports.questions import arms
from secateur.reports.study import Reported

Identity = Mapping[str, Any]
_WORDS_NAMED = 12


def analyses(reported: Reported, masks: Iterable[tuple[Identity, Mask]]) -> Iterator[Analysis]:
    """Densities of gates and heads, neurons that are cut off, and words by how frequent they are, of arms that draw their own masks."""
    own = [(identity, mask) for identity, mask in masks if "mask_from" not in arms.settings_of(reported, identity["arm"])]
    maps = reported.method.get("maps", [])
    yield from _blocks(own, [entry for entry in maps if entry["blocks"]])
    yield from _neurons(reported, own)
    yield from _words(reported, own, [entry["parameter"] for entry in maps if entry["kind"] == "embedding"])


def _blocks(masks: Sequence[tuple[Identity, Mask]], maps: Sequence[Mapping[str, Any]]) -> Iterator[Analysis]:
    rows = []
    for identity, mask in masks:
        for entry in maps:
            if entry["parameter"] not in mask or mask.pattern(entry["parameter"]).shape[0] != entry["blocks"][-1]["stop"]:
                continue
            for name, kept in by_block(mask.pattern(entry["parameter"]), entry["blocks"], entry["heads"]).items():
                rows.append(
                    {"level": identity["level"], "density": mask.density, "series": series_of(identity)}
                    | {"block": f"{entry['parameter']}: {name}", "kept": kept}
                )
    if not rows:
        return
    yield Analysis(
        name="blocks",
        title="Which gates and heads survive?",
        lead="Weights kept in each gate of a recurrent layer, or in the query, key and value of each head of attention.",
        caption="Percent of the block's prunable weights that are kept; means over replicates. Columns: weights left in all.",
        frame=arms.with_left(pl.DataFrame(rows)),
        kind="matrix",
        x="left",
        y="block",
        value="kept",
        pick="series",
        pick_title="Arm",
        percent=True,
        x_title="weights left in all",
        value_title="% kept",
    )


def _neurons(reported: Reported, masks: Sequence[tuple[Identity, Mask]]) -> Iterator[Analysis]:
    layers = reported.layers
    kinds = dict(layers.select("parameter", "kind").unique().iter_rows()) if len(layers) else {}
    rows = []
    for identity, mask in masks:
        place = {"level": identity["level"], "density": mask.density, "series": series_of(identity)}
        for parameter, (outputs, inputs) in kept_connections(mask).items():
            shape = mask.pattern(parameter).shape
            count = shape[0] - len(mask.pattern(parameter).excluded_rows)
            ends = ("words", "dimensions") if kinds.get(parameter) == "embedding" else ("outputs", "inputs")
            rows.append(place | {"end": f"{parameter}: {ends[0]}", "alone": outputs / count})
            rows.append(place | {"end": f"{parameter}: {ends[1]}", "alone": inputs / shape[1]})
    concerned = {row["end"] for row in rows if row["alone"]}
    if not concerned:
        return
    yield Analysis(
        name="neurons",
        title="What is cut off?",
        lead="Outputs and inputs of a layer that no weight is left of: neurons, filters, words that pruning by weights removes whole.",
        caption="Percent of a parameter's outputs (rows) and inputs (columns) without a kept weight; means over replicates. "
        "Where all have some, there is no line.",
        frame=arms.with_left(pl.DataFrame([row for row in rows if row["end"] in concerned])),
        kind="matrix",
        x="left",
        y="end",
        value="alone",
        pick="series",
        pick_title="Arm",
        percent=True,
        x_title="weights left in all",
        value_title="% cut off",
    )


def _words(reported: Reported, masks: Sequence[tuple[Identity, Mask]], embeddings: Sequence[str]) -> Iterator[Analysis]:
    vocabulary = reported.method.get("data", {}).get("vocabulary")
    rows, last = [], {}
    for identity, mask in masks:
        for parameter in embeddings:
            if parameter not in mask or mask.pattern(parameter).shape[0] != vocabulary:
                continue
            for rank, kept in by_rank(mask.pattern(parameter)):
                rows.append(
                    {"level": identity["level"], "density": mask.density, "series": series_of(identity), "rank": rank, "kept": kept}
                )
            last[series_of(identity)] = (identity["level"], mask.density, mask.pattern(parameter))
    if not rows:
        return
    words = [str(word) for word in reported.method.get("words") or []]
    yield Analysis(
        name="words",
        title="Which words survive?",
        lead="The share of a word's embedding that is kept, against how frequent the word is in the training texts.",
        caption="Words in groups of like rank, the most frequent left; means over replicates with 95 % intervals. A line a density.",
        frame=arms.with_left(pl.DataFrame(rows), most=5),
        kind="lines",
        x="rank",
        value="kept",
        series="left",
        pick="series",
        pick_title="Arm",
        log_x=True,
        coloured="densities",
        percent=True,
        x_title="rank of the word by frequency",
        value_title="of its embedding kept",
        table=_named_words(words, last),
    )


def _named_words(words: Sequence[str], last: Mapping[str, tuple[int, float, Any]]) -> Table | None:
    """Of each arm's last level: the frequent words that are gone, and those of which most is left."""
    if not words:
        return None
    lines = []
    for series, (_, density, pattern) in last.items():
        if pattern.shape[0] != len(words):
            continue
        kept = pattern.flags().reshape(len(words), -1).mean(1)
        first = 2
        gone = [words[row] for row in np.flatnonzero(kept == 0).tolist() if row >= first][:_WORDS_NAMED]
        most = [words[row] for row in np.argsort(-kept, kind="stable").tolist() if row >= first and kept[row] > 0][:_WORDS_NAMED]
        lines.append((series, [series, say.density(density), ", ".join(most), ", ".join(gone) or "none"]))
    heads = [("arm", False), ("weights left", True), ("words with most left", False), ("most frequent words that are gone", False)]
    return Table("Words at the sparsest level, last replicate", heads, lines) if lines else None
