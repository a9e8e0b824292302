"""LeNet-300-100: the fully connected network of LeCun et al. (1998) on which lottery tickets were found (Frankle & Carbin 2019)."""

from __future__ import annotations

from itertools import pairwise
from math import prod

import torch
from torch import Tensor, nn

from secateur.errors import InputError
from secateur.models.initialisers import initialised
from secateur.registry import models
from secateur.shapes import DataShape


class LeNet(nn.Module):
    """Images (batch, *image) float32, flattened -> ReLU layers of the sizes in `hidden` -> logits (batch, outputs)."""

    def __init__(self, inputs: int, hidden: tuple[int, ...], outputs: int) -> None:
        super().__init__()
        sizes = (inputs, *hidden)
        self.hidden = nn.ModuleList([nn.Linear(a, b) for a, b in pairwise(sizes)])
        self.output = nn.Linear(sizes[-1], outputs)

    def forward(self, images: Tensor) -> Tensor:
        x = images.flatten(1)
        for layer in self.hidden:
            x = torch.relu_(layer(x))
        return self.output(x)  # type: ignore[no-any-return]


@models.register("lenet-300-100")
def lenet_300_100(
    shape: DataShape, generator: torch.Generator, *, hidden: tuple[int, ...] = (300, 100), init: str = "xavier-normal"
) -> LeNet:
    """LeNet-300-100: two fully connected ReLU layers over flattened images (Frankle & Carbin 2019: Glorot-normal)."""
    if shape.image is None:
        raise InputError("lenet-300-100 reads images; this data set has none")
    inputs = prod(shape.image)
    return initialised(lambda: LeNet(inputs, hidden, shape.outputs), init, generator)
