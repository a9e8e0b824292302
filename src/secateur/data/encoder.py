"""New texts to the ids of a data set's vocabulary: what prediction needs of the data that a model was trained on."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor

from secateur.data.corpus import Corpus
from secateur.data.dataset import UNKNOWN, Dataset
from secateur.data.splits import NARROWEST, Ragged
from secateur.data.tokens import Tokens, corpus_ids
from secateur.errors import InputError


@dataclass(frozen=True)
class Encoder:
    """Text to ids as at training. `words` are those of the data set, from id 0 (padding) on; `width` fixes the number of tokens."""

    words: tuple[str, ...]
    tokens: Tokens
    lower: bool
    max_tokens: int | None
    width: int | None = None

    @classmethod
    def of(cls, dataset: Dataset) -> Encoder:
        """The encoder of a labelled-text data set; `InputError` for any other."""
        if not dataset.words or "max_tokens" not in dataset.source:
            raise InputError(f"{dataset.name}: no data set of labelled texts, so that text cannot be encoded for it")
        source = dataset.source
        return cls(dataset.words, source["tokens"], source["lower"], source["max_tokens"], dataset.shape.length)

    def ids(self, texts: Sequence[str]) -> Tensor:
        """(texts, longest) int64: the ids of each text, cut to `max_tokens` and padded with 0."""
        if not len(texts):
            return torch.zeros((0, self.width or NARROWEST), dtype=torch.int64)
        found, offsets, words = corpus_ids(texts, self.tokens, self.lower)
        place = {word: number for number, word in enumerate(self.words) if number > UNKNOWN}
        known = np.fromiter((place.get(word, UNKNOWN) for word in words), np.int32, len(words))
        corpus = Corpus(found, offsets, words, np.zeros(len(texts), np.uint64))
        ids, offsets = corpus.rows(np.ones(len(texts), bool), known, self.max_tokens)
        return Ragged(ids, offsets, NARROWEST, self.width).padded(torch.arange(len(texts)))

    def to_json(self) -> dict[str, Any]:
        """A value of plain JSON that `from_json` reads."""
        return {**asdict(self), "words": list(self.words)}

    @classmethod
    def from_json(cls, value: Mapping[str, Any]) -> Encoder:
        """The encoder that `to_json` wrote."""
        return cls(**{**value, "words": tuple(value["words"])})
