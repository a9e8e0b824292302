"""Any further question of a study as a section: a frame with one row a measurement, and how to draw it."""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any, Literal, Protocol, runtime_checkable

import polars as pl

from secateur.analysis import phrasing as say
from secateur.analysis import statistics as st
from secateur.errors import InputError
from secateur.reports import markup
from secateur.reports.chart_data import Rows
from secateur.reports.markup import text


@dataclass(frozen=True)
class Table:
    """A table beside an analysis' chart: heads are (title, is a number), rows are (the arm that hides it, or None; its cells as text).
    With a `summary` it is closed until the reader opens it."""

    caption: str
    heads: Sequence[tuple[str, bool]]
    rows: Sequence[tuple[str | None, Sequence[str]]]
    summary: str = ""


@dataclass(frozen=True)
class Analysis:
    """One question, answered: stability over rewind points, mask overlap, a transfer matrix, supermask accuracy …

    `frame` has one row a measurement (a replicate). Rows that agree in `series`, `x`, `pick` and, for a matrix, `y` are averaged; lines and
    bars show a 95 % interval over them, unless the rows are no independent replicates (`interval`). `lines` draw `value` against the
    number `x`, a line a `series`; `bars` draw it for each name in `x`; a `matrix` draws it in cells, `y` down and `x` across.

    `pick` is a column of which the reader chooses one value. `kept` says that `x` are weights left in percent, drawn as in the main chart.
    Series are any `names`, the study's `arms` (in the page's colours, hidden with them), or `densities` (from dense to sparse).
    `percent` writes fractions as percentages; `signed` writes differences with their sign; `mark` draws a line at a value, with its name.
    A `main` question is one that the study was made to ask: it stands right below the numbers.
    """

    name: str
    title: str
    lead: str
    caption: str
    frame: pl.DataFrame
    kind: Literal["lines", "bars", "matrix"]
    x: str
    value: str
    y: str | None = None
    series: str | None = None
    x_title: str = ""
    value_title: str = ""
    log_x: bool = False
    percent: bool = False
    pick: str | None = None
    pick_title: str = ""
    kept: bool = False
    coloured: Literal["names", "arms", "densities"] = "names"
    interval: bool = True
    signed: bool = False
    mark: tuple[float, str] | None = None
    table: Table | None = None
    main: bool = False

    @property
    def dataset(self) -> str:
        """The data set and the chart of this analysis are called so."""
        return f"analysis-{self.name}"

    def picks(self) -> list[str]:
        """The choices that the reader has, in the frame's order."""
        return [] if self.pick is None else [str(value) for value in self.frame[self.pick].unique(maintain_order=True)]


@runtime_checkable
class HasAnalyses(Protocol):
    """A study with further questions answered."""

    def analyses(self) -> Iterable[Analysis]:
        """The analyses, in the order of the page."""
        ...


def rows(analysis: Analysis) -> Rows:
    """The averaged rows that the chart draws: x, y, series, pick, mean, low, high, n, shown."""
    columns = [column for column in (analysis.series, analysis.y, analysis.pick, analysis.x) if column is not None]
    for column in (*columns, analysis.value):
        if column not in analysis.frame.columns:
            raise InputError(f"analysis {analysis.name!r}: its frame has no column {column!r}")
    drawn: Rows = []
    for key, group in analysis.frame.group_by(columns, maintain_order=True):
        values = [float(value) for value in group[analysis.value].drop_nulls().to_list() if math.isfinite(value)]
        if not values:
            continue
        named = dict(zip(columns, key, strict=True))
        of = st.estimate(values)
        drawn.append(
            {
                "series": "" if analysis.series is None else str(named[analysis.series]),
                "y": "" if analysis.y is None else str(named[analysis.y]),
                "pick": "" if analysis.pick is None else str(named[analysis.pick]),
                ("kept" if analysis.kept else "x"): named[analysis.x] if analysis.kind == "lines" else str(named[analysis.x]),
                "mean": of.mean,
                "low": of.low if analysis.interval else None,
                "high": of.high if analysis.interval else None,
                "n": of.n,
                "shown": _shown(analysis, of.mean),
            }
        )
    return drawn


def section(index: int, analyses: Iterable[Analysis]) -> str:
    """A section an analysis: its figure, its table if it has one, and its data as a table."""
    parts = []
    for analysis in analyses:
        label = f"Chart: {analysis.title}"
        picks = analysis.picks()
        data = {"kept": ""} if analysis.kept else {}
        choose = ""
        if picks:
            data["series"] = picks[0]
            chooser = markup.select(index, analysis.dataset, "series", analysis.pick_title, {pick: pick for pick in picks})
            choose = f'<div class="pick">{chooser}</div>'
        parts.append(
            f"<section><h2>{text(analysis.title)}</h2><p class=lead>{text(analysis.lead)}</p>"
            + choose
            + markup.figure(index, analysis.dataset, label, text(analysis.caption), **data)
            + markup.lazy_table(index, analysis.dataset, "The same as a table")
            + _table(analysis.table)
            + "</section>"
        )
    return "".join(parts)


def of_study(study: Any) -> list[Analysis]:
    """The analyses of a study that has any."""
    return list(study.analyses()) if isinstance(study, HasAnalyses) else []


def _table(table: Table | None) -> str:
    if table is None:
        return ""
    inside = markup.table(table.caption, table.heads, [(series, [text(cell) for cell in cells]) for series, cells in table.rows])
    return markup.details(table.summary, inside) if table.summary else inside


def _shown(analysis: Analysis, mean: float) -> str:
    number = 100 * mean if analysis.percent else mean
    if analysis.signed:
        return say.signed(number, 2)
    if not analysis.percent:
        return f"{number:.3g}"
    whole = number == 0 or (analysis.kind == "matrix" and abs(number) >= 10)
    return say.signed(number, 0 if whole else 1 if abs(number) >= 1 else 2).lstrip("+")
