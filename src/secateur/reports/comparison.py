"""Several studies on one page: their answers side by side."""

from __future__ import annotations

from collections.abc import Sequence

from secateur.analysis import phrasing as say
from secateur.reports import markup
from secateur.reports.markup import text
from secateur.reports.study import Reported


def section(studies: Sequence[Reported]) -> str:
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
    return f'<div class="kicker ui"></div><h1>{text(title)}</h1><ul class="words">{answers}</ul>' + markup.table(
        "Every arm of every study", heads, rows
    )
