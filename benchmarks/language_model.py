"""Training steps of study D's whole language model: `python benchmarks/language_model.py [--threads 2] [--rounds 3] [--json FILE]`.

2 LSTM layers of 2,500, embedding 600, vocabulary 10,000, batch 20, windows of 20 tokens: a step carries the state on, ends gradients at
the window, clips them to norm 5 and takes a step of plain gradient descent, as the recipe `ptb-wide` does. The LSTM is kept at `--density`;
embedding and output layer are dense, or kept at `--ends`. Dense and sparse steps alternate in one process. Denormal numbers are flushed.
"""

from __future__ import annotations

import argparse
import json
from collections.abc import Callable
from typing import Any

import torch
import torch.nn.functional as F
from torch import nn

from secateur.masks import Mask, apply, random_pattern
from secateur.models.language_model import wide
from secateur.registry import optimizers
from secateur.shapes import DataShape
from secateur.sparse import compress
from secateur.sparse.bench import environment, timed

BATCH, WINDOW, VOCABULARY = 20, 20, 10_000


def network() -> Any:
    return wide(DataShape(outputs=VOCABULARY, vocabulary=VOCABULARY), torch.Generator().manual_seed(0))


def pruned(density: float, ends: float) -> nn.Module:
    """The network with its LSTM kept at `density`, embedding and output layer at `ends`."""
    model = network()
    densities = {
        name: density if name.startswith("layers") else ends
        for name, parameter in model.named_parameters()
        if parameter.dim() == 2 and (name.startswith("layers") or ends < 1)
    }
    patterns = {}
    for name, kept in densities.items():
        shape, excluded = tuple(model.get_parameter(name).shape), (0,) if name.startswith("embedding") else ()
        patterns[name] = random_pattern(shape, int(kept * (shape[0] - len(excluded)) * shape[1] + 0.5), 0, name, excluded)
    mask = Mask(patterns)
    apply(mask, model)
    return compress(model, mask, in_place=True)


def step_of(model: Any) -> Callable[[], None]:
    optimizer = optimizers["sgd"](model.parameters(), lr=0.1)
    parameters = list(model.parameters())
    drawn = torch.Generator().manual_seed(0)
    tokens = torch.randint(2, VOCABULARY, (BATCH, WINDOW + 1), generator=drawn)
    state: Any = None

    def step() -> None:
        nonlocal state
        logits, after = model.carry(tokens[:, :-1], state)
        state = tuple(part.detach() for part in after)
        F.cross_entropy(logits.flatten(0, 1), tokens[:, 1:].flatten()).backward()
        nn.utils.clip_grad_norm_(parameters, 5.0)
        optimizer.step()
        optimizer.zero_grad(set_to_none=True)

    return step


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--density", type=float, default=0.01)
    parser.add_argument("--ends", type=float, nargs="+", default=[1.0, 0.05])
    parser.add_argument("--json", help="write the rows here too")
    options = parser.parse_args()
    torch.set_flush_denormal(True)
    torch.set_num_threads(options.threads)
    ways = {"dense": step_of(network())}
    ways |= {f"LSTM {options.density:g}, ends {ends:g}": step_of(pruned(options.density, ends)) for ends in options.ends}
    found = timed(ways, options.rounds, warm_up=1)
    rows = []
    for way, (seconds, low, high) in found.items():
        rows.append({"way": way, "seconds": seconds, "low": low, "high": high, "speedup": found["dense"][0] / seconds})
        print(f"{way:24} {seconds * 1e3:9.1f} ms  {low * 1e3:.1f} – {high * 1e3:.1f}  x{rows[-1]['speedup']:.2f}", flush=True)
    if options.json:
        with open(options.json, "w") as file:
            json.dump({"environment": environment(), "rows": rows}, file, indent=1)


if __name__ == "__main__":
    main()
