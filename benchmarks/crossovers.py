"""Measures the crossover table that `execution = "auto"` reads, on this machine.

OMP_NUM_THREADS=1 python benchmarks/crossovers.py --json FILE
"""

from __future__ import annotations

import argparse

from secateur.models.word_conv import WordConv
from secateur.sparse.bench import measure_crossovers


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--json", help="write the table here too")
    options = parser.parse_args()
    table = measure_crossovers(rounds=options.rounds, convolution=WordConv)
    for entry in table.entries:
        print(entry)
    if options.json:
        table.save(options.json)


if __name__ == "__main__":
    main()
