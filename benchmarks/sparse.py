"""Times dense and sparse side by side: `python benchmarks/sparse.py layers --json layers.json`. See docs/performance.md."""

from __future__ import annotations

import argparse
import json
import sys

from secateur.models.word_conv import WordConv
from secateur.sparse.bench import DENSITIES, bench, environment, measure_crossovers


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("what", choices=["kernels", "layers", "training", "inference", "crossovers"])
    parser.add_argument("--densities", type=float, nargs="+", default=DENSITIES)
    parser.add_argument("--rounds", type=int, default=40)
    parser.add_argument("--json", help="write the rows here too")
    options = parser.parse_args()
    if options.what == "crossovers":
        table = measure_crossovers(rounds=options.rounds, convolution=WordConv)
        for entry in table.entries:
            print(entry)
        if options.json:
            table.save(options.json)
        return
    print(f"{environment()}", file=sys.stderr)
    rows = []
    for timing in bench(options.what, densities=options.densities, rounds=options.rounds):
        rows.append(timing.row())
        spread = f"{timing.low * 1e6:9.0f} – {timing.high * 1e6:<9.0f}"
        print(
            f"{timing.case:44} {timing.density:5.2f}  {timing.way:24} {timing.seconds * 1e6:9.0f} us  {spread} x{timing.speedup:.2f}",
            flush=True,
        )
    if options.json:
        with open(options.json, "w") as file:
            json.dump({"environment": environment(), "rows": rows}, file, indent=1)


if __name__ == "__main__":
    main()
