"""What networks and data agree on: the ids that mean something, what a batch is, and the facts a network must know of its data."""

from __future__ import annotations

from dataclasses import dataclass

from torch import Tensor

PADDING = 0
UNKNOWN = 1

Inputs = Tensor | tuple[Tensor, ...]
Batch = tuple[Inputs, Tensor]


@dataclass(frozen=True)
class DataShape:
    """What a network has to know of its data.

    `vocabulary` counts ids (0 pads, 1 stands for unknown words); `length` is the number of tokens where it is fixed;
    `vectors` (vocabulary, dimension) float32 are pretrained embeddings, rows 0 and 1 included.
    """

    outputs: int
    vocabulary: int | None = None
    length: int | None = None
    image: tuple[int, ...] | None = None
    source_vocabulary: int | None = None
    vectors: Tensor | None = None
