"""Recurrent text classifiers: SimpleRNN, GRU, LSTM v1 and v2 of study A, the bidirectional LSTM of study E.

Layers are single `nn.RNN`, `nn.GRU` or `nn.LSTM` modules in one direction each, so that our dropout sits between them, gates
stay visible to `linear_maps`, and torch's fused kernel runs: a packed sequence would take two to three times as long.
Texts are padded at their end. A `masked` network never reads the padding: what a forward layer makes of it lies behind
the last word and is not looked at, and a backward layer starts at the last word. Unmasked, the padding is read like words
(study A's networks do so, as Keras does without `mask_zero`).
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Literal

import torch
from torch import Tensor, nn

from secateur.dropout import Dropout
from secateur.models.embeddings import true_lengths, word_table
from secateur.models.initialisers import initialised, start_from_vectors
from secateur.registry import models
from secateur.shapes import PADDING, DataShape

Cell = Literal["rnn", "gru", "lstm"]
Direction = Literal["forward", "backward", "both"]
_CELLS: dict[str, Callable[..., nn.RNNBase]] = {"rnn": nn.RNN, "gru": nn.GRU, "lstm": nn.LSTM}


@dataclass(frozen=True)
class Layer:
    """One recurrent layer: its cell, its size (in each direction), and how it reads."""

    cell: Cell
    size: int
    direction: Direction = "forward"


class RecurrentLayer(nn.Module):
    """(batch, time, features), (batch,) lengths -> (outputs (batch, time, width), last state (batch, width)).

    Read backward, outputs come in the order in which they were read, last word first, as from Keras' `go_backwards`; read
    both ways, the two outputs for each word stand side by side.
    """

    def __init__(self, inputs: int, layer: Layer) -> None:
        super().__init__()
        cell = _CELLS[layer.cell]
        self.width = layer.size * (2 if layer.direction == "both" else 1)
        self.ahead = cell(inputs, layer.size, batch_first=True) if layer.direction != "backward" else None
        self.back = cell(inputs, layer.size, batch_first=True) if layer.direction != "forward" else None

    def forward(self, words: Tensor, lengths: Tensor) -> tuple[Tensor, Tensor]:
        if self.back is None:
            assert self.ahead is not None
            outputs = self.ahead(words)[0]
            return outputs, _last(outputs, lengths)
        reversal = _reversal(lengths, words.shape[1])
        read_back = self.back(_reordered(words, reversal))[0]
        if self.ahead is None:
            return read_back, _last(read_back, lengths)
        read_ahead = self.ahead(words)[0]
        last = torch.cat([_last(read_ahead, lengths), _last(read_back, lengths)], 1)
        return torch.cat([read_ahead, _reordered(read_back, reversal)], 2), last


class RecurrentClassifier(nn.Module):
    """Token ids (batch, length) -> embedding -> recurrent layers -> last state [-> dense, ReLU] -> logits (batch, outputs).

    Dropout acts on the words, between layers, and on what the dense or output layer reads.
    """

    def __init__(
        self, vocabulary: int, embedding: int, layers: Sequence[Layer], dense: int, dropout: float, masked: bool, outputs: int
    ) -> None:
        super().__init__()
        self.embedding = nn.Embedding(vocabulary, embedding, padding_idx=PADDING)
        self.layers = nn.ModuleList()
        width = embedding
        for layer in layers:
            self.layers.append(RecurrentLayer(width, layer))
            width = layer.size * (2 if layer.direction == "both" else 1)
        self.dropout = Dropout(dropout)
        self.dense = nn.Linear(width, dense) if dense else None
        self.output = nn.Linear(dense or width, outputs)
        self.masked = masked

    def forward(self, tokens: Tensor) -> Tensor:
        lengths = true_lengths(tokens) if self.masked else tokens.new_full((len(tokens),), tokens.shape[1])
        x = self.embedding(tokens)
        for layer in self.layers:
            x, last = layer(self.dropout(x), lengths)
        last = self.dropout(last)
        if self.dense is not None:
            last = torch.relu(self.dense(last))
        return self.output(last)  # type: ignore[no-any-return]


def _last(outputs: Tensor, lengths: Tensor) -> Tensor:
    """The output (batch, width) at each text's last word."""
    return outputs[torch.arange(len(outputs), device=outputs.device), lengths - 1]


