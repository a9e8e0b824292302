"""Several studies on one page: their answers side by side."""

from __future__ import annotations

import math
from collections.abc import Sequence

from secateur.analysis import phrasing as say
from secateur.reports import charts, markup
from secateur.reports.chart_data import Rows
from secateur.reports.drawing import Drawn, window
from secateur.reports.markup import text
from secateur.reports.study import Reported


def drawn(studies: Sequence[Reported]) -> Drawn:
    """One chart for all studies: the difference to dense in margins, so that accuracy and perplexity share an axis."""
    rows: Rows = []
    for reported in studies:
        for v in reported.judgement.verdicts:
            if v.to_dense is None or not reported.rule.margin:
                continue
            scale = reported.rule.sign / reported.rule.margin
            bounds = sorted(scale * bound for bound in v.to_dense.interval) if v.to_dense.interval else [None, None]
            series = f"{reported.study.name}: {v.arm}" + "".join(f", {name} = {value}" for name, value in v.factors.items())
            rows.append(
                {
                    "series": series,
                    "level": v.level,
                    "kept": 100 * v.density,
                    "mean": scale * v.to_dense.difference,
                    "low": bounds[0],
                    "high": bounds[1],
                    "n": v.pairs,
                    "left": say.density(v.density),
                    "shown": say.difference(reported.rule, v.to_dense.difference),
                    "interval": say.interval(reported.rule, v.to_dense),
                    "verdict": v.verdict,
                }
            )
    names = list(dict.fromkeys(row["series"] for row in rows))
    specs = {"together": charts.together(names, window(rows, [], [-1.0, 0.0], math.inf))} if rows else {}
    return Drawn(names, {"together": rows} if rows else {}, specs)


def section(studies: Sequence[Reported], charted: Drawn) -> str:
    """A table with one row a study and arm: how far down it matches and wins, and the pooled differences."""
    heads = [("study", False), ("arm", False), ("dense", True), ("matches down to", True), ("wins down to", True), ("loses from", True)]
    heads += [("to dense, all densities", True), ("to reinit, all densities", True), ("replicates", True)]
    rows: list[tuple[str | None, list[str]]] = []
    for index, reported in enumerate(studies):
        rule = reported.rule
        dense = reported.results.filter((reported.results["arm"] == "dense") & (reported.results["status"] == "done"))[
            rule.column
        ].drop_nulls()
        mean = float(dense.to_numpy().mean()) if len(dense) else None
        for arm in reported.judgement.arms:
            label = ", ".join([arm.arm, *(f"{name} = {value}" for name, value in arm.factors.items() if value is not None)])
            rows.append(
                (
                    None,
                    [
                        f'<a href="#study-{index}">{text(reported.study.name)}</a>, {text(reported.study.preset)}',
                        text(label),
                        f"{say.value(rule.metric, mean)} {text(say.metric_name(rule.metric))}",
                        say.density(arm.matches_down_to) if arm.matches_down_to is not None else "not shown",
                        say.density(arm.wins_down_to) if arm.wins_down_to is not None else "not shown",
                        say.density(arm.loses_from) if arm.loses_from is not None else "none",
                        f"{say.difference(rule, arm.to_dense.difference)} ({say.interval(rule, arm.to_dense)})"
                        if arm.to_dense
                        else "\u2013",
                        f"{say.difference(rule, arm.to_reinit.difference)} ({say.interval(rule, arm.to_reinit)})"
                        if arm.to_reinit
                        else "\u2013",
                        str(arm.to_dense.replicates if arm.to_dense else 0),
                    ],
                )
            )
    answers = "".join(
        f'<li><a href="#study-{index}">{text(reported.study.title)}</a> '
        f'<span class="answer-{reported.headline.answer}">{text(reported.headline.title)}</span></li>'
        for index, reported in enumerate(studies)
    )
    title = f"{say.count(len(studies), 'study').replace('studys', 'studies').capitalize()}, side by side"
    label = "Chart: difference to dense against remaining weights, for every arm of every study"
    caption = (
        "Difference to dense in margins of its own study: above 0 is better than dense, below \u22121 is beyond the margin. 95 % intervals."
    )
    index = len(studies)
    chart = markup.key(index, charted.names) + markup.figure(index, "together", label, caption, kept="") if charted.specs else ""
    return (
        f'<article data-study="{index}" aria-label="comparison"><h1>{text(title)}</h1><ul class="words">{answers}</ul>{chart}'
        + markup.table("Every arm of every study", heads, rows)
        + "</article>"
    )
