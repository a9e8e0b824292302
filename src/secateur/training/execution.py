"""Dense or sparse layers for a run's mask, chosen anew when the mask changes."""

from __future__ import annotations

from functools import partial
from typing import Literal

from torch import nn

from secateur.sparse import compress, decompress, sparse_weights
from secateur.training.loop import Run

Execution = Literal["auto", "dense", "sparse"]


def make_sparse(run: Run, wanted: Execution) -> bool:
    """Make the layers sparse that `wanted` makes so under `run.mask`: none, all, or those that the table of crossovers names.

    Returns whether any layer changed. The pruned weights are zero afterwards. A mask that is not enforced after every step
    (`Settings.masking`) needs dense layers, and has them.
    """
    mask = run.mask
    if mask is None or wanted == "dense" or run.settings.masking != "enforced":
        return False

    def compressed(model: nn.Module) -> nn.Module:
        return compress(model, mask, layers="auto" if wanted == "auto" else "all", batch=run.settings.batch, in_place=True)

    return run.become(compressed)


def make_dense(run: Run) -> bool:
    """Make every layer dense, zero where pruned; returns whether any layer changed."""
    return bool(sparse_weights(run.model)) and run.become(partial(decompress, in_place=True))


def executed(run: Run) -> dict[str, str]:
    """How each weight that the mask covers is executed: `sparse` or `dense`."""
    sparse = sparse_weights(run.model)
    return {name: "sparse" if name in sparse else "dense" for name in run.mask or ()}
