"""Sparse linear layers of other packages beside ours: `python benchmarks/comparison.py [--threads 2] [--rounds 15] [--json FILE]`.

Forward and backward pass through autograd at the same density, torch's layout, in one process, in turns: torch's dense layer, SparseProp
(`pip install sparseprop`), SparseLab (`pip install sparselab`), ours. A package that is not installed is left out, with the reason.
"""

from __future__ import annotations

import argparse
import json
import os
import sys
from collections.abc import Callable
from importlib import import_module
from typing import Any

DENSITIES = (0.2, 0.1, 0.05, 0.01)
SIZES = ((1024, 64), (1024, 512), (2048, 128))


def found(package: str) -> Any:
    """The package, or None where it cannot be imported; the reason goes to standard error."""
    try:
        return import_module(package)
    except Exception as error:
        print(f"{package}: left out, {type(error).__name__}: {error}", file=sys.stderr)
        return None


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--rounds", type=int, default=15)
    parser.add_argument("--json", help="write the rows here too")
    options = parser.parse_args()
    os.environ["OMP_NUM_THREADS"] = str(options.threads)  # the others ask OpenMP, each the runtime that it came with

    import torch
    from torch import nn

    from secateur.masks import random_pattern
    from secateur.sparse import SparseLinear
    from secateur.sparse.bench import environment, timed

    torch.set_num_threads(options.threads)
    torch.set_flush_denormal(True)
    sparseprop, sparselab = found("sparseprop.modules"), found("sparselab")

    def pass_of(layer: nn.Module, x: torch.Tensor, dy: torch.Tensor) -> Callable[[], None]:
        leaf = x.clone().requires_grad_()
        parameters = list(layer.parameters())

        def run() -> None:
            leaf.grad = None
            for parameter in parameters:
                parameter.grad = None
            torch.autograd.backward(layer(leaf), dy)

        return run

    rows = []
    alive = []  # SparseLab finds the transpose of a weight by its address, which another one would get
    for size, batch in SIZES:
        drawn = torch.Generator().manual_seed(0)
        x, dy = torch.randn(batch, size, generator=drawn), torch.randn(batch, size, generator=drawn)
        for density in DENSITIES:
            dense = nn.Linear(size, size)
            kept = random_pattern((size, size), int(density * size * size + 0.5), 0, "comparison").tensor()
            with torch.no_grad():
                dense.weight.mul_(kept)
            ways = {"dense": pass_of(dense, x, dy), "ours": pass_of(SparseLinear.from_dense(dense, kept), x, dy)}
            if sparseprop is not None:
                ways["SparseProp"] = pass_of(sparseprop.SparseLinear.from_dense(dense), x, dy)
            if sparselab is not None:
                alive.append(sparselab.SparseLinear(size, size, sparsity=1 - density))
                ways["SparseLab"] = pass_of(alive[-1], x, dy)
            times = timed(ways, options.rounds)
            for way, (seconds, low, high) in times.items():
                row = {"size": size, "batch": batch, "density": density, "way": way, "seconds": seconds, "low": low, "high": high}
                rows.append({**row, "speedup": times["dense"][0] / seconds, "ours": seconds / times["ours"][0]})
                print(
                    f"{size:5} x {size:<5} batch {batch:4}  {density:5.2f}  {way:10} {seconds * 1e6:9.0f} us"
                    f"  {low * 1e6:.0f} – {high * 1e6:.0f}  x{rows[-1]['speedup']:.2f} of dense, ours x{rows[-1]['ours']:.2f}",
                    flush=True,
                )
    if options.json:
        with open(options.json, "w") as file:
            json.dump({"environment": environment(), "rows": rows}, file, indent=1)


if __name__ == "__main__":
    main()
