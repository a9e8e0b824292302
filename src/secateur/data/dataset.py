"""What a data set is to the rest of the house: splits that give batches, and the facts a network must know."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any, Protocol

from secateur.shapes import PADDING, UNKNOWN, Batch, DataShape, Inputs

__all__ = ["PADDING", "UNKNOWN", "Batch", "DataShape", "Dataset", "Inputs", "Note", "Split"]


class Split(Protocol):
    """Examples that can be walked through in batches. Batches are slices of arrays in memory."""

    def __len__(self) -> int:
        """Number of examples."""
        ...

    def steps(self, batch: int) -> int:
        """Number of batches of an epoch: the same for every epoch."""
        ...

    def epoch(self, batch: int, seed: int, epoch: int, start: int = 0) -> Iterator[Batch]:
        """The batches of one epoch in an order that (`seed`, `epoch`) alone decides, from batch number `start` on."""
        ...

    def in_order(self, batch: int) -> Iterator[Batch]:
        """Every example once, in the split's own order; for evaluation."""
        ...


@dataclass(frozen=True)
class Note:
    """Something a loader did by rule or found, with its count: for the report."""

    what: str
    count: int


@dataclass(frozen=True)
class Dataset:
    """A data set, parsed and split. `digest` covers the raw files, the settings and the parser's version."""

    name: str
    label: str
    splits: Mapping[str, Split]
    shape: DataShape
    digest: str
    outputs: tuple[str, ...] = ()
    words: tuple[str, ...] = ()
    notes: tuple[Note, ...] = ()
    source: Mapping[str, Any] = field(default_factory=dict)
