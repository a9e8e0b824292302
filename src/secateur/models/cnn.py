"""Convolutional networks over words: Kim's CNN (2014), and the 1-D CNN of study A."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from secateur.data.dataset import PADDING, DataShape
from secateur.dropout import Dropout
from secateur.errors import InputError
from secateur.models.initialisers import initialised, start_from_vectors
from secateur.models.word_conv import WordConv
from secateur.registry import models


class KimCNN(nn.Module):
    """Token ids (batch, length) -> embedding -> convolutions -> ReLU -> maximum over time -> dropout -> logits (batch, outputs).

    Windows start at every token and read zeros past the end; a text's maximum includes the response to no words at
    all (the bias). So what the network says of a text does not depend on the padding that its batch gave it.
    """

    def __init__(self, vocabulary: int, embedding: int, filters: int, widths: tuple[int, ...], dropout: float, outputs: int) -> None:
        super().__init__()
        self.embedding = nn.Embedding(vocabulary, embedding, padding_idx=PADDING)
        self.convolutions = nn.ModuleList([WordConv(embedding, filters, width) for width in widths])
        self.dropout = Dropout(dropout)
        self.output = nn.Linear(filters * len(widths), outputs)
        self._widest = max(widths)

    def forward(self, tokens: Tensor) -> Tensor:
        padded = F.pad(tokens, (0, self._widest), value=PADDING)
        words = self.embedding(padded).transpose(1, 2)
        features = torch.relu(torch.cat([convolution(words).max(2).values for convolution in self.convolutions], 1))
        return self.output(self.dropout(features))  # type: ignore[no-any-return]


@models.register("kim-cnn")
def kim_cnn(
    shape: DataShape,
    generator: torch.Generator,
    *,
    embedding: int | None = None,
    filters: int = 100,
    widths: tuple[int, ...] = (3, 4, 5),
    dropout: float = 0.5,
    freeze_embedding: bool = False,
    init: str = "xavier-normal",
) -> KimCNN:
    """Kim's CNN (2014). `embedding` is the vectors' dimension where there are pretrained vectors, else 100 unless given."""
    vocabulary, dimension = word_table(shape, embedding)
    model = initialised(lambda: KimCNN(vocabulary, dimension, filters, widths, dropout, shape.outputs), init, generator)
    start_from_vectors(model.embedding, shape.vectors)
    model.embedding.weight.requires_grad_(not freeze_embedding)
    return model


def word_table(shape: DataShape, embedding: int | None, default: int = 100) -> tuple[int, int]:
    """(vocabulary, dimension) of the embedding of a network over token ids."""
    if shape.vocabulary is None:
        raise InputError("this network reads words; the data set has none")
    if shape.vectors is None:
        return shape.vocabulary, embedding or default
    dimension = int(shape.vectors.shape[1])
    if embedding not in (None, dimension):
        raise InputError(f"embedding = {embedding}, but the pretrained vectors have {dimension} dimensions: leave `embedding` out")
    return shape.vocabulary, dimension
