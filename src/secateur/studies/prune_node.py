"""The node kind `prune`: from a state (and the mask in force there) to a mask."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from itertools import islice
from typing import Any

from torch import Tensor, nn

from secateur.data.dataset import Batch, Dataset
from secateur.linear_maps import linear_maps, prunable_mask
from secateur.masks import Mask
from secateur.pruning.drawing import draw_mask
from secateur.registry import node_kinds
from secateur.seeds import generator
from secateur.studies.nodes import ParentLink, Result, Workplace, mask_artefact, stopwatch
from secateur.training.states import restore_model


@node_kinds.register("prune", version=2)
def prune_node(workplace: Workplace, spec: Mapping[str, Any], parents: Mapping[str, ParentLink]) -> Result:
    """Draw a mask at the target density. Artefact: `mask`; facts: density, weights kept in each layer, emptied layers."""
    clock = stopwatch()
    dataset, task, build = workplace.problem(spec)
    model = build(0)
    restore_model(model, workplace.state(parents["state"]))
    mask = workplace.mask(parents["mask"]) if "mask" in parents else prunable_mask(model, spec["prunable"])
    batches = TrainingBatches(dataset, spec["batch"], spec["data_order"], spec["batches"]) if "batches" in spec else None

    def loss(outputs: Any, targets: Tensor) -> Tensor:
        return task.loss(outputs[0] if isinstance(outputs, tuple) else outputs, targets)

    drawn = draw_mask(
        model, mask, spec["target"]["density"], score=_options(spec["score"]), scope=_options(spec["scope"]), unit=_options(spec["unit"]),
        rates=spec["rates"], floor=spec["floor"], rounds=spec["target"].get("rounds", 1), batches=batches, loss=loss,
        generator=generator(spec["seed"]),
    )  # fmt: skip
    facts = {"status": "done", "density": drawn.density, "layers": layer_facts(model, drawn), "emptied": drawn.emptied()}
    return Result(facts, {"mask": mask_artefact(workplace, drawn)}, {"prune": clock()})


def layer_facts(model: nn.Module, mask: Mask) -> list[dict[str, Any]]:
    """Prunable and kept weights of each parameter of a mask, with its kind, in the model's order."""
    kinds = {entry.parameter: entry.kind for entry in linear_maps(model)}
    order = [name for name, _ in model.named_parameters() if name in mask]
    return [
        {"parameter": name, "kind": kinds.get(name, "other"), "prunable": mask.pattern(name).prunable, "kept": mask.pattern(name).kept}
        for name in order
    ]


def _options(table: Mapping[str, Any]) -> dict[str, Any]:
    """A component's table without what only the key needs."""
    return {name: value for name, value in table.items() if name not in ("source", "version")}


class TrainingBatches:
    """The first `count` training batches of epoch 0, as often as they are asked for."""

    def __init__(self, dataset: Dataset, batch: int, seed: int, count: int) -> None:
        self.dataset, self.batch, self.seed, self.count = dataset, batch, seed, count

    def __iter__(self) -> Iterator[Batch]:
        return islice(self.dataset.splits["train"].epoch(self.batch, self.seed, 0), self.count)