def _reversal(lengths: Tensor, time: int) -> Tensor:
    """(batch * time): the word from which each step reads, so that the words come last first and the padding stays behind them."""
    places = torch.arange(time, device=lengths.device)
    behind = lengths.unsqueeze(1) - 1 - places
    texts = torch.arange(len(lengths), device=lengths.device).unsqueeze(1)
    return (texts * time + torch.where(behind >= 0, behind, places)).flatten()


def _reordered(words: Tensor, order: Tensor) -> Tensor:
    # Whole words are copied, which `gather` along an axis would do number by number.
    return words.flatten(0, 1).index_select(0, order).view_as(words)


def _built(
    shape: DataShape, generator: torch.Generator, embedding: int | None, default: int, layers: Sequence[Layer], dense: int, dropout: float,
    masked: bool, init: str, freeze_embedding: bool = False,
) -> RecurrentClassifier:  # fmt: skip
    vocabulary, dimension = word_table(shape, embedding, default)
    model = initialised(lambda: RecurrentClassifier(vocabulary, dimension, layers, dense, dropout, masked, shape.outputs), init, generator)
    start_from_vectors(model.embedding, shape.vectors)
    model.embedding.weight.requires_grad_(not freeze_embedding)
    return model


@models.register("simple-rnn")
def simple_rnn(
    shape: DataShape, generator: torch.Generator, *, embedding: int | None = None, hidden: int = 64, dense: int = 64,
    dropout: float = 0.0, masked: bool = False, init: str = "keras",
) -> RecurrentClassifier:  # fmt: skip
    """Study A's SimpleRNN: embedding 64, tanh units 64, dense 64."""
    return _built(shape, generator, embedding, 64, [Layer("rnn", hidden)], dense, dropout, masked, init)


@models.register("gru")
def gru(
    shape: DataShape, generator: torch.Generator, *, embedding: int | None = None, hidden: int = 64, dense: int = 64,
    dropout: float = 0.0, masked: bool = False, init: str = "keras",
) -> RecurrentClassifier:  # fmt: skip
    """Study A's GRU: embedding 64, GRU 64, dense 64."""
    return _built(shape, generator, embedding, 64, [Layer("gru", hidden)], dense, dropout, masked, init)


@models.register("lstm-v1")
def lstm_v1(
    shape: DataShape, generator: torch.Generator, *, embedding: int | None = None, hidden: tuple[int, int] = (256, 64), dense: int = 64,
    dropout: float = 0.0, masked: bool = False, init: str = "keras",
) -> RecurrentClassifier:  # fmt: skip
    """Study A's LSTM v1: embedding 64, LSTM 256 over the sequence, LSTM 64, dense 64."""
    layers = [Layer("lstm", size) for size in hidden]
    return _built(shape, generator, embedding, 64, layers, dense, dropout, masked, init)


@models.register("lstm-v2")
def lstm_v2(
    shape: DataShape, generator: torch.Generator, *, embedding: int | None = None, hidden: tuple[int, int, int] = (256, 256, 64),
    dense: int = 64, dropout: float = 0.0, masked: bool = False, init: str = "keras",
) -> RecurrentClassifier:  # fmt: skip
    """Study A's LSTM v2: v1 with an LSTM 256 that reads backward between its two."""
    first, second, third = hidden
    layers = [Layer("lstm", first), Layer("lstm", second, "backward"), Layer("lstm", third)]
    return _built(shape, generator, embedding, 64, layers, dense, dropout, masked, init)


@models.register("bi-lstm")
def bi_lstm(
    shape: DataShape, generator: torch.Generator, *, embedding: int | None = None, hidden: int = 256, layers: int = 2,
    dropout: float = 0.5, masked: bool = True, freeze_embedding: bool = False, init: str = "xavier-normal",
) -> RecurrentClassifier:  # fmt: skip
    """Study E's LSTM: two bidirectional layers of 256, dropout 0.5 on words, between layers and on the last states."""
    stack = [Layer("lstm", hidden, "both")] * layers
    return _built(shape, generator, embedding, 100, stack, 0, dropout, masked, init, freeze_embedding)
