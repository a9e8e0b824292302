"""Training steps of recurrent layers: torch's dense layer against the sparse one, in one process, threads equal.

    python benchmarks/recurrent.py [--case wide|bidirectional|batch-one|all] [--threads 2] [--rounds 5] [--json]

A step is forward and backward from the sum of the outputs, gradients of the input included. Medians of `rounds` after one
warm-up; the spread is the interquartile range. Dense and sparse rounds alternate. Peak memory is what the peak resident set of
a process of its own, which has imported torch, grows by in making the layer and two steps, gradients included. Denormal
numbers are flushed in both.
"""

from __future__ import annotations

import argparse
import json
import multiprocessing
import statistics
import sys
import time
from collections.abc import Callable
from dataclasses import asdict, dataclass
from pathlib import Path

import torch
from torch import Tensor, nn

from secateur.sparse.recurrent import SparseLSTM


@dataclass(frozen=True)
class Case:
    """One network and input."""

    inputs: int
    hidden: int
    layers: int
    batch: int
    steps: int
    bidirectional: bool
    densities: tuple[float, ...]


CASES = {
    "wide": Case(600, 2500, 2, 20, 20, False, (0.05, 0.01, 0.0005)),
    "bidirectional": Case(256, 256, 1, 64, 50, True, (0.5, 0.3, 0.2, 0.1, 0.05, 0.01)),
    "batch-one": Case(600, 2500, 2, 1, 20, False, (0.05, 0.01)),
}


@dataclass(frozen=True)
class Row:
    """One measurement: seconds of a step (median, interquartile range) and bytes of peak memory, or None where not taken."""

    case: str
    density: float
    seconds: float
    spread: float
    inference_seconds: float
    speedup: float
    inference_speedup: float
    peak_bytes: int | None
    memory_ratio: float | None


def dense_layer(case: Case) -> nn.LSTM:
    return nn.LSTM(case.inputs, case.hidden, case.layers, bidirectional=case.bidirectional)


def sparse_layer(case: Case, density: float) -> SparseLSTM:
    return SparseLSTM.random(case.inputs, case.hidden, case.layers, density=density, seed=0, bidirectional=case.bidirectional)


def training_step(layer: nn.Module, x: Tensor) -> Callable[[], None]:
    def step() -> None:
        layer.zero_grad(set_to_none=True)
        x.grad = None
        layer(x)[0].sum().backward()

    return step


def inference(layer: nn.Module, x: Tensor) -> Callable[[], None]:
    def infer() -> None:
        with torch.inference_mode():
            layer(x)

    return infer


def alternating(calls: dict[float, Callable[[], None]], rounds: int) -> dict[float, list[float]]:
    """Seconds of each call in each round, all calls once a round, after one warm-up of each."""
    seconds: dict[float, list[float]] = {key: [] for key in calls}
    for number in range(rounds + 1):
        for key, call in calls.items():
            begin = time.perf_counter()
            call()
            if number:
                seconds[key].append(time.perf_counter() - begin)
    return seconds


def spread_of(seconds: list[float]) -> float:
    if len(seconds) < 2:
        return 0.0
    lower, _, upper = statistics.quantiles(seconds, n=4, method="inclusive")
    return upper - lower


def peak_resident_set() -> int:
    """Bytes. `ru_maxrss` will not do: Linux hands a parent's on to what it starts."""
    status = Path("/proc/self/status").read_text()
    return int(status.split("VmHWM:")[1].split()[0]) * 1024


def _peak(case: Case, density: float, threads: int, answer: multiprocessing.connection.Connection) -> None:
    torch.set_flush_denormal(True)
    torch.set_num_threads(threads)
    before = peak_resident_set()
    layer = dense_layer(case) if density == 1.0 else sparse_layer(case, density)
    x = torch.randn(case.steps, case.batch, case.inputs).requires_grad_()
    step = training_step(layer, x)
    step()
    step()
    answer.send(peak_resident_set() - before)


def peak_bytes(case: Case, density: float, threads: int) -> int:
    """Growth of the peak resident set in a fresh process."""
    context = multiprocessing.get_context("spawn")
    mine, theirs = context.Pipe()
    process = context.Process(target=_peak, args=(case, density, threads, theirs))
    process.start()
    grown = int(mine.recv())
    process.join()
    return grown


def measure(name: str, case: Case, threads: int, rounds: int, memory: bool) -> list[Row]:
    """Rows of a case; density 1.0 is torch's dense layer."""
    layers: dict[float, nn.Module] = {1.0: dense_layer(case)}
    layers |= {density: sparse_layer(case, density) for density in case.densities}
    x = torch.randn(case.steps, case.batch, case.inputs).requires_grad_()
    training = alternating({density: training_step(layer, x) for density, layer in layers.items()}, rounds)
    inferring = alternating({density: inference(layer, x) for density, layer in layers.items()}, rounds)
    peaks = {density: peak_bytes(case, density, threads) if memory else None for density in layers}
    dense, dense_inference, dense_peak = statistics.median(training[1.0]), statistics.median(inferring[1.0]), peaks[1.0]
    rows = []
    for density in layers:
        seconds, forward, peak = statistics.median(training[density]), statistics.median(inferring[density]), peaks[density]
        ratio = peak / dense_peak if peak is not None and dense_peak else None
        rows.append(
            Row(name, density, seconds, spread_of(training[density]), forward, dense / seconds, dense_inference / forward, peak, ratio)
        )
    return rows


def table(rows: list[Row]) -> str:
    heads = ("density", "step ms", "spread", "speed-up", "infer ms", "speed-up", "peak MB", "of dense")
    lines = [f"{'case':14} " + " ".join(f"{head:>9}" for head in heads)]
    for row in rows:
        peak = f"{row.peak_bytes / 1e6:9.1f}" if row.peak_bytes is not None else f"{'-':>9}"
        ratio = f"{row.memory_ratio:9.3f}" if row.memory_ratio is not None else f"{'-':>9}"
        lines.append(
            f"{row.case:14} {row.density:9g} {row.seconds * 1e3:9.2f} {row.spread * 1e3:9.2f} {row.speedup:9.2f} "
            f"{row.inference_seconds * 1e3:9.2f} {row.inference_speedup:9.2f} {peak} {ratio}"
        )
    return "\n".join(lines)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--case", choices=[*CASES, "all"], default="all")
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--no-memory", action="store_true", help="do not measure peak memory")
    parser.add_argument("--json", action="store_true", help="one JSON document on standard output; the table goes to standard error")
    arguments = parser.parse_args()
    torch.set_flush_denormal(True)
    torch.set_num_threads(arguments.threads)
    names = list(CASES) if arguments.case == "all" else [arguments.case]
    rows = [row for name in names for row in measure(name, CASES[name], arguments.threads, arguments.rounds, not arguments.no_memory)]
    print(table(rows), file=sys.stderr if arguments.json else sys.stdout)
    if arguments.json:
        print(json.dumps({"torch": torch.__version__, "threads": arguments.threads, "rows": [asdict(row) for row in rows]}, indent=2))


if __name__ == "__main__":
    main()
