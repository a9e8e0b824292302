"""The fully connected text network of study A: every word at its place."""

from __future__ import annotations

from itertools import pairwise

import torch
from torch import Tensor, nn

from secateur.dropout import Dropout
from secateur.models.embeddings import fixed_length, text_length, word_table
from secateur.models.initialisers import initialised, start_from_vectors
from secateur.registry import models
from secateur.shapes import PADDING, DataShape


class TextMLP(nn.Module):
    """Token ids (batch, length) -> embedding -> flattened -> dense layers -> logits (batch, outputs).

    As in the authors' code, the first dense layer has a ReLU and those after it are linear.
    """

    def __init__(self, vocabulary: int, embedding: int, length: int, hidden: tuple[int, ...], dropout: float, outputs: int) -> None:
        super().__init__()
        sizes = (length * embedding, *hidden)
        self.embedding = nn.Embedding(vocabulary, embedding, padding_idx=PADDING)
        self.dropout = Dropout(dropout)
        self.hidden = nn.ModuleList([nn.Linear(a, b) for a, b in pairwise(sizes)])
        self.output = nn.Linear(sizes[-1], outputs)
        self._length = length

    def forward(self, tokens: Tensor) -> Tensor:
        x = self.embedding(fixed_length(tokens, self._length)).flatten(1)
        for depth, layer in enumerate(self.hidden):
            x = layer(self.dropout(x))
            x = torch.relu(x) if depth == 0 else x
        return self.output(self.dropout(x))  # type: ignore[no-any-return]


@models.register("text-mlp")
def text_mlp(
    shape: DataShape,
    generator: torch.Generator,
    *,
    embedding: int | None = None,
    hidden: tuple[int, ...] = (320, 64),
    dropout: float = 0.0,
    init: str = "keras",
) -> TextMLP:
    """Study A's fully connected network: embedding 8, flatten, dense 320 (ReLU), dense 64. `dropout` acts before each dense layer."""
    vocabulary, dimension = word_table(shape, embedding, default=8)
    length = text_length(shape)
    model = initialised(lambda: TextMLP(vocabulary, dimension, length, hidden, dropout, shape.outputs), init, generator)
    start_from_vectors(model.embedding, shape.vectors)
    return model
