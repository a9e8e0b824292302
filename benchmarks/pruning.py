"""What pruning costs: mask updates against one pass over the weights, scores against the passes that their formulas need.

    python benchmarks/pruning.py [masks|scores] [--threads 1] [--rounds 15] [--json]

One pass over the weights: for each parameter read its weights and its scores and write an array of the same size (`torch.mul` into
memory that is there already), what the cheapest mask update could not do without. A mask update: from scores to a mask in force, that is
choosing to the exact count, weights zeroed where pruned, flags handed to the optimiser (Adam), whose next step zeroes its moments in the
same pass. The scores of gradual pruning are computed beforehand: what a score costs is the other table.

The passes of a score are written out in plain torch, with nothing but what the formula needs. Ways alternate in one process; medians,
and the median of the ratios of neighbours.
"""

from __future__ import annotations

import argparse
import json
import statistics
import time
from collections.abc import Callable
from types import SimpleNamespace
from typing import Any

import torch
from torch import Tensor, nn

from secateur.linear_maps import linear_maps, prunable_mask
from secateur.masks import Mask, apply
from secateur.pruning.keeping import keep
from secateur.registry import dynamic_methods, optimizers, scopes, scores
from secateur.seeds import generator
from secateur.training.masking import KeepPruned
from secateur.training.numerics import prepare

BATCH = 128
DENSITY, NEXT = 0.2, 0.18
DROP = 0.3


def mlp() -> nn.Module:
    """784 x 1024 x 1024 x 10: 1.9 million weights."""
    return nn.Sequential(nn.Linear(784, 1024), nn.ReLU(), nn.Linear(1024, 1024), nn.ReLU(), nn.Linear(1024, 10))


class Classifier(nn.Module):
    """An LSTM of two layers of 256 over vectors of 128, 30 steps: 0.9 million weights."""

    def __init__(self) -> None:
        super().__init__()
        self.lstm = nn.LSTM(128, 256, num_layers=2, batch_first=True)
        self.output = nn.Linear(256, 10)

    def forward(self, x: Tensor) -> Tensor:
        return self.output(self.lstm(x)[0][:, -1])  # type: ignore[no-any-return]


def loss(outputs: Tensor, targets: Tensor) -> Tensor:
    return nn.functional.cross_entropy(outputs, targets)


def measured(ways: dict[str, Callable[[], object]], rounds: int) -> dict[str, list[float]]:
    """Seconds of each way, alternating, after a warm-up."""
    times: dict[str, list[float]] = {name: [] for name in ways}
    for turn in range(rounds + 2):
        for name, way in ways.items():
            start = time.perf_counter()
            way()
            if turn > 1:
                times[name].append(time.perf_counter() - start)
    return times


def compared(ways: dict[str, Callable[[], object]], rounds: int, per: str) -> list[dict[str, Any]]:
    """Medians in milliseconds and ratios to the way `per`."""
    times = measured(ways, rounds)
    rows = []
    for name in ways:
        ratios = [mine / its for mine, its in zip(times[name], times[per], strict=True)]
        rows.append({"what": name, "ms": 1e3 * statistics.median(times[name]), "ratio": statistics.median(ratios)})
    return rows


def masks(rounds: int) -> list[dict[str, Any]]:
    """Mask updates of the MLP at density 0.2."""
    model = mlp()
    weights = {name: p for name, p in model.named_parameters() if p.ndim > 1}
    values = {name: torch.randn(p.shape, generator=generator(0, name)).abs() for name, p in weights.items()}
    gradients = {name: torch.randn(p.shape, generator=generator(1, name)) for name, p in weights.items()}
    written = {name: torch.empty_like(p) for name, p in weights.items()}
    maps, whole = linear_maps(model), prunable_mask(model, ["linear"])
    optimizer = optimizers["adam"](model.parameters())
    draw = torch.Generator().manual_seed(0)
    for parameter in model.parameters():  # all different: equal ones would move many weights to the same few places, as training never does
        parameter.grad = torch.randn(parameter.shape, generator=draw)
    optimizer.step()
    run: Any = SimpleNamespace(model=model, optimizer=optimizer, mask=None, settings=SimpleNamespace(masking="enforced", clip=None))
    keeper = KeepPruned()

    def enforced(mask: Mask) -> None:
        run.mask = mask
        keeper.enforce(run)

    def back(mask: Mask) -> None:  # and one step, as between any two updates
        enforced(mask)
        optimizer.step()

    def one_pass() -> None:
        with torch.no_grad():
            for name, weight in weights.items():
                torch.mul(weight, values[name], out=written[name])

    begun = {scope: keep(values, whole, DENSITY, scope=scope, maps=maps) for scope in scopes.names() if scope != "gate"}

    def choice(scope: str) -> Mask:
        return keep(values, begun[scope], NEXT, scope=scope, maps=maps)

    def renewed(method: str) -> Mask:
        mask: Mask = dynamic_methods[method](weights, gradients, begun["layer"], DROP, generator(2)).mask
        return mask

    rows = []
    for name, begin, way in [
        *((f"choose, scope {scope}", begun[scope], lambda scope=scope: choice(scope)) for scope in begun),
        *((f"gradual update, scope {scope}", begun[scope], lambda scope=scope: enforced(choice(scope))) for scope in begun),
        *((f"{method} renewal", begun["layer"], lambda method=method: enforced(renewed(method))) for method in ("set", "rigl", "snfs")),
    ]:
        ways = {"one pass over the weights": one_pass, name: way, "back": lambda begin=begin: back(begin)}
        rows += compared(ways, rounds, "one pass over the weights")[1:2]
    whole_pass = compared({"one pass over the weights": one_pass}, rounds, "one pass over the weights")
    return [*whole_pass, *rows]


