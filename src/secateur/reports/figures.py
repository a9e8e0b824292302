"""Static figures for a paper: the page's charts as SVG, PDF and PNG, in the same look."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path

from secateur.reports.charts import Spec
from secateur.reports.drawing import Drawn, figure_spec

MOST_CHOICES = 8
_PNG_SCALE = 2.0


def write_figures(drawn: Drawn, out: Path, formats: tuple[str, ...] = ("svg", "pdf", "png")) -> list[Path]:
    """Write every chart of `drawn` into the folder `out` in each of `formats`; no network, no browser.

    Of a further question that leaves the reader a choice there is a figure for each, up to `MOST_CHOICES`.
    """
    import vl_convert

    out.mkdir(parents=True, exist_ok=True)
    files = []
    for name, spec in _with_choices(drawn):
        complete = figure_spec(spec, drawn)
        svg = vl_convert.vegalite_to_svg(complete, allowed_base_urls=[])
        for form in formats:
            path = out / f"{re.sub('[^a-z0-9]+', '-', name.lower()).strip('-')}.{form}"
            if form == "svg":
                path.write_text(svg, encoding="utf-8")
            elif form == "pdf":
                path.write_bytes(vl_convert.svg_to_pdf(svg))
            else:
                path.write_bytes(vl_convert.svg_to_png(svg, scale=_PNG_SCALE))
            files.append(path)
    return files


def _with_choices(drawn: Drawn) -> Iterator[tuple[str, Spec]]:
    """(name, spec) of every chart, once for each of its choices."""
    picks = {question.dataset: question.picks() for question in drawn.questions}
    for name, spec in drawn.specs.items():
        if len(picks.get(name, [])) < 2:
            yield name, spec
        for pick in picks.get(name, [])[:MOST_CHOICES] if len(picks.get(name, [])) > 1 else []:
            params = [param | {"value": pick} if param["name"] == "picked" else param for param in spec["params"]]
            yield f"{name}-{pick}", spec | {"params": params}
