"""The node kind `weights`: how large the weights of one state are. Asking for it keeps that state, so that it can be looked at."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from secateur.registry import node_kinds
from secateur.studies.nodes import ParentLink, Result, Workplace, stopwatch


@node_kinds.register("weights", version=1)
def weights_node(workplace: Workplace, spec: Mapping[str, Any], parents: Mapping[str, ParentLink]) -> Result:
    """Facts: the state's step, and the root mean square of each parameter's kept weights (of all, where no mask covers it)."""
    clock = stopwatch()
    state = workplace.state(parents["state"])
    sizes = {
        name: float(tensor.double().square().mean().sqrt())
        for name, tensor in state.model.items()
        if tensor.is_floating_point() and tensor.numel()
    }
    return Result({"status": "done", "step": state.step, "sizes": sizes}, {}, {"weights": clock()})
