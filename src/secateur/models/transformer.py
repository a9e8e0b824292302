"""The encoder-decoder Transformer of study C (Vaswani et al. 2017): 3 + 3 layers, width 512, 8 heads, normalised after each block.

Projections of attention are layers of their own (`q_proj`, `k_proj`, `v_proj`, `out_proj`) of kind `attention`, so that they
can be selected, pruned and made sparse one by one, and the probabilities can have our dropout.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import lru_cache
from typing import cast

import torch
from torch import Tensor, nn

from secateur.dropout import Dropout
from secateur.errors import InputError
from secateur.linear_maps import LinearMap, describe
from secateur.models.initialisers import initialised
from secateur.registry import models
from secateur.shapes import PADDING, DataShape


class Projection(nn.Linear):
    """A linear layer of an attention: of kind `attention`, with the number of heads that share its outputs (`out_proj`: its inputs)."""

    def __init__(self, inputs: int, outputs: int, heads: int) -> None:
        super().__init__(inputs, outputs)
        self.heads = heads


@describe(Projection)
def _projection(module: Projection) -> list[LinearMap]:
    return [
        LinearMap(
            "weight", "", "attention", tuple(module.weight.shape), heads=module.heads, bias="bias", sparse="SparseLinear",
            uses=lambda inputs, output: output.numel() // module.out_features,
        )
    ]  # fmt: skip


class Attention(nn.Module):
    """Multi-head attention: queries (batch, m, width) over keys (batch, n, width) -> (batch, m, width)."""

    def __init__(self, width: int, heads: int, dropout: float) -> None:
        super().__init__()
        if width % heads:
            raise InputError(f"width = {width} is no multiple of heads = {heads}")
        self.heads = heads
        self.q_proj = Projection(width, width, heads)
        self.k_proj = Projection(width, width, heads)
        self.v_proj = Projection(width, width, heads)
        self.out_proj = Projection(width, width, heads)
        self.dropout = Dropout(dropout)

    def keys_and_values(self, x: Tensor) -> tuple[Tensor, Tensor]:
        """(batch, n, width) -> two of (batch, heads, n, width of a head)."""
        return self._split(self.k_proj(x)), self._split(self.v_proj(x))

    def forward(self, x: Tensor, keys: Tensor, values: Tensor, hidden: Tensor | None = None) -> Tensor:
        """`hidden`, a bool that broadcasts against (batch, heads, m, n), is true where a query must not look."""
        queries = self._split(self.q_proj(x))
        scores = queries @ keys.transpose(2, 3) / math.sqrt(queries.shape[3])
        if hidden is not None:
            scores = scores.masked_fill(hidden, -math.inf)
        mixed = self.dropout(scores.softmax(3)) @ values
        return self.out_proj(mixed.transpose(1, 2).flatten(2))  # type: ignore[no-any-return]

    def _split(self, x: Tensor) -> Tensor:
        batch, length, width = x.shape
        return x.view(batch, length, self.heads, width // self.heads).transpose(1, 2)


def feed_forward(width: int, inner: int, dropout: float) -> nn.Sequential:
    """width -> inner, ReLU, dropout -> width."""
    return nn.Sequential(nn.Linear(width, inner), nn.ReLU(), Dropout(dropout), nn.Linear(inner, width))


class EncoderLayer(nn.Module):
    """Self-attention and feed-forward, each with dropout, residual and normalisation."""

    def __init__(self, width: int, inner: int, heads: int, dropout: float) -> None:
        super().__init__()
        self.attention = Attention(width, heads, dropout)
        self.feed_forward = feed_forward(width, inner, dropout)
        self.norms = nn.ModuleList([nn.LayerNorm(width) for _ in range(2)])
        self.dropout = Dropout(dropout)

    def forward(self, x: Tensor, hidden: Tensor) -> Tensor:
        x = self.norms[0](x + self.dropout(self.attention(x, *self.attention.keys_and_values(x), hidden)))
        return self.norms[1](x + self.dropout(self.feed_forward(x)))  # type: ignore[no-any-return]


KeysAndValues = tuple[Tensor, Tensor]


class DecoderLayer(nn.Module):
    """Self-attention, attention over the source, feed-forward, each with dropout, residual and normalisation."""

    def __init__(self, width: int, inner: int, heads: int, dropout: float) -> None:
        super().__init__()
        self.attention = Attention(width, heads, dropout)
        self.over_source = Attention(width, heads, dropout)
        self.feed_forward = feed_forward(width, inner, dropout)
        self.norms = nn.ModuleList([nn.LayerNorm(width) for _ in range(3)])
        self.dropout = Dropout(dropout)

    def forward(self, x: Tensor, before: KeysAndValues, hidden: Tensor | None, source: KeysAndValues, source_hidden: Tensor) -> Tensor:
        x = self.norms[0](x + self.dropout(self.attention(x, *before, hidden)))
        x = self.norms[1](x + self.dropout(self.over_source(x, *source, source_hidden)))
        return self.norms[2](x + self.dropout(self.feed_forward(x)))  # type: ignore[no-any-return]


@dataclass(frozen=True)
class Decoding:
    """Where the decoding of some sentences stands: keys and values of the source and of the words so far, layer by layer."""

    source: tuple[KeysAndValues, ...]
    source_hidden: Tensor
    before: tuple[KeysAndValues, ...]
    length: int = 0

    def rows(self, chosen: Tensor) -> Decoding:
        """The same for the rows `chosen` (m,) int64, in their order; rows may repeat."""
        return Decoding(_rows(self.source, chosen), self.source_hidden[chosen], _rows(self.before, chosen), self.length)

    def reordered(self, chosen: Tensor) -> Decoding:
        """The same with the words so far of the rows `chosen` (batch,) int64, where each has its row's own source."""
        return replace(self, before=_rows(self.before, chosen))


