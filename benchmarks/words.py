"""A training step of Kim's CNN, dense and sparse in turns: `python benchmarks/words.py [--threads 2] [--rounds 15] [--json FILE]`.

64 texts of 50 words, 100 filters each of 3, 4 and 5 words; convolutions pruned, Adam (fused, in both) and dropout included. "dense" is
this package's `WordConv`, whose backward pass skips what the maximum discarded; "torch" has `nn.Conv1d` in its place. The vectors are
frozen or trained (dense in every way). Denormal numbers are flushed.
"""

from __future__ import annotations

import argparse
import json
from collections.abc import Callable

import torch
import torch.nn.functional as F
from torch import nn

from secateur.masks import Mask, apply, random_pattern
from secateur.models.cnn import KimCNN, kim_cnn
from secateur.shapes import DataShape
from secateur.sparse import compress
from secateur.sparse.bench import environment, timed

BATCH, TOKENS, VOCABULARY = 64, 50, 20_000


def network(embedding: int, trained: bool) -> KimCNN:
    return kim_cnn(
        DataShape(outputs=20, vocabulary=VOCABULARY), torch.Generator().manual_seed(0), embedding=embedding, freeze_embedding=not trained
    )


class TorchConv(nn.Conv1d):
    """torch's convolution, with the maximum that the network asks for."""

    def maximum_over_time(self, x: torch.Tensor) -> torch.Tensor:
        return self(x).max(2).values  # type: ignore[no-any-return]


def with_torch_s_convolutions(model: KimCNN) -> KimCNN:
    for i, ours in enumerate(model.convolutions):
        plain = TorchConv(ours.in_channels, ours.out_channels, ours.kernel_size[0])  # type: ignore[union-attr, operator, arg-type, index]
        plain.load_state_dict(ours.state_dict())
        model.convolutions[i] = plain
    return model


def step_of(model: nn.Module) -> Callable[[], None]:
    adam = torch.optim.Adam([p for p in model.parameters() if p.requires_grad], lr=1e-4, fused=True)
    drawn = torch.Generator().manual_seed(0)
    tokens = torch.randint(2, VOCABULARY, (BATCH, TOKENS), generator=drawn)
    targets = torch.randint(0, 20, (BATCH,), generator=drawn)

    def step() -> None:
        adam.zero_grad()
        F.cross_entropy(model(tokens), targets).backward()
        adam.step()

    return step


def ways_of(embedding: int, trained: bool, densities: list[float]) -> dict[str, Callable[[], object]]:
    ways: dict[str, Callable[[], object]] = {
        "torch": step_of(with_torch_s_convolutions(network(embedding, trained))),
        "dense": step_of(network(embedding, trained)),
    }
    for density in densities:
        model = network(embedding, trained)
        weights = {n: p.shape for n, p in model.named_parameters() if p.dim() == 3}
        mask = Mask({n: random_pattern(tuple(s), int(density * s.numel() + 0.5), 0, n) for n, s in weights.items()})
        apply(mask, model)
        ways[f"{density:g}"] = step_of(compress(model, mask))
    return ways


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--rounds", type=int, default=15)
    parser.add_argument("--densities", type=float, nargs="+", default=[0.5, 0.2, 0.1, 0.05, 0.01])
    parser.add_argument("--json", help="write the rows here too")
    options = parser.parse_args()
    torch.set_flush_denormal(True)
    torch.set_num_threads(options.threads)
    rows = []
    for embedding, trained in ((100, False), (100, True), (300, False), (300, True)):
        found = timed(ways_of(embedding, trained, options.densities), options.rounds)
        best = min(found["torch"][0], found["dense"][0])
        for way, (seconds, low, high) in found.items():
            vectors, speedup = "trained" if trained else "frozen", best / seconds
            rows.append(
                {"embedding": embedding, "vectors": vectors, "way": way, "seconds": seconds, "low": low, "high": high, "speedup": speedup}
            )
            times = f"{seconds * 1e3:8.2f} ms  {low * 1e3:.2f} – {high * 1e3:.2f}"
            print(f"{embedding:4} {vectors:8} {way:6} {times}  x{speedup:.2f}", flush=True)
    if options.json:
        with open(options.json, "w") as file:
            json.dump({"environment": environment(), "rows": rows}, file, indent=1)


if __name__ == "__main__":
    main()
