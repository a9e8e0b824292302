"""Figures of `secateur bench`: speed-up against remaining weights, one figure a case."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from secateur.reports import charts
from secateur.reports.drawing import Drawn
from secateur.reports.figures import write_figures
from secateur.sparse.bench import Timing

_TITLES = {"kernels": "Product", "layers": "Forward and backward pass", "training": "Training step", "inference": "Inference"}


def drawn_timings(timings: Sequence[Timing]) -> Drawn:
    """A chart for each case, of the ways that are not the best dense one at every density: that one is the line at 1."""
    cases = list(dict.fromkeys(timing.case for timing in timings))
    datasets, specs = {}, {}
    for case in cases:
        found = [timing for timing in timings if timing.case == case]
        ways = [way for way in dict.fromkeys(timing.way for timing in found) if any(t.way == way and t.speedup != 1.0 for t in found)]
        datasets[case] = [
            {
                "series": timing.way,
                "kept": 100 * timing.density,
                "speedup": timing.speedup,
                "low": timing.speedup * timing.seconds / timing.high,
                "high": timing.speedup * timing.seconds / timing.low,
            }
            for timing in found
            if timing.way in ways
        ]
        specs[case] = charts.speedup(case, ways, [100 * timing.density for timing in found]) | {
            "title": f"{_TITLES[found[0].what]}, {case}"
        }
    return Drawn(cases, datasets, specs)


def write_bench_figures(timings: Sequence[Timing], out: str | Path) -> list[Path]:
    """Write the figures of all cases into the folder `out` as SVG, PDF and PNG."""
    return write_figures(drawn_timings(timings), Path(out))
