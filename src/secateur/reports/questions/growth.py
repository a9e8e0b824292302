"""How weights grow while training: their size at the moments that `[analyses.weights]` asks for."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from typing import Any

import polars as pl

from secateur.analysis import phrasing as say
from secateur.reports.analyses import Analysis
from secateur.reports.chart_data import densities, series_of
from secateur.reports.study import Reported

Identity = Mapping[str, Any]


def analyses(reported: Reported, sizes: Iterable[tuple[Identity, int, Mapping[str, float]]]) -> Iterator[Analysis]:
    """Root mean squares of each parameter's kept weights over training, network by network; for a study that measured them."""
    density = densities(reported)
    rows = []
    for identity, step, of_parameters in sizes:
        series, level = series_of(identity), identity["level"]
        left = f" {say.density(density[series, level])}" if level and (series, level) in density else ""
        rows += [
            {"network": f"{series}{left}", "step": step, "parameter": parameter, "size": size} for parameter, size in of_parameters.items()
        ]
    if not rows:
        return
    yield Analysis(
        name="growth",
        title="How weights grow",
        lead="The size of each parameter's weights at moments of training. What they look like there stands under Inside the network.",
        caption="Root mean square of the kept weights; means over replicates with 95 % intervals.",
        frame=pl.DataFrame(rows).sort("network", "step", maintain_order=True),
        kind="lines",
        x="step",
        value="size",
        series="parameter",
        pick="network",
        pick_title="Network",
        x_title="training step",
        value_title="root mean square",
    )
