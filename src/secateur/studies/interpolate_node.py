"""The node kind `interpolate`: the error along the straight line between two trained networks."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import torch

from secateur.registry import node_kinds
from secateur.studies.nodes import ParentLink, Result, Workplace, lines, stopwatch
from secateur.training.states import State, restore_model


@node_kinds.register("interpolate", version=1)
def interpolate_node(workplace: Workplace, spec: Mapping[str, Any], parents: Mapping[str, ParentLink]) -> Result:
    """Linear mode connectivity (Frankle et al. 2020): metrics at `points` equally spaced points from the first network to the second.

    Facts: `barrier`, the highest rise of the error (one minus the deciding metric, or the metric itself where lower is better) above the
    mean of both ends, and `loss_barrier`, the same of the loss. Two runs are stable to the noise of training when it is about zero.
    """
    clock = stopwatch()
    dataset, task, build = workplace.problem(spec)
    first, second = workplace.state(parents["first"]).whole(), workplace.state(parents["second"]).whole()
    model = build(0)
    model.eval()
    entries = []
    for point in range(spec["points"]):
        weight = point / (spec["points"] - 1)
        between = {
            name: first[name] if not first[name].is_floating_point() else torch.lerp(first[name], second[name], weight) for name in first
        }
        restore_model(model, State(0, between))
        with torch.no_grad():
            metrics = task.evaluate(model, dataset, spec["split"], spec["batch"]).metrics
        entries.append({"weight": weight, **{name: float(value) for name, value in metrics.items()}})
    name = task.metric.name
    errors = [1.0 - entry[name] if task.metric.higher_is_better else entry[name] for entry in entries]
    losses = [entry["loss"] for entry in entries if "loss" in entry]
    facts: dict[str, Any] = {"status": "done", "barrier": rise(errors)}
    if losses:
        facts["loss_barrier"] = rise(losses)
    return Result(facts, {"line": workplace.put("line.jsonl", lines(entries))}, {"interpolate": clock()})


def rise(errors: list[float]) -> float:
    """The highest error on the line above the mean of its ends (Frankle et al. 2020, section 2)."""
    return max(errors) - (errors[0] + errors[-1]) / 2
