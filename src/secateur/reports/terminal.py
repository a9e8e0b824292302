"""The summary of a study on a terminal."""

from __future__ import annotations

from rich.console import Group, RenderableType
from rich.table import Table
from rich.text import Text

from secateur.analysis import phrasing as say
from secateur.analysis.verdicts import DENSE, Verdict
from secateur.reports.study import Reported, ReportedStudy

STYLES = {"wins": "bold green", "matches": "green", "loses": "red", "unclear": "yellow"}


def summary(study: ReportedStudy) -> RenderableType:
    """The study's answer, one row an arm and density, and what the replicates cannot show."""
    reported = Reported(study)
    words = reported.headline
    parts: list[RenderableType] = [Text(words.title, style="bold"), Text(), _table(reported), Text()]
    parts += [Text(f"  {line}", style="dim") for line in words.limits]
    return Group(*parts)


def _table(reported: Reported) -> Table:
    rule = reported.rule
    table = Table(box=None, pad_edge=False, padding=(0, 2, 0, 0), header_style="dim")
    headings = ["arm", "left", say.metric_name(rule.metric), "to dense (95 % interval)", "n", "verdict", "needs"]
    for heading in headings:
        table.add_column(heading, justify="left" if heading in ("arm", "verdict") else "right", no_wrap=True)
    dense = reported.results.filter((reported.results["arm"] == DENSE) & (reported.results["status"] == "done"))
    values = dense[rule.column].drop_nulls()
    if len(values):
        mean = float(values.to_numpy().mean())
        table.add_row("dense", say.density(1.0), say.value(rule.metric, mean), "", str(len(values)), "", "")
    if reported.majority is not None and rule.metric == "accuracy":
        largest, part = reported.majority
        table.add_row(f"always {largest}", "", say.value(rule.metric, part), "", "", "", "", style="dim")
    before = ""
    for verdict in reported.judgement.verdicts:
        label = verdict.arm + "".join(f" {value}" for value in verdict.factors.values() if value is not None)
        table.add_row(
            "" if label == before else label,
            say.density(verdict.density),
            say.value(rule.metric, verdict.mean),
            _to_dense(verdict, reported),
            _pairs(verdict),
            Text(verdict.verdict, style=STYLES[verdict.verdict]),
            f"n = {verdict.needed}" if verdict.needed else "",
        )
        before = label
    return table


def _to_dense(verdict: Verdict, reported: Reported) -> str:
    if verdict.to_dense is None:
        return ""
    apart = say.difference(reported.rule, verdict.to_dense.difference, unit=False)
    return f"{apart} ({say.interval(reported.rule, verdict.to_dense)})"


def _pairs(verdict: Verdict) -> str:
    return f"{verdict.pairs}{chr(0x2020) * len(verdict.diverged)}"
