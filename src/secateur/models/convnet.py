"""Conv-2, Conv-4 and Conv-6: the small convolutional networks for images of Frankle & Carbin (2019)."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from secateur.dropout import Dropout
from secateur.errors import InputError
from secateur.models.initialisers import initialised
from secateur.registry import models
from secateur.shapes import DataShape


class ConvNet(nn.Module):
    """Images (batch, channels, height, width) -> pairs of 3 x 3 convolutions and a 2 x 2 maximum -> dense layers -> logits.

    `filters` holds one number a pair of convolutions; every layer but the last has a ReLU, and dropout acts before each dense layer.
    """

    def __init__(
        self, image: tuple[int, int, int], filters: tuple[int, ...], hidden: tuple[int, ...], dropout: float, outputs: int
    ) -> None:
        super().__init__()
        channels, height, width = image
        self.convolutions = nn.ModuleList()
        for count in filters:
            self.convolutions += [nn.Conv2d(channels, count, 3, padding=1), nn.Conv2d(count, count, 3, padding=1)]
            channels, height, width = count, height // 2, width // 2
        self.hidden = nn.ModuleList()
        features = channels * height * width
        for size in hidden:
            self.hidden.append(nn.Linear(features, size))
            features = size
        self.dropout = Dropout(dropout)
        self.output = nn.Linear(features, outputs)

    def forward(self, images: Tensor) -> Tensor:
        x = images
        for depth, convolution in enumerate(self.convolutions):
            x = torch.relu_(convolution(x))
            if depth % 2:
                x = F.max_pool2d(x, 2)
        x = x.flatten(1)
        for layer in self.hidden:
            x = torch.relu_(layer(self.dropout(x)))
        return self.output(self.dropout(x))  # type: ignore[no-any-return]


def _built(
    shape: DataShape, generator: torch.Generator, filters: tuple[int, ...], hidden: tuple[int, ...], dropout: float, init: str
) -> ConvNet:
    if shape.image is None or len(shape.image) != 3:
        raise InputError("this network reads images of (channels, height, width); the data set has none")
    channels, height, width = shape.image
    if min(height, width) < 2 ** len(filters):
        raise InputError(f"images of {height} x {width} are too small to be halved {len(filters)} times")
    return initialised(lambda: ConvNet((channels, height, width), filters, hidden, dropout, shape.outputs), init, generator)


@models.register("conv-2")
def conv_2(
    shape: DataShape, generator: torch.Generator, *, filters: tuple[int, ...] = (64,), hidden: tuple[int, ...] = (256, 256),
    dropout: float = 0.0, init: str = "xavier-normal",
) -> ConvNet:  # fmt: skip
    """Conv-2 of Frankle & Carbin (2019): two convolutions of 64 filters, dense 256, 256; 4.3 million weights on CIFAR-10."""
    return _built(shape, generator, filters, hidden, dropout, init)


@models.register("conv-4")
def conv_4(
    shape: DataShape, generator: torch.Generator, *, filters: tuple[int, ...] = (64, 128), hidden: tuple[int, ...] = (256, 256),
    dropout: float = 0.0, init: str = "xavier-normal",
) -> ConvNet:  # fmt: skip
    """Conv-4 of Frankle & Carbin (2019): pairs of 64 and 128 filters, dense 256, 256; 2.4 million weights on CIFAR-10."""
    return _built(shape, generator, filters, hidden, dropout, init)


@models.register("conv-6")
def conv_6(
    shape: DataShape, generator: torch.Generator, *, filters: tuple[int, ...] = (64, 128, 256), hidden: tuple[int, ...] = (256, 256),
    dropout: float = 0.0, init: str = "xavier-normal",
) -> ConvNet:  # fmt: skip
    """Conv-6 of Frankle & Carbin (2019): pairs of 64, 128 and 256 filters, dense 256, 256.

    On CIFAR-10 these layers have 2.3 million weights; the paper's table says 1.7 million, with the same 1.1 million in convolutions.
    """
    return _built(shape, generator, filters, hidden, dropout, init)
