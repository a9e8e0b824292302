"""Translations of dense and pruned networks side by side, and BLEU by the length of the sentence."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any

import numpy as np
import polars as pl

from secateur.analysis import phrasing as say
from secateur.analysis.verdicts import DENSE
from secateur.metrics import corpus_bleu
from secateur.reports.analyses import Analysis, Table
from secateur.reports.chart_data import densities, series_of
from secateur.reports.questions import arms
from secateur.reports.study import Reported

Identity = Mapping[str, Any]
_GROUPS = 4
_SENTENCES = 4
_FEWEST = 20


def analyses(reported: Reported, samples: Iterable[tuple[Identity, Sequence[Mapping[str, str]], str]]) -> Iterator[Analysis]:
    """BLEU by length, with a few sentences as each network translates them, of a study of translation."""
    density = densities(reported)
    rows: list[dict[str, Any]] = []
    shown: dict[tuple[str, int], Sequence[Mapping[str, str]]] = {}
    for identity, sentences, signature in samples:
        series, level = series_of(identity), identity["level"]
        if not sentences or not {"source", "reference", "translation"} <= sentences[0].keys() or (series, level) not in density:
            continue
        shown.setdefault((series, level), sentences)
        place = {"series": series, "level": level, "density": density[series, level]}
        rows += [place | found for found in _by_length(sentences, "case:lc" in signature)]
    if not rows:
        return
    frame = pl.DataFrame(rows)
    dense, pruned = frame.filter(pl.col("level") == 0), frame.filter(pl.col("level") > 0)
    whole = dense.with_columns(pl.lit(DENSE).alias("left"))
    parts = [arms.with_left(pruned.filter(pl.col("series") == arm), most=5) for arm in dict.fromkeys(pruned["series"])]
    picked = [pl.concat([whole, part]).with_columns(pl.lit(part["series"][0]).alias("arm")) for part in parts]
    yield Analysis(
        name="translations",
        title="Translations, and BLEU by length",
        lead="Long sentences tend to go first. Test sentences in four groups of like length.",
        caption="sacreBLEU of each group of test sentences that the study keeps; means over replicates with 95 % intervals.",
        frame=pl.concat(picked or [whole.with_columns(pl.lit(DENSE).alias("arm"))]),
        kind="bars",
        x="words",
        value="bleu",
        series="left",
        pick="arm",
        pick_title="Arm",
        coloured="names",
        x_title="words in the source sentence",
        value_title="BLEU",
        table=_sentences(shown, density),
    )


def _by_length(sentences: Sequence[Mapping[str, str]], lower: bool) -> Iterator[dict[str, Any]]:
    """BLEU of four groups of sentences by the number of words of their sources; of all in one where there are too few."""
    lengths = np.array([len(sentence["source"].split()) for sentence in sentences])
    cuts = np.quantile(lengths, np.arange(1, _GROUPS) / _GROUPS, method="lower") if len(sentences) >= _GROUPS * _FEWEST else np.array([])
    group = np.searchsorted(np.unique(cuts), lengths, side="left")
    for number in np.unique(group):
        mine = np.flatnonzero(group == number).tolist()
        words = f"{lengths[mine].min()} to {lengths[mine].max()}"
        score = corpus_bleu([sentences[i]["translation"] for i in mine], [sentences[i]["reference"] for i in mine], lowercase=lower).score
        yield {"words": words, "bleu": score}


def _sentences(shown: Mapping[tuple[str, int], Sequence[Mapping[str, str]]], density: Mapping[tuple[str, int], float]) -> Table:
    """A few sentences, as dense and each arm's middle and last level translate them in the first replicate."""
    chosen: list[tuple[str, int]] = []
    for series in dict.fromkeys(series for series, _ in shown):
        levels = sorted(level for name, level in shown if name == series)
        chosen += [(series, level) for level in sorted({levels[len(levels) // 2], levels[-1]})]
    first = next(iter(shown.values()))
    places = sorted({round(index * (len(first) - 1) / max(1, _SENTENCES - 1)) for index in range(_SENTENCES)})
    lines: list[tuple[str | None, Sequence[str]]] = []
    for place in places:
        lines.append((None, [f"{place + 1}", "source", "", first[place]["source"]]))
        lines.append((None, ["", "reference", "", first[place]["reference"]]))
        for series, level in chosen:
            if place < len(shown[series, level]):
                left = say.density(density[series, level]) if level else ""
                lines.append((series if level else None, ["", series, left, shown[series, level][place]["translation"]]))
    return Table(
        "The same sentences, dense and pruned, first replicate", [("", True), ("", False), ("weights left", True), ("", False)], lines
    )