class Transformer(nn.Module):
    """Source ids (batch, m) and target ids (batch, n), padded with 0 -> logits for each next target word (batch, n, outputs)."""

    def __init__(
        self, source_vocabulary: int, vocabulary: int, layers: tuple[int, int], width: int, inner: int, heads: int, dropout: float
    ) -> None:
        super().__init__()
        self.source_embedding = nn.Embedding(source_vocabulary, width, padding_idx=PADDING)
        self.embedding = nn.Embedding(vocabulary, width, padding_idx=PADDING)
        self.dropout = Dropout(dropout)
        self.encoder = nn.ModuleList([EncoderLayer(width, inner, heads, dropout) for _ in range(layers[0])])
        self.decoder = nn.ModuleList([DecoderLayer(width, inner, heads, dropout) for _ in range(layers[1])])
        self.encoder_norm = nn.LayerNorm(width)
        self.decoder_norm = nn.LayerNorm(width)
        self.output = nn.Linear(width, vocabulary)
        self._width = width

    def forward(self, source: Tensor, target: Tensor) -> Tensor:
        memory, source_hidden = self._encoded(source)
        x = self._placed(self.embedding(target), 0)
        # The words after a query are hidden; padding stands after them all, so that no word looks at it.
        later = torch.ones(x.shape[1], x.shape[1], dtype=torch.bool, device=x.device).triu(1)
        for layer in self._decoder_layers():
            x = layer(x, layer.attention.keys_and_values(x), later, layer.over_source.keys_and_values(memory), source_hidden)
        return self.output(self.decoder_norm(x))  # type: ignore[no-any-return]

    def begin(self, source: Tensor) -> Decoding:
        """The sentences (batch, m) encoded, and no target word yet."""
        memory, source_hidden = self._encoded(source)
        return Decoding(tuple(layer.over_source.keys_and_values(memory) for layer in self._decoder_layers()), source_hidden, ())

    def advance(self, words: Tensor, decoding: Decoding) -> tuple[Tensor, Decoding]:
        """One more target word (batch,) for each row -> (logits for the word after it (batch, outputs), the new state)."""
        x = self._placed(self.embedding(words.unsqueeze(1)), decoding.length)
        before = []
        for depth, layer in enumerate(self._decoder_layers()):
            keys, values = layer.attention.keys_and_values(x)
            if decoding.length:
                keys = torch.cat([decoding.before[depth][0], keys], 2)
                values = torch.cat([decoding.before[depth][1], values], 2)
            before.append((keys, values))
            x = layer(x, (keys, values), None, decoding.source[depth], decoding.source_hidden)
        logits = self.output(self.decoder_norm(x))[:, 0]
        return logits, replace(decoding, before=tuple(before), length=decoding.length + 1)

    def _decoder_layers(self) -> list[DecoderLayer]:
        return cast("list[DecoderLayer]", list(self.decoder))

    def _encoded(self, source: Tensor) -> tuple[Tensor, Tensor]:
        hidden = (source == PADDING)[:, None, None]
        hidden[..., 0] = False  # an empty sentence looks at its padding: a softmax over nothing is no number
        x = self._placed(self.source_embedding(source), 0)
        for layer in self.encoder:
            x = layer(x, hidden)
        return self.encoder_norm(x), hidden

    def _placed(self, words: Tensor, first: int) -> Tensor:
        """Word vectors times sqrt(width), plus the sinusoids of the places from `first` on."""
        places = sinusoids(first + words.shape[1], self._width)[first:].to(words.device, words.dtype)
        return self.dropout(words * math.sqrt(self._width) + places)  # type: ignore[no-any-return]


@lru_cache(maxsize=256)
def sinusoids(length: int, width: int) -> Tensor:
    """(length, width) float32: sin(place / 10000^(2i / width)) in even columns 2i, the cosines in odd ones."""
    rates = torch.exp(torch.arange(0, width, 2) * (-math.log(10_000) / width))
    angles = torch.arange(length).unsqueeze(1) * rates
    table = torch.empty(length, width)
    table[:, 0::2] = angles.sin()
    table[:, 1::2] = angles.cos()[:, : width // 2]
    return table


def _rows(pairs: Sequence[KeysAndValues], chosen: Tensor) -> tuple[KeysAndValues, ...]:
    return tuple((keys[chosen], values[chosen]) for keys, values in pairs)


@models.register("transformer")
def transformer(
    shape: DataShape, generator: torch.Generator, *, layers: tuple[int, int] = (3, 3), width: int = 512, inner: int = 512, heads: int = 8,
    dropout: float = 0.1, init: str = "xavier-uniform",
) -> Transformer:  # fmt: skip
    """Study C's translator: `layers` of encoder and decoder, `width` 512, feed-forward `inner` 512, 8 heads, sinusoidal places."""
    if shape.vocabulary is None or shape.source_vocabulary is None:
        raise InputError("the transformer translates: it needs a data set with a source and a target vocabulary")
    source, target = shape.source_vocabulary, shape.vocabulary
    return initialised(lambda: Transformer(source, target, layers, width, inner, heads, dropout), init, generator)
