"""Which examples a split holds: chosen by a seeded hash of the example, so that order and repeats in the file do not matter."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence

import numpy as np

from secateur.data.parsed import Array
from secateur.seeds import seed_for

TRAIN, VALID, TEST = 0, 1, 2

PREPARATION = 1
"""The version of all that lies between parsed texts or images and batches: splitting, choosing words, padding, ordering.

It is part of every data set's digest and changes whenever the same data would give other batches."""


def text_hashes(texts: Sequence[str]) -> Array:
    """(texts,) uint64: the first eight bytes of each text's BLAKE2b hash, white space at its ends left out."""
    joined = b"".join(hashlib.blake2b(text.strip().encode(), digest_size=8).digest() for text in texts)
    return np.frombuffer(joined, dtype="<u8").astype(np.uint64)


def shuffled_ranks(hashes: Array, seed: int, purpose: str) -> Array:
    """(n,) uint64 that sort the examples in a random order of (`seed`, `purpose`); equal examples have equal ranks.

    The finaliser of splitmix64 over hash xor seed.
    """
    z = hashes ^ np.uint64(seed_for(seed, purpose))
    for shift, factor in ((30, 0xBF58476D1CE4E5B9), (27, 0x94D049BB133111EB)):
        z = (z ^ (z >> np.uint64(shift))) * np.uint64(factor)
    mixed: Array = z ^ (z >> np.uint64(31))
    return mixed


def held_out(ranks: Array, classes: Array, fraction: float) -> Array:
    """(n,) bool: floor(fraction * n + 0.5) examples, shared among the classes by largest remainders; of each those of lowest rank.

    Ties break by position.
    """
    chosen = np.zeros(len(ranks), bool)
    order = np.lexsort((ranks, classes))
    names, starts, sizes = np.unique(classes[order], return_index=True, return_counts=True)
    shares = sizes * fraction
    counts = np.floor(shares).astype(np.int64)
    missing = int(np.floor(fraction * len(ranks) + 0.5)) - int(counts.sum())
    counts[np.argsort(-(shares - counts), kind="stable")[: max(0, missing)]] += 1
    for start, count in zip(starts[: len(names)], counts, strict=True):
        chosen[order[start : start + count]] = True
    return chosen


def partition(parts: Array, ranks: Array, classes: Array, validation: float, test: float) -> Array:
    """(n,) uint8 of TRAIN, VALID, TEST. `parts` are the published splits; what a file does not have is held out of TRAIN.

    `validation` is a fraction of what is left of TRAIN once the test split is out.
    """
    parts = parts.astype(np.uint8, copy=True)
    for part, fraction in ((TEST, test), (VALID, validation)):
        if fraction > 0 and not (parts == part).any():
            rows = np.flatnonzero(parts == TRAIN)
            parts[rows[held_out(ranks[rows], classes[rows], fraction)]] = part
    return parts


def first_of_each(parts: Array, ranks: Array, limit: int | None) -> Array:
    """(n,) bool: of each split at most `limit` examples, those of lowest rank; everything when `limit` is None."""
    kept = np.ones(len(parts), bool)
    if limit is not None:
        for part in (TRAIN, VALID, TEST):
            rows = np.flatnonzero(parts == part)
            kept[rows[np.argsort(ranks[rows], kind="stable")[limit:]]] = False
    return kept


def repeats_across(parts: Array, hashes: Array, part: int) -> int:
    """How many examples of split `part` have a text that the training split holds too."""
    return int(np.isin(hashes[parts == part], hashes[parts == TRAIN]).sum())
