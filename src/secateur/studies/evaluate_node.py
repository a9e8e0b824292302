"""The node kind `evaluate`: one reading of a split by one state."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

import torch
from safetensors.torch import save as save_tensors

from secateur.canonical import canonical_json
from secateur.registry import node_kinds
from secateur.studies.nodes import ParentLink, Result, Workplace, stopwatch
from secateur.training.states import restore_model


@node_kinds.register("evaluate", version=1)
def evaluate_node(workplace: Workplace, spec: Mapping[str, Any], parents: Mapping[str, ParentLink]) -> Result:
    """Metrics over a split, as facts; predictions and samples as artefacts where the task gives them."""
    clock = stopwatch()
    dataset, task, build = workplace.problem(spec)
    model = build(0)
    restore_model(model, workplace.state(parents["state"]))
    model.eval()
    with torch.no_grad():
        evaluation = task.evaluate(model, dataset, spec["split"], spec["batch"])
    metrics = {name: float(value) for name, value in evaluation.metrics.items()}
    result = Result({"status": "done", "metrics": {name: value for name, value in metrics.items() if math.isfinite(value)}})
    if evaluation.predictions is not None:
        tensors = {"predictions": evaluation.predictions.contiguous()}
        if evaluation.targets is not None:
            tensors["targets"] = evaluation.targets.contiguous()
        result.artefacts["predictions"] = workplace.put("predictions.safetensors", save_tensors(tensors))
    if evaluation.samples:
        content = "".join(canonical_json(dict(sample)) + "\n" for sample in evaluation.samples)
        result.artefacts["samples"] = workplace.put("samples.jsonl", content.encode())
    result.seconds["evaluate"] = clock()
    return result
