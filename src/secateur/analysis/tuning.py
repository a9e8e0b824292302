"""A factor tuned for each arm and density: the setting that validates best, with the cost of all that were tried."""

from __future__ import annotations

from collections.abc import Sequence

import polars as pl

from secateur.errors import InputError

_COSTS = ("steps", "multiply_adds", "seconds")


def tuned(frame: pl.DataFrame, factors: Sequence[str], metric: str, higher_is_better: bool = True) -> pl.DataFrame:
    """The rows of `frame` at the best setting of `factors`, chosen for each arm and level by mean validation `metric` over replicates.

    `factors` are columns (`factor.train.optimizer.lr`); others stay apart. A setting with a replicate that is not done ranks behind
    every one without. Costs (`steps`, `multiply_adds`, `seconds`) become those of all settings tried, replicate by replicate. The
    chosen setting stands in `chosen.<name>`; the factor's own column is gone, so that arms pair with dense. `InputError` for a
    column that is not there.
    """
    column = f"valid_{metric}"
    for name in (*factors, column):
        if name not in frame.columns:
            raise InputError(f"the results have no column {name!r}; they have {', '.join(frame.columns)}")
    others = [name for name in frame.columns if name.startswith("factor.") and name not in factors]
    group = ["arm", "level", *others]
    settings = frame.group_by([*group, *factors], maintain_order=True).agg(
        pl.col(column).mean().alias("_mean"), (pl.col("status") != "done").sum().alias("_unfinished")
    )
    ranked = settings.sort("_unfinished", "_mean", descending=[False, higher_is_better], nulls_last=True, maintain_order=True)
    best = ranked.group_by(group, maintain_order=True).first().select([*group, *factors])
    kept = frame.join(best, on=[*group, *factors], how="semi", nulls_equal=True, maintain_order="left")
    costs = [name for name in _COSTS if name in frame.columns]
    spent = frame.group_by([*group, "replicate"]).agg(pl.when(pl.col(name).count() > 0).then(pl.col(name).sum()) for name in costs)
    kept = kept.drop(costs).join(spent, on=[*group, "replicate"], how="left", nulls_equal=True, maintain_order="left")
    return kept.rename({name: f"chosen.{name.removeprefix('factor.')}" for name in factors})
