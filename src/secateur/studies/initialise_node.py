"""The node kind `initialise`: a network's initial weights, drawn from a seed."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from secateur.errors import StoreError
from secateur.registry import node_kinds
from secateur.studies.networks import build_network
from secateur.studies.nodes import ParentLink, Result, Workplace
from secateur.training.states import State, capture_model


@node_kinds.register("initialise", version=1)
def initialise_node(workplace: Workplace, spec: Mapping[str, Any], parents: Mapping[str, ParentLink]) -> Result:
    """Artefact: `state/0`, the same as that of a training from the same seed."""
    dataset = workplace.source.load(spec["data"])
    if dataset.digest != spec["data_digest"]:
        raise StoreError(f"{dataset.label}: the raw data changed since the study was planned")
    state = State(0, capture_model(build_network(spec["model"], dataset.shape, spec["seed"])))
    return Result({"status": "done"}, {"state/0": workplace.put("state-0.safetensors", state.to_bytes())})
