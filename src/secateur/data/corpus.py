"""A corpus: every text of a data set as ids of all its words, before any vocabulary is chosen; and choosing one."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from secateur.data.dataset import UNKNOWN
from secateur.data.parsed import Array, Parsed
from secateur.data.partition import text_hashes
from secateur.data.tokens import Tokens, corpus_ids

SPECIALS = 2
"""Ids below the words: 0 pads, 1 stands for unknown words."""


@dataclass(frozen=True)
class Corpus:
    """Texts as ids of `words` (alphabetical): text i is ids[offsets[i] : offsets[i + 1]]. `hashes` (texts,) tell texts apart."""

    ids: Array
    offsets: Array
    words: Sequence[str]
    hashes: Array

    def __len__(self) -> int:
        return len(self.offsets) - 1

    @property
    def lengths(self) -> Array:
        """(texts,) int64."""
        lengths: Array = np.diff(self.offsets)
        return lengths

    def counts(self, rows: Array) -> Array:
        """(words,) int64: how often each word stands in the texts where `rows` (texts,) is True."""
        return np.bincount(self.ids[np.repeat(rows, self.lengths)], minlength=len(self.words))

    def rows(self, rows: Array, new_ids: Array, max_tokens: int | None) -> tuple[Array, Array]:
        """(tokens int32, offsets int64) of the texts where `rows` is True: `new_ids` of their first `max_tokens` words."""
        chosen = np.flatnonzero(rows)
        starts, lengths = self.offsets[chosen], self.lengths[chosen]
        if max_tokens is not None:
            lengths = np.minimum(lengths, max_tokens)
        offsets = np.zeros(len(chosen) + 1, np.int64)
        np.cumsum(lengths, out=offsets[1:])
        places = np.arange(offsets[-1]) + np.repeat(starts - offsets[:-1], lengths)
        return new_ids[self.ids[places]], offsets


def corpus_arrays(
    texts: Sequence[str], tokens: Tokens, lower: bool, cut: Callable[[Sequence[str]], Iterable[str]] | None = None, prefix: str = ""
) -> dict[str, Array]:
    """The arrays of a corpus, to be kept in the cache; their names begin with `prefix`."""
    ids, offsets, words = corpus_ids(texts, tokens, lower, cut)
    return {
        f"{prefix}ids": ids,
        f"{prefix}offsets": offsets,
        f"{prefix}words": lines_array(words),
        f"{prefix}hashes": text_hashes(texts),
    }


def corpus_of(parsed: Parsed, prefix: str = "") -> Corpus:
    """The corpus whose arrays `corpus_arrays` made."""
    arrays = parsed.arrays
    return Corpus(arrays[f"{prefix}ids"], arrays[f"{prefix}offsets"], array_lines(arrays[f"{prefix}words"]), arrays[f"{prefix}hashes"])


def lines_array(lines: Sequence[str]) -> Array:
    """Strings without newlines as one array of bytes."""
    return np.frombuffer("\n".join(lines).encode("utf-8"), np.uint8)


def array_lines(array: Array) -> list[str]:
    """The strings of `lines_array`; an empty array holds none."""
    return array.tobytes().decode("utf-8").split("\n") if len(array) else []


def chosen_words(counts: Mapping[str, int], vocabulary: int | None, min_count: int) -> list[str]:
    """The `vocabulary` most frequent words that occur at least `min_count` times; ties in alphabetical order."""
    kept = [word for word, count in counts.items() if count >= max(min_count, 1)]
    kept.sort(key=lambda word: (-counts[word], word))
    return kept[:vocabulary]


def vocabulary_of(corpus: Corpus, rows: Array, vocabulary: int | None, min_count: int, specials: int = SPECIALS) -> tuple[list[str], Array]:
    """(words by falling count, new ids (words of the corpus,) int32): `chosen_words` of the texts where `rows` is True.

    The first word has the id `specials`.
    """
    counts = corpus.counts(rows)
    order = np.argsort(-counts, kind="stable")  # the words are in alphabetical order, so a stable sort breaks ties by it
    order = order[counts[order] >= max(min_count, 1)][:vocabulary]
    new_ids = np.full(len(corpus.words), UNKNOWN, np.int32)
    new_ids[order] = np.arange(specials, specials + len(order), dtype=np.int32)
    return [corpus.words[place] for place in order.tolist()], new_ids


def new_ids(corpus: Corpus, words: Sequence[str]) -> Array:
    """(words of the corpus,) int32: the id that each has in a vocabulary of `words`, `UNKNOWN` where it is not in it."""
    ids: dict[str, Any] = {word: place for place, word in enumerate(words, SPECIALS)}
    return np.fromiter((ids.get(word, UNKNOWN) for word in corpus.words), np.int32, len(corpus.words))
