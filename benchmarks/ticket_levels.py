"""What twenty levels of iterative pruning cost with sparse layers beside dense ones: `python benchmarks/ticket_levels.py DENSE AUTO`.

    secateur run agnews-lstm --preset paper --arms winning --replicates 1 --set data.limit=1050 --jobs 1 --execution dense --store DENSE
    secateur run agnews-lstm --preset paper --arms winning --replicates 2 --set data.limit=1050 --jobs 1 --execution auto --store AUTO

Seconds are those of the training nodes, embedding, optimiser and validation included. Run both under the same load, one
thread each. Two runs of one seed differ by rounding alone, yet rounding grows; so what differs between executions stands
beside what differs between seeds.
"""

from __future__ import annotations

import argparse
from itertools import combinations
from pathlib import Path
from statistics import fmean

import polars as pl

from secateur.studies.results import Study
from secateur.studies.store import Store

STUDY, ARM = "agnews-lstm", "winning"


def rows(store: Path) -> tuple[pl.DataFrame, str]:
    """The finished rows of the arm and of its dense start, and the metric of the study."""
    study = Study.latest(Store(store), STUDY)
    frame = study.frame().filter((pl.col("status") == "done") & pl.col("arm").is_in(["dense", ARM]))
    return frame.sort("level", "replicate").unique(["level", "replicate"], maintain_order=True), study.metric


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("dense", type=Path)
    parser.add_argument("auto", type=Path)
    options = parser.parse_args()
    (dense, metric), (auto, _) = rows(options.dense), rows(options.auto)
    column = f"test_{metric}" if f"test_{metric}" in dense.columns else metric
    both = dense.join(auto, on=["level", "replicate"], suffix="_auto").with_columns(pl.col("density").fill_null(1.0))
    print("| level | density | dense, s | auto, s | ratio | dense | auto |\n|---|---|---|---|---|---|---|")
    for (level,), group in both.group_by(["level"], maintain_order=True):
        slow, fast = group["seconds"].sum(), group["seconds_auto"].sum()
        means = f"{100 * fmean(group[column]):.1f} % | {100 * fmean(group[f'{column}_auto']):.1f} %"
        print(f"| {level} | {group['density'][0]:.3f} | {slow:.0f} | {fast:.0f} | {fast / slow:.2f} | {means} |")
    for name, part in (("all levels", both), ("below density 0.2", both.filter(pl.col("density") < 0.2))):
        slow, fast = part["seconds"].sum(), part["seconds_auto"].sum()
        print(f"{name}: {slow / 60:.1f} minutes dense, {fast / 60:.1f} auto, ratio {fast / slow:.2f}")
    across = [abs(a - b) for a, b in zip(both[column], both[f"{column}_auto"], strict=True)]
    print(f"mean absolute difference, points: between executions {100 * fmean(across):.2f}")
    between = [abs(a - b) for frame in (dense, auto) for a, b in _pairs(frame, frame[column])]
    if between:
        print(f"mean absolute difference, points: between seeds of one execution {100 * fmean(between):.2f}")
    print(f"mean of auto minus dense, points: {100 * (fmean(both[f'{column}_auto']) - fmean(both[column])):+.2f}")


def _pairs(frame: pl.DataFrame, values: pl.Series) -> list[tuple[float, float]]:
    """Every two replicates of a level."""
    levels: dict[int, list[float]] = {}
    for level, value in zip(frame["level"], values, strict=True):
        levels.setdefault(level, []).append(value)
    return [pair for found in levels.values() for pair in combinations(found, 2)]


if __name__ == "__main__":
    main()
