"""One epoch of LeNet-300-100 on MNIST with masks kept: the loop against the obvious one, alternating in one process.

    python benchmarks/training_loop.py [--threads 2] [--rounds 7] [--density 0.2 …] [--execution auto] [--json]

The obvious loop is what one writes first: tensors in memory, a random permutation indexed batch by batch, torch's optimiser as it comes,
the mask multiplied after each step.
"""

from __future__ import annotations

import argparse
import json
import statistics
import time
from typing import Any

import torch
from torch import Tensor, nn

from secateur.data.files import Files
from secateur.masks import Mask
from secateur.registry import datasets, models, tasks
from secateur.seeds import generator
from secateur.steps import Step
from secateur.training.execution import Execution, executed, make_sparse
from secateur.training.loop import Seeds, Settings, make_run, train
from secateur.training.masking import KeepPruned
from secateur.training.numerics import prepare

OPTIMIZERS = {"adam": (torch.optim.Adam, 1.2e-3), "sgd": (torch.optim.SGD, 0.1)}


def obvious_epoch(model: nn.Module, optimizer: torch.optim.Optimizer, masks: dict[str, Tensor], inputs: Tensor, targets: Tensor) -> None:
    loss_function = nn.CrossEntropyLoss()
    parameters = dict(model.named_parameters())
    order = torch.randperm(len(inputs))
    for first in range(0, len(inputs), 128):
        chosen = order[first : first + 128]
        optimizer.zero_grad()
        loss = loss_function(model(inputs[chosen]), targets[chosen])
        loss.backward()
        optimizer.step()
        with torch.no_grad():
            for name, mask in masks.items():
                parameters[name].mul_(mask)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--rounds", type=int, default=7)
    parser.add_argument("--density", type=float, nargs="+", default=[0.2])
    parser.add_argument("--execution", choices=["auto", "dense", "sparse"], default="auto")
    parser.add_argument("--json", action="store_true")
    options = parser.parse_args()
    prepare(options.threads)
    dataset = datasets["mnist"](Files.default())
    batches = list(dataset.splits["train"].in_order(4096))
    inputs, targets = torch.cat([x for x, _ in batches]), torch.cat([y for _, y in batches])  # type: ignore[misc]
    rows = [
        {"optimizer": name, "density": density, **compare(dataset, inputs, targets, name, optimizer, rate, density, options)}
        for name, (optimizer, rate) in OPTIMIZERS.items()
        for density in options.density
    ]
    if options.json:
        print(json.dumps({"data": dataset.label, "threads": options.threads, "rows": rows}, indent=2))
        return
    print(f"{dataset.label}, {options.threads} threads, execution {options.execution}")
    for name in OPTIMIZERS:
        mine = [row for row in rows if row["optimizer"] == name]
        for row in mine:
            times = f"obvious {row['obvious']:.3f} s  ours {row['ours']:.3f} s  ratio {row['ratio']:.2f}"
            print(f"{name:5} density {row['density']:.3f}  {times}  rounds {row['ratios']}")
        if len(mine) > 1:
            print(f"{name:5} all densities: ratio {sum(row['ours'] for row in mine) / sum(row['obvious'] for row in mine):.2f}")


def compare(
    dataset: Any, inputs: Tensor, targets: Tensor, name: str, optimizer: Any, rate: float, density: float, options: argparse.Namespace
) -> dict[str, Any]:
    """Medians of one epoch each, and of the ratios of neighbouring epochs."""
    plain = models["lenet-300-100"](dataset.shape, generator(0))
    matrices = {n: p for n, p in plain.named_parameters() if p.ndim > 1}
    masks = {n: (torch.rand(p.shape, generator=generator(1, n)) < density).float() for n, p in matrices.items()}
    plain_optimizer = optimizer(plain.parameters(), lr=rate)
    table = {"name": name, "lr": rate}
    settings = Settings(Step.parse(f"{options.rounds + 1}ep"), batch=128, optimizer=table, evaluate=Step.parse("1000ep"))
    mask = Mask({n: kept.bool() for n, kept in masks.items()})
    network = models["lenet-300-100"](dataset.shape, generator(0))
    run = make_run(network, tasks["classification"](dataset), dataset, settings, Seeds(0, 1))
    run.mask = mask
    make_sparse(run, Execution(options.execution))
    keeper = KeepPruned()
    actions = {"start": [keeper.enforce], "gradients": [keeper.mask_gradients], "updated": [keeper.mask_weights]}
    times: dict[str, list[float]] = {"obvious": [], "ours": []}
    for turn in range(options.rounds + 1):
        start = time.perf_counter()
        obvious_epoch(plain, plain_optimizer, masks, inputs, targets)
        middle = time.perf_counter()
        run.until = (turn + 1) * run.steps_per_epoch if turn < options.rounds else run.total - 1
        run.history.append({"step": -1, "epoch": -1.0})
        train(run, actions)  # type: ignore[arg-type]
        end = time.perf_counter()
        if turn:
            times["obvious"].append(middle - start)
            times["ours"].append(end - middle)
    ratios = [ours / theirs for ours, theirs in zip(times["ours"], times["obvious"], strict=True)]
    return {
        "obvious": statistics.median(times["obvious"]),
        "ours": statistics.median(times["ours"]),
        "ratio": statistics.median(ratios),
        "execution": executed(run),
        "ratios": [round(ratio, 2) for ratio in ratios],
    }


if __name__ == "__main__":
    main()
