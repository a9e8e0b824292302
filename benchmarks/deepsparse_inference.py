"""Inference of 3 x (1024 x 1024, ReLU) beside DeepSparse's: `python benchmarks/deepsparse_inference.py --deepsparse-python PYTHON`.

DeepSparse 1.8.0 (`pip install deepsparse==1.8.0`) needs Python 3.11 and an environment of its own, whose interpreter that is.
Two processes with the same weights, inputs and threads take turns, seven rounds of many calls each; medians of the rounds' medians. Without
such an interpreter the program says so and ends.
"""

from __future__ import annotations

import argparse
import json
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

DENSITIES, BATCHES, WIDTH, LAYERS = (0.2, 0.1, 0.05, 0.01), (64, 1), 1024, 3


def median_of(call: Callable[[], object], calls: int) -> float:
    for _ in range(calls // 4 + 1):
        call()
    seconds = []
    for _ in range(calls):
        start = time.perf_counter()
        call()
        seconds.append(time.perf_counter() - start)
    return statistics.median(seconds)


def serve(folder: Path, batch: int, threads: int) -> None:
    """The other process: a line asks for a round of so many calls, and is answered with its median in seconds."""
    import deepsparse  # type: ignore[import-not-found]
    import numpy as np
    import onnx  # type: ignore[import-not-found]
    from onnx import helper, numpy_helper

    nodes, weights, last = [], [], "x"
    for layer in range(LAYERS):
        weight, bias = np.load(folder / f"weight{layer}.npy"), np.load(folder / f"bias{layer}.npy")
        weights += [numpy_helper.from_array(weight.T.copy(), f"w{layer}"), numpy_helper.from_array(bias, f"b{layer}")]
        nodes += [
            helper.make_node("Gemm", [last, f"w{layer}", f"b{layer}"], [f"h{layer}"]),
            helper.make_node("Relu", [f"h{layer}"], [f"y{layer}"]),
        ]
        last = f"y{layer}"
    ends = [helper.make_tensor_value_info(name, onnx.TensorProto.FLOAT, [batch, WIDTH]) for name in ("x", last)]
    model = helper.make_model(helper.make_graph(nodes, "network", ends[:1], ends[1:], weights), opset_imports=[helper.make_opsetid("", 13)])
    model.ir_version = 8
    onnx.save(model, str(folder / "network.onnx"))
    engine = deepsparse.compile_model(str(folder / "network.onnx"), batch_size=batch, num_cores=threads)
    x = [np.load(folder / "x.npy")]
    np.save(folder / "y.npy", engine.run(x)[0])
    print("ready", flush=True)
    for line in sys.stdin:
        print(median_of(lambda: engine.run(x), int(line)), flush=True)


def compare(python: str, batch: int, density: float, threads: int, rounds: int) -> dict[str, Any]:
    import numpy as np
    import torch
    from torch import nn

    from secateur.masks import Mask, random_pattern
    from secateur.sparse import compress

    torch.set_num_threads(threads)
    torch.set_flush_denormal(True)
    drawn = torch.Generator().manual_seed(0)
    x = torch.randn(batch, WIDTH, generator=drawn)
    denses: list[nn.Module] = []
    patterns = {}
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        np.save(folder / "x.npy", x.numpy())
        for layer in range(LAYERS):
            dense = nn.Linear(WIDTH, WIDTH)
            pattern = random_pattern((WIDTH, WIDTH), int(density * WIDTH * WIDTH + 0.5), layer, "inference")
            with torch.no_grad():
                dense.weight.copy_(torch.randn(WIDTH, WIDTH, generator=drawn) * pattern.tensor() * (2 / (density * WIDTH)) ** 0.5)
            np.save(folder / f"weight{layer}.npy", dense.weight.detach().numpy())
            np.save(folder / f"bias{layer}.npy", dense.bias.detach().numpy())
            denses += [dense, nn.ReLU()]
            patterns[f"{2 * layer}.weight"] = pattern
        dense_network = nn.Sequential(*denses)
        network = compress(dense_network, Mask(patterns))

        def ours() -> torch.Tensor:
            found: torch.Tensor = network(x)
            return found

        arguments = [python, __file__, "--serve", name, "--batch", str(batch), "--threads", str(threads)]
        with subprocess.Popen(arguments, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as other, torch.inference_mode():
            assert other.stdin is not None
            assert other.stdout is not None
            for line in other.stdout:
                if line.strip() == "ready":
                    break
            torch.testing.assert_close(torch.from_numpy(np.load(folder / "y.npy")), dense_network(x), rtol=1e-3, atol=1e-3)
            torch.testing.assert_close(ours(), dense_network(x), rtol=1e-3, atol=1e-3)
            calls = 60
            times: dict[str, list[float]] = {"dense": [], "DeepSparse": [], "ours": []}
            for _ in range(rounds):
                times["dense"].append(median_of(lambda: dense_network(x), calls))
                times["ours"].append(median_of(ours, calls))
                other.stdin.write(f"{calls}\n")
                other.stdin.flush()
                times["DeepSparse"].append(float(other.stdout.readline()))
            other.stdin.close()
    medians = {way: statistics.median(seconds) for way, seconds in times.items()}
    return {"batch": batch, "density": density, **medians, "ratio": medians["DeepSparse"] / medians["ours"]}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--deepsparse-python", help="the interpreter of an environment with DeepSparse")
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--rounds", type=int, default=7)
    parser.add_argument("--batch", type=int, help=argparse.SUPPRESS)
    parser.add_argument("--serve", type=Path, help=argparse.SUPPRESS)
    parser.add_argument("--json", help="write the rows here too")
    options = parser.parse_args()
    if options.serve is not None:
        return serve(options.serve, options.batch, options.threads)
    probe = [options.deepsparse_python or sys.executable, "-c", "import deepsparse; print(deepsparse.__version__)"]
    found = subprocess.run(probe, capture_output=True, text=True, check=False)
    if found.returncode:
        reason = found.stderr.strip().splitlines()[-1]
        print(f"left out: {probe[0]} has no DeepSparse ({reason}); name one that has with --deepsparse-python", file=sys.stderr)
        return None
    rows = []
    for batch in BATCHES:
        for density in DENSITIES:
            rows.append(compare(probe[0], batch, density, options.threads, options.rounds))
            row = rows[-1]
            times = "  ".join(f"{way} {row[way] * 1e6:7.0f} us" for way in ("dense", "DeepSparse", "ours"))
            print(f"batch {batch:3}  density {density:5.2f}  {times}  ours x{row['ratio']:.2f} of DeepSparse", flush=True)
    if options.json:
        Path(options.json).write_text(json.dumps({"deepsparse": found.stdout.strip(), "threads": options.threads, "rows": rows}, indent=1))
    return None


if __name__ == "__main__":
    main()
