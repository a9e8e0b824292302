"""LSTM language models: Zaremba et al. (2014) small, medium and large, and the 2 x 2,500 of study D."""

from __future__ import annotations

from typing import TypeAlias

import torch
from torch import Tensor, nn

from secateur.dropout import Dropout
from secateur.errors import InputError
from secateur.models.embeddings import word_table
from secateur.models.initialisers import initialised, start_from_vectors
from secateur.registry import models
from secateur.shapes import PADDING, DataShape

State: TypeAlias = tuple[Tensor, ...]
"""The hidden and the cell state of the first layer, of the second …: each (1, batch, hidden)."""

_NEVER = -1e4
"""A logit whose probability is exactly zero in float32 and float64, and which stays finite."""


class LanguageModel(nn.Module):
    """Token ids (batch, time) -> logits for each next token (batch, time, vocabulary).

    Embedding -> LSTM layers -> output layer, with dropout before, between and after the layers and none on the recurrent
    connections. `tied`: the output layer's weight is the embedding (Press & Wolf 2017; Inan et al. 2017); padding, whose
    vector is zero for ever, is then never predicted.
    """

    def __init__(self, vocabulary: int, embedding: int, hidden: int, layers: int, dropout: float, locked: bool, outputs: int) -> None:
        super().__init__()
        self.embedding = nn.Embedding(vocabulary, embedding, padding_idx=PADDING)
        self.dropout = Dropout(dropout, locked=1 if locked else None)
        self.layers = nn.ModuleList([nn.LSTM(hidden if depth else embedding, hidden, batch_first=True) for depth in range(layers)])
        self.output = nn.Linear(hidden, outputs)
        self.tied = False

    def tie(self) -> None:
        """Make the embedding's weight the output layer's; both need one shape."""
        self.output.weight = self.embedding.weight
        self.tied = True

    def forward(self, tokens: Tensor) -> Tensor:
        return self.carry(tokens, None)[0]

    def carry(self, tokens: Tensor, state: State | None) -> tuple[Tensor, State]:
        """(logits, the state after the last token), starting from `state`, or from zeros where it is None."""
        x = self.embedding(tokens)
        after: list[Tensor] = []
        for depth, layer in enumerate(self.layers):
            x, last = layer(self.dropout(x), None if state is None else (state[2 * depth], state[2 * depth + 1]))
            after += last
        logits = self.output(self.dropout(x))
        if self.tied:
            logits[..., PADDING] = _NEVER
        return logits, tuple(after)


def _built(
    shape: DataShape, generator: torch.Generator, embedding: int, hidden: int, layers: int, dropout: float, locked: bool, tied: bool,
    init: str, init_scale: float,
) -> LanguageModel:  # fmt: skip
    vocabulary, dimension = word_table(shape, embedding)
    if tied and (dimension != hidden or vocabulary != shape.outputs):
        raise InputError(f"a tied output layer needs embedding = hidden; they are {dimension} and {hidden}")
    scale = {"scale": init_scale} if init == "uniform" else {}
    model = initialised(
        lambda: LanguageModel(vocabulary, dimension, hidden, layers, dropout, locked, shape.outputs), init, generator, **scale
    )
    start_from_vectors(model.embedding, shape.vectors)
    if tied:
        model.tie()
    return model


@models.register("lstm-lm-small")
def small(
    shape: DataShape, generator: torch.Generator, *, embedding: int = 200, hidden: int = 200, layers: int = 2, dropout: float = 0.0,
    locked_dropout: bool = False, tied: bool = False, init: str = "uniform", init_scale: float = 0.1,
) -> LanguageModel:  # fmt: skip
    """Zaremba et al.'s small LSTM language model: 2 x 200, no dropout, uniform in ±0.1."""
    return _built(shape, generator, embedding, hidden, layers, dropout, locked_dropout, tied, init, init_scale)


@models.register("lstm-lm-medium")
def medium(
    shape: DataShape, generator: torch.Generator, *, embedding: int = 650, hidden: int = 650, layers: int = 2, dropout: float = 0.5,
    locked_dropout: bool = False, tied: bool = False, init: str = "uniform", init_scale: float = 0.05,
) -> LanguageModel:  # fmt: skip
    """Zaremba et al.'s medium LSTM language model: 2 x 650, dropout 0.5, uniform in ±0.05."""
    return _built(shape, generator, embedding, hidden, layers, dropout, locked_dropout, tied, init, init_scale)


@models.register("lstm-lm-large")
def large(
    shape: DataShape, generator: torch.Generator, *, embedding: int = 1500, hidden: int = 1500, layers: int = 2, dropout: float = 0.65,
    locked_dropout: bool = False, tied: bool = False, init: str = "uniform", init_scale: float = 0.04,
) -> LanguageModel:  # fmt: skip
    """Zaremba et al.'s large LSTM language model: 2 x 1,500, dropout 0.65, uniform in ±0.04."""
    return _built(shape, generator, embedding, hidden, layers, dropout, locked_dropout, tied, init, init_scale)


@models.register("lstm-lm-wide")
def wide(
    shape: DataShape, generator: torch.Generator, *, embedding: int = 600, hidden: int = 2500, layers: int = 2, dropout: float = 0.0,
    locked_dropout: bool = False, tied: bool = False, init: str = "uniform", init_scale: float = 0.04,
) -> LanguageModel:  # fmt: skip
    """Study D's LSTM language model: embedding 600, 2 x 2,500 (81 million weights in the LSTM), no dropout, uniform in ±0.04."""
    return _built(shape, generator, embedding, hidden, layers, dropout, locked_dropout, tied, init, init_scale)
