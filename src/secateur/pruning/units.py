"""What is removed together. A unit turns scores of weights into pools of units that compete."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
from numpy.typing import NDArray
from torch import Tensor

from secateur.linear_maps import LinearMap
from secateur.masks import Mask, Pattern
from secateur.pruning.pools import Flags, Pool, checked_scores, prunable_flags
from secateur.registry import units


@units.register("weight", scopes="any")
def weight(scores: Mapping[str, Tensor], mask: Mask, maps: Sequence[LinearMap]) -> list[Pool]:
    """Single weights: unstructured pruning, to the exact count."""
    entries = {entry.parameter: entry for entry in maps}
    arrays = checked_scores(scores, mask)
    pools = []
    for name, pattern in mask.patterns.items():
        entry = entries.get(name)

        def spread(chosen: Flags, name: str = name, pattern: Pattern = pattern) -> Mapping[str, Flags]:
            return {name: chosen.reshape(pattern.shape)}

        pools.append(
            Pool(
                name, pattern.shape, arrays[name], prunable_flags(pattern).reshape(-1), pattern.flags().reshape(-1), spread,
                gates=None if entry is None else gate_of_weights(entry),
                neurons=None if entry is None else neuron_of_weights(entry),
            )
        )  # fmt: skip
    return pools


def gate_of_weights(entry: LinearMap) -> NDArray[np.int64] | None:
    """The block (gate; q, k or v) of each weight, flat; None for a map without blocks."""
    if not entry.blocks:
        return None
    rows = np.zeros(entry.shape[0], dtype=np.int64)
    for number, block in enumerate(entry.blocks):
        rows[block.start : block.stop] = number
    return np.broadcast_to(rows.reshape(-1, *(1,) * (len(entry.shape) - 1)), entry.shape).reshape(-1)


def neuron_of_weights(entry: LinearMap) -> NDArray[np.int64]:
    """The output that each weight feeds, flat."""
    outputs = np.arange(entry.shape[entry.output_axis])
    along = [1] * len(entry.shape)
    along[entry.output_axis] = -1
    return np.broadcast_to(outputs.reshape(along), entry.shape).reshape(-1)
