"""Dense or sparse layers for a run's mask, chosen anew when the mask changes."""

from __future__ import annotations

from dataclasses import dataclass, field
from functools import partial
from typing import Literal

from torch import nn

from secateur.sparse import Crossovers, compress, decompress, shipped_crossovers, sparse_weights
from secateur.training.loop import Run


@dataclass(frozen=True)
class Execution:
    """How masked layers run: all one way, or (`auto`) each as the table of crossovers says for its mask."""

    wanted: Literal["auto", "dense", "sparse"] = "auto"
    crossovers: Crossovers = field(default_factory=shipped_crossovers)


def make_sparse(run: Run, execution: Execution) -> bool:
    """Make those layers sparse that are to be so under `run.mask`.

    Returns whether any layer changed. The pruned weights are zero afterwards. A mask that is not enforced after every step
    (`Settings.masking`) needs dense layers, and has them.
    """
    mask = run.mask
    if mask is None or execution.wanted == "dense" or run.settings.masking != "enforced":
        return False

    def compressed(model: nn.Module) -> nn.Module:
        layers: Literal["auto", "all"] = "auto" if execution.wanted == "auto" else "all"
        return compress(model, mask, layers=layers, batch=run.settings.batch, crossovers=execution.crossovers, in_place=True)

    return run.become(compressed)


def make_dense(run: Run) -> bool:
    """Make every layer dense, zero where pruned; returns whether any layer changed."""
    return bool(sparse_weights(run.model)) and run.become(partial(decompress, in_place=True))


def executed(run: Run) -> dict[str, str]:
    """How each weight that the mask covers is executed: `sparse` or `dense`."""
    sparse = sparse_weights(run.model)
    return {name: "sparse" if name in sparse else "dense" for name in run.mask or ()}
