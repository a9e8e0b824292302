"""Static figures for a paper: the page's charts as SVG, PDF and PNG, in the same look."""

from __future__ import annotations

import re
from pathlib import Path

from secateur.reports.drawing import Drawn, figure_spec

_PNG_SCALE = 2.0


def write_figures(drawn: Drawn, out: Path, formats: tuple[str, ...] = ("svg", "pdf", "png")) -> list[Path]:
    """Write every chart of `drawn` into the folder `out` in each of `formats`; no network, no browser."""
    import vl_convert

    out.mkdir(parents=True, exist_ok=True)
    files = []
    for name, spec in drawn.specs.items():
        complete = figure_spec(spec, drawn)
        svg = vl_convert.vegalite_to_svg(complete, allowed_base_urls=[])
        for form in formats:
            path = out / f"{re.sub('[^a-z0-9]+', '-', name)}.{form}"
            if form == "svg":
                path.write_text(svg, encoding="utf-8")
            elif form == "pdf":
                path.write_bytes(vl_convert.svg_to_pdf(svg))
            else:
                path.write_bytes(vl_convert.svg_to_png(svg, scale=_PNG_SCALE))
            files.append(path)
    return files
