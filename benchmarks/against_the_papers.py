"""The tables of docs/against-the-papers.md, from the studies in a store.

secateur run collapse-mnist --preset quick --store runs
secateur run high-sparsity-mnist --preset quick --store runs
python benchmarks/against_the_papers.py runs
"""

from __future__ import annotations

import argparse
from pathlib import Path

import polars as pl

from secateur.analysis.statistics import estimate, paired_differences
from secateur.errors import UnknownName
from secateur.studies.results import Study
from secateur.studies.store import Store

PAIRS = {
    "collapse-mnist": [("magnitude", "random"), ("snip", "random"), ("synflow", "random"), ("synflow", "snip"), ("synflow", "magnitude")],
    "high-sparsity-mnist": [
        ("late", "magnitude"), ("late", "snip"), ("late", "synflow"), ("late", "trained"),
        ("rigl", "static"), ("rigl", "late"), ("snip", "static"),
    ],
}  # fmt: skip


def interval(values: list[float]) -> str:
    """A mean of points with its 95 % interval."""
    found = estimate([100 * value for value in values])
    ends = f" ({found.low:+.2f} to {found.high:+.2f})" if found.low is not None and found.high is not None else ""
    return f"{found.mean:+.2f}{ends}"


def accuracies(frame: pl.DataFrame) -> dict[tuple[str, float], dict[int, float]]:
    """(arm, sparsity in percent) -> replicate -> test accuracy."""
    found: dict[tuple[str, float], dict[int, float]] = {}
    for row in frame.filter(pl.col("status") == "done").iter_rows(named=True):
        found.setdefault((row["arm"], round(100 * row["sparsity"], 1)), {})[row["replicate"]] = row["test_accuracy"]
    return found


def tables(study: Study) -> None:
    """Accuracy of each arm, paired differences between arms, and the fewest weights that any replicate left a layer."""
    found = accuracies(study.frame())
    dense = found[("dense", 0.0)]
    print(f"\n{study.name}, {study.preset}: dense {100 * estimate(list(dense.values())).mean:.2f} %, {len(dense)} replicates")
    compared = sorted({at for arm, at in found if arm in {name for pair in PAIRS[study.name] for name in pair} and arm != "late"} - {0.0})
    arms = [arm for arm in dict.fromkeys(arm for arm, _ in found) if arm != "dense"]
    print("\n| arm |" + "".join(f" {at} % |" for at in compared) + "\n|---|" + "---|" * len(compared))
    for arm in arms:
        cells = [found.get((arm, at), {}) for at in compared]
        print(f"| {arm} |" + "".join(f" {100 * estimate(list(its.values())).mean:.2f} % |" if its else " |" for its in cells))
    print("\n| difference, points |" + "".join(f" {at} % |" for at in compared) + "\n|---|" + "---|" * len(compared))
    for first, second in PAIRS[study.name]:
        cells = []
        for at in compared:
            one, other = found.get((first, at), {}), found.get((second, at), {})
            both = sorted(one.keys() & other.keys())
            cells.append(interval(paired_differences([one[r] for r in both], [other[r] for r in both])) if both else "")
        print(f"| {first} - {second} |" + "".join(f" {cell} |" for cell in cells))
    fewest = study.layers().group_by("arm", "level", "parameter", maintain_order=True).agg(pl.col("kept").min())
    left: dict[str, dict[int, list[str]]] = {}
    for row in fewest.filter(pl.col("arm") != "dense").iter_rows(named=True):
        left.setdefault(row["arm"], {}).setdefault(row["level"], []).append(str(row["kept"]))
    print("\nWeights left in each layer, the fewest of any replicate, at each level:")
    for arm, levels in left.items():
        print(f"| {arm} |" + "".join(f" {', '.join(counts)} |" for level, counts in levels.items() if level))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("store", type=Path)
    options = parser.parse_args()
    store = Store(options.store)
    for name in PAIRS:
        try:
            study = Study.latest(store, name)
        except UnknownName:
            continue
        tables(study)


if __name__ == "__main__":
    main()
