"""Convolutional networks over words: Kim's CNN (2014), and the 1-D CNN of study A."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from secateur.dropout import Dropout
from secateur.errors import InputError
from secateur.models.embeddings import fixed_length, text_length, word_table
from secateur.models.initialisers import initialised, start_from_vectors
from secateur.models.word_conv import WordConv
from secateur.registry import models
from secateur.shapes import PADDING, DataShape


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
        maxima = [convolution.maximum_over_time(words) for convolution in self.convolutions]  # type: ignore[operator]
        features = torch.relu(torch.cat(maxima, 1))
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


class TextCNN(nn.Module):
    """Study A's CNN: token ids (batch, length) -> embedding -> one convolution, ReLU, dropout -> dense, ReLU -> logits (batch, outputs).

    There is no pooling: the filters' responses at every position are flattened. In the study a filter is as wide as the
    text, so that there is one position.
    """

    def __init__(
        self, vocabulary: int, embedding: int, length: int, filters: int, width: int, dense: int, dropout: float, outputs: int
    ) -> None:
        super().__init__()
        self.embedding = nn.Embedding(vocabulary, embedding, padding_idx=PADDING)
        self.convolution = WordConv(embedding, filters, width)
        self.dropout = Dropout(dropout)
        self.dense = nn.Linear(filters * (length - width + 1), dense)
        self.output = nn.Linear(dense, outputs)
        self._length = length

    def forward(self, tokens: Tensor) -> Tensor:
        words = self.embedding(fixed_length(tokens, self._length)).transpose(1, 2)
        responses = self.dropout(torch.relu(self.convolution(words)))
        return self.output(torch.relu(self.dense(responses.flatten(1))))  # type: ignore[no-any-return]


@models.register("text-cnn")
def text_cnn(
    shape: DataShape,
    generator: torch.Generator,
    *,
    embedding: int | None = None,
    filters: int = 5,
    width: int | None = None,
    dense: int = 10,
    dropout: float = 0.1,
    init: str = "keras",
) -> TextCNN:
    """Study A's 1-D CNN: embedding 64, 5 filters as wide as the text (`width`), dropout 0.1, dense 10."""
    vocabulary, dimension = word_table(shape, embedding, default=64)
    length = text_length(shape)
    width = length if width is None else width
    if not 1 <= width <= length:
        raise InputError(f"width = {width}: a filter is 1 to {length} words wide here")
    model = initialised(lambda: TextCNN(vocabulary, dimension, length, filters, width, dense, dropout, shape.outputs), init, generator)
    start_from_vectors(model.embedding, shape.vectors)
    return model
