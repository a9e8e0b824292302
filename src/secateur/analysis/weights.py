"""Weights to look at: histograms, heat maps small enough for a page, the words that an embedding holds near one another."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from secateur.errors import InputError

Values = NDArray[np.floating]


@dataclass(frozen=True)
class Histogram:
    """Counts between `edges` (one more edge than counts). Pruned weights are not counted: their zeros would hide the rest."""

    edges: NDArray[np.float64]
    counts: NDArray[np.int64]


def histogram(values: Values, kept: NDArray[np.bool_] | None = None, bins: int = 60, reach: float | None = None) -> Histogram:
    """Histogram of the kept weights between -reach and reach (default: the largest magnitude); what lies beyond is in the end bins."""
    flat = np.asarray(values, dtype=np.float64).ravel()
    if kept is not None:
        flat = flat[np.asarray(kept).ravel()]
    reach = reach if reach is not None else float(np.abs(flat).max(initial=0.0))
    edges = np.linspace(-(reach or 1.0), reach or 1.0, bins + 1)
    counts, _ = np.histogram(np.clip(flat, edges[0], edges[-1]), edges)
    return Histogram(edges, counts.astype(np.int64))


def heat_map(values: Values, most: int = 48) -> NDArray[np.float64]:
    """Root mean square of the weights over a grid of at most `most` x `most` blocks (output axis down, the rest across).

    A tensor of more than two axes is flattened behind its first; one of a single axis is one row.
    """
    matrix = np.asarray(values, dtype=np.float64)
    matrix = matrix.reshape(1, -1) if matrix.ndim < 2 else matrix.reshape(matrix.shape[0], -1)
    for axis in (0, 1):
        size = matrix.shape[axis]
        if size > most:
            starts = np.arange(most) * size // most
            widths = np.diff(np.append(starts, size))
            matrix = np.add.reduceat(matrix**2, starts, axis=axis) / np.expand_dims(widths, 1 - axis)
            matrix = np.sqrt(matrix)
    return np.abs(matrix)


def nearest_words(vectors: Values, words: Sequence[str], word: str, count: int = 8, first: int = 2) -> list[tuple[str, float]]:
    """The `count` words whose vectors have the largest cosine to that of `word`, with it. Rows before `first` (padding, unknown) and rows
    that are all zero (words that pruning removed) are left out; `InputError` when `word` is unknown or its own row is gone."""
    if word not in words:
        raise InputError(f"{word!r} is not in the vocabulary")
    matrix = np.asarray(vectors, dtype=np.float64)
    if len(words) != len(matrix):
        raise InputError(f"{len(words)} words do not fit {len(matrix)} vectors")
    place = list(words).index(word)
    lengths = np.linalg.norm(matrix, axis=1)
    if lengths[place] == 0:
        raise InputError(f"nothing is left of {word!r}: all of its weights are pruned")
    cosines = matrix @ matrix[place] / (np.where(lengths > 0, lengths, np.inf) * lengths[place])
    cosines[:first] = -np.inf
    cosines[place] = -np.inf
    cosines[lengths == 0] = -np.inf
    order = np.argsort(-cosines, kind="stable")[:count]
    return [(words[index], float(cosines[index])) for index in order if np.isfinite(cosines[index])]


def radar(vectors: Values, rows: Sequence[int], dimensions: int = 16) -> NDArray[np.float64]:
    """Corner points (len(rows), dimensions + 1, 2) of a radar plot of embeddings: an axis a dimension, closed, zero at radius one half.

    Radii are scaled so that the largest magnitude among the rows reaches 0 or 1 (study A, figure 1).
    """
    matrix = np.asarray(vectors, dtype=np.float64)[list(rows), :dimensions]
    radius = 0.5 + 0.5 * matrix / (np.abs(matrix).max(initial=0.0) or 1.0)
    angles = 2 * np.pi * np.arange(matrix.shape[1]) / matrix.shape[1]
    corners = np.stack([radius * np.sin(angles), radius * np.cos(angles)], axis=-1)
    return np.concatenate([corners, corners[:, :1]], axis=1)
