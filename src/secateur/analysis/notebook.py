"""A study that shows itself in a notebook: its answer and its verdicts as a small piece of HTML that brings its own style."""

from __future__ import annotations

import html

import polars as pl

from secateur.analysis import phrasing as say
from secateur.analysis.headline import headline
from secateur.analysis.verdicts import Judgement, Rule, judge

_COLOURS = {"wins": "#0b6e4f", "matches": "#3f7d33", "unclear": "#9a6b00", "loses": "#c0392b"}
_CELL = "padding:2px 12px 2px 0;text-align:{side}"


def study_html(title: str, frame: pl.DataFrame, rule: Rule, controls: dict[str, str]) -> str:
    """The study's headline and one row an arm and density, for `_repr_html_`; says so when nothing has finished yet."""
    if rule.column not in frame.columns or frame[rule.column].drop_nulls().is_empty():
        done = frame.filter(pl.col("status") == "done").height if "status" in frame.columns else 0
        return f"<div><b>{html.escape(title)}</b>: {done} of {frame.height} runs have finished.</div>"
    judgement = judge(frame, rule, controls)
    words = headline(judgement)
    limits = "".join(f'<div style="opacity:.75">{html.escape(line)}</div>' for line in words.limits)
    return f"<div><div><b>{html.escape(title)}</b></div><div>{html.escape(words.title)}</div>{_table(judgement)}{limits}</div>"


def _table(judgement: Judgement) -> str:
    rule = judgement.rule
    heads = ("arm", "weights left", say.metric_name(rule.metric), "to dense", "95 % interval", "n", "verdict")
    rows = []
    for v in judgement.verdicts:
        factors = "".join(f", {name} = {value}" for name, value in v.factors.items() if value is not None)
        lost = f", {len(v.diverged)} diverged" if v.diverged else ""
        cells = [
            v.arm + factors,
            say.density(v.density),
            say.value(rule.metric, v.mean),
            say.difference(rule, v.to_dense.difference) if v.to_dense else "",
            say.interval(rule, v.to_dense) if v.to_dense else "",
            f"{v.pairs}{lost}",
            v.verdict,
        ]
        rows.append(_row(cells, "td", _COLOURS[v.verdict]))
    return f'<table style="border-collapse:collapse;margin:6px 0">{_row(heads, "th", "inherit")}{"".join(rows)}</table>'


def _row(cells: tuple[str, ...] | list[str], tag: str, last: str) -> str:
    inner = []
    for place, cell in enumerate(cells):
        side = "left" if place in (0, len(cells) - 1) else "right"
        colour = f";color:{last};font-weight:600" if place == len(cells) - 1 else ""
        inner.append(f'<{tag} style="{_CELL.format(side=side)}{colour}">{html.escape(cell)}</{tag}>')
    return f"<tr>{''.join(inner)}</tr>"
