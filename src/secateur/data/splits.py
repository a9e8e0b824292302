"""Splits that give batches: slices of arrays in memory, in an order that (seed, epoch) alone decides."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from math import prod

import numpy as np
import torch
from torch import Tensor

from secateur import _kernels
from secateur.data.dataset import Batch
from secateur.data.parsed import Array
from secateur.seeds import generator

GATHERED_AT_ONCE = 1 << 17
"""About so many values of an array are gathered at a time, to stay in the cache; batches are slices of what was gathered."""

POOL = 50
"""Examples of about the same length are batched together within pools of so many batches."""

NARROWEST = 8
"""Batches of texts are padded to at least so many tokens, so that filters of common widths fit."""


def shuffled(count: int, seed: int, epoch: int) -> Tensor:
    """(count,) int64: the order of the examples in one epoch."""
    return torch.randperm(count, generator=generator(seed, "order", epoch))


@dataclass(frozen=True, eq=False)
class ArraySplit:
    """Examples of equal size: `inputs` (n, …) and `targets` (n, …).

    With `scaling` = (factor, shift), each (channels,) float32, `inputs` are bytes (n, channels, …), a quarter of the memory, and
    batches hold inputs * factor + shift in float32.
    """

    inputs: Tensor
    targets: Tensor
    scaling: tuple[Tensor, Tensor] | None = None

    def __len__(self) -> int:
        return len(self.targets)

    def steps(self, batch: int) -> int:
        """Number of batches of an epoch; the last one may be smaller."""
        return -(-len(self) // batch)

    def epoch(self, batch: int, seed: int, epoch: int, start: int = 0) -> Iterator[Batch]:
        """Shuffled batches from number `start` on."""
        order = shuffled(len(self), seed, epoch)
        choose = self._chooser()
        block = batch * max(1, GATHERED_AT_ONCE // max(1, batch * self.inputs[0].numel()))
        for first in range(start * batch, len(order), block):
            rows = order[first : first + block]
            inputs, targets = choose(rows), self.targets.index_select(0, rows)
            if block == batch:
                yield inputs, targets
            else:
                yield from zip(torch.split(inputs, batch), torch.split(targets, batch), strict=True)

    def in_order(self, batch: int) -> Iterator[Batch]:
        """Every example once, in the split's own order."""
        choose = self._chooser()
        for rows in torch.split(torch.arange(len(self)), batch):
            yield choose(rows), self.targets[rows[0] : rows[-1] + 1]

    def _chooser(self) -> Callable[[Tensor], Tensor]:
        """A function from rows to their inputs; whatever is the same for all batches is done once."""
        if self.scaling is None:
            return lambda rows: self.inputs.index_select(0, rows)
        channels, *sides = self.inputs.shape[1:]
        factor, shift = (numbers.numpy() for numbers in self.scaling)
        table = self.inputs.view(len(self), channels, prod(sides)).numpy()

        def scaled(rows: Tensor) -> Tensor:
            chosen = torch.empty(len(rows), channels, *sides)
            out = chosen.view(len(rows), channels, prod(sides)).numpy()
            _kernels.scaled_rows(table, rows.numpy(), factor, shift, out, torch.get_num_threads())
            return chosen

        return scaled


@dataclass(frozen=True, eq=False)
class TextSplit:
    """Texts of unequal length as ids, padded with 0 batch by batch, or all to `width`.

    `tokens` (all tokens,) int32 and `offsets` (n + 1,) int64: text i is tokens[offsets[i] : offsets[i + 1]].
    """

    tokens: Array
    offsets: Array
    targets: Tensor
    width: int | None = None
    _ragged: Ragged = field(init=False, repr=False)

    def __post_init__(self) -> None:
        object.__setattr__(self, "_ragged", Ragged(self.tokens, self.offsets, NARROWEST, self.width))

    def __len__(self) -> int:
        return len(self.targets)

    @property
    def lengths(self) -> Array:
        """(n,) int64: the number of tokens of each text."""
        return self._ragged.lengths

    def steps(self, batch: int) -> int:
        """Number of batches of an epoch; one of them may be smaller."""
        return -(-len(self) // batch)

    def epoch(self, batch: int, seed: int, epoch: int, start: int = 0) -> Iterator[Batch]:
        """Shuffled batches of texts of about the same length, from number `start` on."""
        for rows in bucketed(self.lengths, batch, seed, epoch, sort=self.width is None)[start:]:
            yield self._ragged.padded(rows), self.targets.index_select(0, rows)

    def in_order(self, batch: int) -> Iterator[Batch]:
        """Every text once, in the split's own order."""
        for rows in torch.split(torch.arange(len(self)), batch):
            yield self._ragged.padded(rows), self.targets[rows[0] : rows[-1] + 1]


class Ragged:
    """Token ids of unequal length, padded on demand."""

    def __init__(self, tokens: Array, offsets: Array, narrowest: int = 1, width: int | None = None) -> None:
        self.lengths: Array = np.diff(offsets)
        self._tokens = torch.from_numpy(np.append(tokens, np.int32(0)).astype(np.int32, copy=False))
        self._starts = torch.from_numpy(np.ascontiguousarray(offsets[:-1]))
        self._lengths = torch.from_numpy(self.lengths)
        self._narrowest = narrowest
        self._width = width
        longest = max(int(self.lengths.max()) if len(self.lengths) else 0, narrowest, width or 0)
        self._columns = torch.arange(longest)

    def padded(self, rows: Tensor) -> Tensor:
        """(rows, widest of them) int64: their ids, padded at the end with 0."""
        lengths = self._lengths.index_select(0, rows)
        width = self._width or max(int(lengths.max()), self._narrowest)
        columns = self._columns[:width]
        places = self._starts.index_select(0, rows).unsqueeze(1) + columns
        places.masked_fill_(columns >= lengths.unsqueeze(1), len(self._tokens) - 1)
        return self._tokens[places].long()


def bucketed(lengths: Array, batch: int, seed: int, epoch: int, sort: bool = True) -> tuple[Tensor, ...]:
    """The rows of each batch of one epoch: shuffled, then sorted by length within pools of `POOL` batches, and the batches shuffled.

    Every row comes once. Of all batches one may be smaller than `batch`.
    """
    order = shuffled(len(lengths), seed, epoch)
    if not sort:
        return torch.split(order, batch) if len(order) else ()
    shuffled_rows = order.numpy()
    pools = np.arange(len(shuffled_rows)) // (batch * POOL)
    rows = torch.from_numpy(shuffled_rows[np.lexsort((lengths[shuffled_rows], pools))])
    batches = torch.split(rows, batch) if len(rows) else ()
    places = torch.randperm(len(batches), generator=generator(seed, "batches", epoch)).tolist()
    return tuple(batches[place] for place in places)
