"""A data set small enough that a training takes milliseconds, registered as a plug-in would."""

from __future__ import annotations

from collections.abc import Iterator

import torch

from secateur.data.dataset import Batch, Dataset, DataShape
from secateur.data.files import Files
from secateur.registry import datasets
from secateur.seeds import generator


class Points:
    """Points in the plane around class centres."""

    def __init__(self, inputs: torch.Tensor, targets: torch.Tensor) -> None:
        self.inputs, self.targets = inputs, targets

    def __len__(self) -> int:
        return len(self.targets)

    def steps(self, batch: int) -> int:
        return -(-len(self) // batch)

    def epoch(self, batch: int, seed: int, epoch: int, start: int = 0) -> Iterator[Batch]:
        order = torch.randperm(len(self), generator=generator(seed, epoch))
        for first in range(start * batch, len(self), batch):
            chosen = order[first : first + batch]
            yield self.inputs[chosen], self.targets[chosen]

    def in_order(self, batch: int) -> Iterator[Batch]:
        for first in range(0, len(self), batch):
            yield self.inputs[first : first + batch], self.targets[first : first + batch]


@datasets.register("tiny-points")
def tiny_points(files: Files, *, count: int = 64, poison: bool = False) -> Dataset:
    """Three clusters in four dimensions; with `poison` an infinite input in the training split."""
    draw = generator(7)
    centres = torch.randn(3, 4, generator=draw) * 2

    def split(size: int) -> Points:
        targets = torch.arange(size) % 3
        return Points(centres[targets] + torch.randn(size, 4, generator=draw), targets)

    splits = {"train": split(count), "valid": split(count), "test": split(count)}
    if poison:
        splits["train"].inputs[5] = float("inf")
    label = "Tiny points" if count == 64 else f"Tiny points, {count} of them"
    return Dataset("tiny-points", label, splits, DataShape(3, image=(4,)), f"tiny-{count}-{poison}", ("a", "b", "c"))