def plain_passes(model: nn.Module, batches: list[tuple[Tensor, Tensor]], ones: Tensor) -> dict[str, tuple[str, Callable[[], object]]]:
    """For each score, the passes that its formula needs and a way that takes just these."""
    weights = [p for p in model.parameters() if p.ndim > 1]

    def first_order(examples: int = BATCH) -> None:
        for x, y in batches:
            for start in range(0, BATCH, examples):
                torch.autograd.grad(loss(model(x[start : start + examples]), y[start : start + examples]), weights)

    def second_order(products: int, first: bool) -> None:
        if first:
            first_order()
        for x, y in batches:
            gradients = torch.autograd.grad(loss(model(x), y), weights, create_graph=True)
            flow = torch.stack([g.sum() for g in gradients]).sum()
            for number in range(products):
                torch.autograd.grad(flow, weights, retain_graph=number < products - 1)

    def forward() -> None:
        with torch.no_grad():
            for x, _ in batches:
                model(x)

    twofold = (Classifier() if isinstance(model, Classifier) else mlp()).double()

    def one_example() -> None:
        torch.autograd.grad(twofold(ones).sum(), [p for p in twofold.parameters() if p.ndim > 1])

    def over_the_weights() -> None:
        with torch.no_grad():
            for weight in weights:
                weight.abs()

    count = len(batches)
    return {
        "magnitude": ("the weights, once", over_the_weights),
        "gradient": (f"{count} forward, {count} backward", first_order),
        "snip": (f"{count} forward, {count} backward", first_order),
        "taylor": (f"{count} forward, {count} backward", first_order),
        "fisher, by batch": (f"{count} forward, {count} backward", first_order),
        "fisher": (f"{count * BATCH} forward, {count * BATCH} backward, of one example each", lambda: first_order(1)),
        "grasp": (f"{2 * count} forward, {2 * count} backward, {count} second backward", lambda: second_order(1, True)),
        "obd, 4 probes": (f"{count} forward, {count} backward, {4 * count} second backward", lambda: second_order(4, False)),
        "synflow": ("1 forward, 1 backward, of one example in double precision", one_example),
        "wanda": (f"{count} forward", forward),
        "edge-popup, 4 steps": ("4 forward, 4 backward", lambda: [first_order() for _ in range(4 // count)]),
        "edge-popup, 40 steps": ("40 forward, 40 backward", lambda: [first_order() for _ in range(40 // count)]),
    }


def cost_of_scores(network: str, rounds: int) -> list[dict[str, Any]]:
    """Each score of one network, over two batches of 128."""
    model: nn.Module = mlp() if network == "mlp" else Classifier()
    model.eval()  # as scores see it
    shape = (784,) if network == "mlp" else (30, 128)
    draw = torch.Generator().manual_seed(0)
    batches = [(torch.randn(BATCH, *shape, generator=draw), torch.randint(10, (BATCH,), generator=draw)) for _ in range(2)]
    mask = prunable_mask(model, ["linear", "recurrent"])
    apply(mask, model)
    options: dict[str, dict[str, Any]] = {
        "fisher, by batch": {"gradients": "batch"}, "obd, 4 probes": {"probes": 4},
        "edge-popup, 4 steps": {"steps": 4, "density": 0.5}, "edge-popup, 40 steps": {"steps": 40, "density": 0.5},
    }  # fmt: skip
    rows = []
    for name, (passes, way) in plain_passes(model, batches, torch.ones(1, *shape, dtype=torch.float64)).items():
        make = scores[name.partition(",")[0]]
        its = options.get(name, {})

        def ours(make: Any = make, its: dict[str, Any] = its) -> object:
            return make(model, mask, batches, loss, generator(3), **its)

        few = max(3, rounds // 3) if name in ("fisher", "obd, 4 probes", "grasp") or make is scores["edge-popup"] else rounds
        plain, score = compared({"passes": way, "score": ours}, few, "passes")
        times = {"ms of the passes": plain["ms"], "ms": score["ms"], "ratio": score["ratio"]}
        rows.append({"network": network, "score": name, "passes": passes, **times})
    return rows


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("part", nargs="?", choices=["masks", "scores"])
    parser.add_argument("--network", choices=["mlp", "lstm"], help="for scores: only this one")
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--rounds", type=int, default=15)
    parser.add_argument("--json", action="store_true")
    options = parser.parse_args()
    prepare(options.threads)
    found: dict[str, Any] = {"threads": options.threads, "torch": torch.__version__}
    if options.part != "scores":
        found["masks"] = masks(options.rounds)
    if options.part != "masks":
        networks = [options.network] if options.network else ["mlp", "lstm"]
        found["scores"] = [row for network in networks for row in cost_of_scores(network, options.rounds)]
    if options.json:
        print(json.dumps(found, indent=2))
        return
    for row in found.get("masks", []):
        print(f"{row['what']:32} {row['ms']:8.2f} ms  {row['ratio']:6.2f}")
    for row in found.get("scores", []):
        passes = f"{row['ms of the passes']:9.2f} ms: {row['passes']}"
        print(f"{row['network']:5} {row['score']:20} {row['ms']:9.2f} ms  {row['ratio']:6.2f} of {passes}")


if __name__ == "__main__":
    main()
