"""Which parts of a parameter pruning spares: blocks of its outputs, rows by their rank. Pure functions of patterns."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from itertools import pairwise
from typing import Any

import numpy as np

from secateur.masks import Pattern

_GROUPS_A_DECADE = 3


def by_block(pattern: Pattern, blocks: Sequence[Mapping[str, Any]], heads: int = 1) -> dict[str, float]:
    """The density of each named range of outputs (`name`, `start`, `stop` along the first axis): a gate, or q, k, v; of several `heads`
    each range is divided once more."""
    flags = pattern.flags().reshape(pattern.shape[0], -1)
    found = {}
    for block in blocks:
        part = flags[block["start"] : block["stop"]]
        if heads == 1:
            found[str(block["name"])] = float(part.mean())
        else:
            found.update({f"{block['name']}, head {head + 1}": float(rows.mean()) for head, rows in enumerate(np.array_split(part, heads))})
    return found


def by_rank(pattern: Pattern, first: int = 2) -> list[tuple[int, float]]:
    """Density of groups of an embedding's rows, which stand from the most frequent word to the rarest: (rank of the group's middle,
    density). Groups are three to a tenfold of rank. Rows before `first` (padding, unknown) are no words."""
    kept = pattern.flags().reshape(pattern.shape[0], -1).mean(1)[first:]
    if not len(kept):
        return []
    bounds = (round(10 ** (step / _GROUPS_A_DECADE)) for step in range(_GROUPS_A_DECADE, 12 * _GROUPS_A_DECADE))
    edges = sorted({0, len(kept), *(bound for bound in bounds if bound < len(kept))})
    return [(round((low + 1 + high) / 2), float(kept[low:high].mean())) for low, high in pairwise(edges)]
