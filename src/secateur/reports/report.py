"""From studies to everything a report is: data files, figures and one page."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from secateur.errors import InputError
from secateur.reports.drawing import draw
from secateur.reports.figures import write_figures
from secateur.reports.page import page
from secateur.reports.study import Reported, ReportedStudy
from secateur.reports.tables import write_tables


def write_report(studies: Sequence[ReportedStudy] | ReportedStudy, out: Path, figures: bool = True) -> Path:
    """Write the report of one study, or of several side by side, into the folder `out`; return the path of report.html.

    Beside the page lie results.csv, results.parquet, curves.parquet, layers.parquet, verdict.json and, with `figures`, the
    charts as SVG, PDF and PNG in `figures/`. Of several studies each has its own folder for these, named after it.
    """
    given = list(studies) if isinstance(studies, Sequence) else [studies]
    if not given:
        raise InputError("a report needs at least one study")
    reported = [Reported(study) for study in given]
    drawn = [draw(one) for one in reported]
    out.mkdir(parents=True, exist_ok=True)
    folders = [out] if len(given) == 1 else [out / folder for folder in _distinct([study.name for study in given])]
    for one, charts, folder in zip(reported, drawn, folders, strict=True):
        write_tables(one, folder)
        if figures:
            write_figures(charts, folder / "figures")
    target = out / "report.html"
    target.write_text(page(reported, drawn), encoding="utf-8")
    return target


def _distinct(names: Sequence[str]) -> list[str]:
    seen: dict[str, int] = {}
    distinct = []
    for name in names:
        seen[name] = seen.get(name, 0) + 1
        distinct.append(name if seen[name] == 1 else f"{name}-{seen[name]}")
    return distinct
