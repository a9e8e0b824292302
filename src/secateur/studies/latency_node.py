"""The node kind `latency`: how long a trained network takes for a batch, dense and compressed, on the machine that runs it."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import torch

from secateur.registry import node_kinds
from secateur.sparse import compress, sparse_weights
from secateur.sparse.bench import timed
from secateur.studies.nodes import ParentLink, Result, Workplace, stopwatch
from secateur.tasks.task import call
from secateur.training.states import restore_model


@node_kinds.register("latency", version=1)
def latency_node(workplace: Workplace, spec: Mapping[str, Any], parents: Mapping[str, ParentLink]) -> Result:
    """Median seconds of a forward pass of the first `batch` validation examples, over `rounds` in which both ways take turns.

    The clock's readings are timings, never facts: `dense`, with zeros where weights are pruned, and `ticket`, with those layers sparse
    that the table of crossovers says are faster so. The facts say how many of the masked parameters those are.
    """
    clock = stopwatch()
    dataset, _, build = workplace.problem(spec)
    state = workplace.state(parents["state"])
    dense = build(0)
    restore_model(dense, state)
    dense.eval()
    inputs, _ = next(iter(dataset.splits["valid"].in_order(spec["batch"])))
    ways = {"dense": lambda: call(dense, inputs)}
    facts: dict[str, Any] = {"status": "done", "sparse": 0, "masked": 0 if state.mask is None else len(state.mask)}
    if state.mask is not None:
        ticket = compress(dense, state.mask, layers="auto", batch=spec["batch"], crossovers=workplace.crossovers(spec)).eval()
        facts["sparse"] = len(sparse_weights(ticket))
        ways["ticket"] = lambda: call(ticket, inputs)
    with torch.inference_mode():
        seconds = {name: median for name, (median, _, _) in timed(ways, spec["rounds"]).items()}
    return Result(facts, {}, {**seconds, "latency": clock()})
