"""Each run's difference to its dense partner: the numbers behind the verdicts, one a replicate."""

from __future__ import annotations

import polars as pl

from secateur.analysis.verdicts import DENSE, Rule, cells_of, dense_for


def differences(frame: pl.DataFrame, rule: Rule) -> pl.DataFrame:
    """One row a finished pruned run whose dense partner finished too, paired as in `judge`.

    Columns: arm, level, replicate, factor.*, density (the mean over replicates), value, difference (run minus dense, in the metric's own
    direction; as a fraction of dense where the margin is relative).
    """
    cells = cells_of(frame, rule)
    rows = []
    for (arm, factors, level), cell in cells.items():
        dense = dense_for(cells, arm, factors)
        if arm == DENSE or level == 0 or dense is None:
            continue
        for replicate in sorted(cell.values.keys() & dense.values.keys()):
            value, against = cell.values[replicate], dense.values[replicate]
            rows.append(
                {"arm": arm, "level": level, "replicate": replicate}
                | {f"factor.{name}": setting for name, setting in factors}
                | {"density": cell.density, "value": value}
                | {"difference": (value - against) / abs(against) if rule.margin_is_relative else value - against}
            )
    columns = [
        "arm",
        "level",
        "replicate",
        *[name for name in frame.columns if name.startswith("factor.")],
        "density",
        "value",
        "difference",
    ]
    return pl.DataFrame({name: [row[name] for row in rows] for name in columns}, strict=False)
