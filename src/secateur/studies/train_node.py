"""The node kind `train`: from a starting point, with a mask or without, to the states that are kept."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import torch
from torch import nn

from secateur.accounting import cost
from secateur.analysis.signs import Ablation, ablated
from secateur.data.dataset import Dataset
from secateur.errors import PruningError, StoreError
from secateur.linear_maps import prunable_mask
from secateur.masks import Mask, parameters_of
from secateur.pruning.schedules import Dynamic, EarlyBird, Gradual, SoftMovement
from secateur.registry import learning_rates, node_kinds, optimizers, schedules, scores
from secateur.steps import Step
from secateur.studies.nodes import Checkpoints, ParentLink, Result, Workplace, lines, stopwatch
from secateur.studies.options import read
from secateur.studies.prune_node import TrainingBatches, layer_facts
from secateur.studies.store import Artefact
from secateur.training.changing_masks import ChangingMask, DynamicSparsity, EarlyBirdSearch, GradualPruning, How, SoftMovementPruning
from secateur.training.execution import Execution, executed, make_dense, make_sparse
from secateur.training.loop import Actions, Run, Seeds, Settings, make_run, train
from secateur.training.masking import KeepPruned
from secateur.training.states import State, restore_model

_COST_EXAMPLES = 32


@node_kinds.register("train", version=3)
def train_node(workplace: Workplace, spec: Mapping[str, Any], parents: Mapping[str, ParentLink]) -> Result:
    """Train. Artefacts: `metrics`, `state/best`, `state/end`, and `state/K` (weights) or `resumable/K` (with optimiser) as asked.

    A node that exists already is run again only as far as the states that are asked for and missing.
    """
    clock = stopwatch()
    stored = workplace.store.get(workplace.key)
    keeper = KeepPruned()
    begun = _start(workplace, spec, parents)
    run = begun.run
    first_step = run.step
    checkpoints = Checkpoints(workplace.store.work(workplace.key))
    earlier = 0.0
    found = checkpoints.load() if stored is None else None
    if found is not None:
        run.resume(found[0], found[1])
        earlier = found[2]
    result = Result()
    missing = {name for name in workplace.asked if stored is None or name not in stored.artefacts}
    wanted = {(int(step), form == "resumable") for form, _, step in (name.partition("/") for name in missing) if step.isdigit()}

    def keep_asked(run: Run) -> None:
        for resumable in (False, True):
            if (run.step, resumable) in wanted:
                _put_state(workplace, result, f"{'resumable' if resumable else 'state'}/{run.step}", run.state(resumable=resumable))

    def save_checkpoint(run: Run) -> None:
        if not run.finished:
            checkpoints.save(run, earlier + clock())

    def tell(run: Run) -> None:
        workplace.report({"event": "progress", "step": run.step, "total": run.total, "history": run.history[-1]})

    masks = _MaskHistory(workplace)
    execution = Execution(spec["execution"], workplace.crossovers(spec))
    changing = _changing_mask(spec, run, keeper, masks, execution) if "pruning" in spec else None
    masking = run.settings.masking
    hold = keeper.enforce if masking == "enforced" or run.step == first_step else keeper.hold
    actions: dict[str, Sequence[Callable[[Run], None]]] = {
        "start": [changing.start if changing else hold, keep_asked],
        "forward": [changing.forward] if changing else [],
        "gradients": [*([changing.gradients] if changing else []), *([keeper.mask_gradients] if masking != "start" else [])],
        "updated": [*([keeper.mask_weights] if masking == "enforced" else []), *([changing.updated] if changing else []), keep_asked],
        "evaluated": [tell],
        "epoch": [save_checkpoint],
    }
    if stored is not None:
        run.until = max((step for step, _ in wanted), default=run.step)
        actions.update(evaluated=[], epoch=[])
    train(run, _typed(actions))
    if stored is None:
        _finish(workplace, run, first_step, result, missing)
        if run.mask is not None:
            result.facts["execution"] = executed(run)
        make_dense(run)
        if changing is not None and run.diverged and not masks.steps:  # it was whole until then
            masks.add(run.step, prunable_mask(run.model, spec["pruning"]["prunable"]))
        costs = begun.costs if changing is None else cost_facts(run.model, run.dataset, masks.last())
        seen = (run.step - first_step) / run.steps_per_epoch * len(run.dataset.splits["train"])
        # The backward pass counts as twice the forward one; where the mask changes, as if the last one had held throughout.
        result.facts.update(costs, multiply_adds=3 * costs["example_multiply_adds"] * seen)
        if changing is not None:
            result.artefacts.update(masks.artefacts())
            result.facts["mask_steps"] = masks.steps
            result.facts["layers"] = layer_facts(run.model, masks.last())
            result.facts["emptied"] = masks.last().emptied()
        result.seconds["train"] = earlier + clock()
    return result


class _MaskHistory:
    """The masks that a run drew: each is written when it is drawn, so that a killed run finds them again."""

    def __init__(self, workplace: Workplace) -> None:
        self.workplace = workplace
        self.steps: list[int] = []
        self._last: Mask | None = None

    def add(self, step: int, mask: Mask) -> None:
        """Keep the mask drawn at `step`."""
        self.workplace.put(f"mask-{step}.safetensors", State(step, {}, mask=mask).to_bytes())
        self._last = mask
        if step not in self.steps:
            self.steps.append(step)

    def take_up(self, until: int) -> list[Mask]:
        """The masks that an interrupted run drew up to its checkpoint."""
        self.steps = [step for step in self.workplace.store.steps_of(self.workplace.key, "mask") if step <= until]
        masks = [self._read(step) for step in self.steps]
        self._last = masks[-1] if masks else None
        return masks

    def last(self) -> Mask:
        """The mask in force at the end."""
        if self._last is None:
            raise StoreError("training ended before a mask was drawn")
        return self._last

    def artefacts(self) -> dict[str, Artefact]:
        """Every mask under its step, and the last as `mask`."""
        found = {f"mask/{step}": self.workplace.store.existing(self.workplace.key, f"mask-{step}.safetensors") for step in self.steps}
        masks = {name: artefact for name, artefact in found.items() if artefact is not None}
        return {**masks, "mask": masks[f"mask/{self.steps[-1]}"]}

    def _read(self, step: int) -> Mask:
        content = self.workplace.store.unfinished(self.workplace.key, f"mask-{step}.safetensors")
        mask = State.from_bytes(content).mask
        assert mask is not None
        return mask


def _changing_mask(spec: Mapping[str, Any], run: Run, keeper: KeepPruned, masks: _MaskHistory, execution: Execution) -> ChangingMask:
    """What changes the mask while training, as the specification's `pruning` table says."""
    table = spec["pruning"]
    entry = schedules.entry(table["schedule"]["name"])
    schedule = entry.make(**read(entry, _without_name(table["schedule"])))
    earlier = masks.take_up(run.step) if run.step else []
    if isinstance(schedule, SoftMovement):
        return SoftMovementPruning(schedule, table["strength"], tuple(table["prunable"]), keeper, masks.add)
    needs_batches = scores.entry(table["score"]["name"]).traits.get("needs_batches")
    batches = TrainingBatches(run.dataset, run.settings.batch, run.seeds.data_order, table["batches"]) if needs_batches else None
    how = How(
        table["density"], tuple(table["prunable"]), _plain(table["score"]), _plain(table["scope"]), _plain(table["unit"]), table["rates"],
        table["floor"], table["seed"], batches,
    )  # fmt: skip
    if isinstance(schedule, Gradual):
        return GradualPruning(schedule, how, keeper, masks.add, execution)
    if isinstance(schedule, Dynamic):
        return DynamicSparsity(schedule, how, keeper, masks.add, execution)
    if isinstance(schedule, EarlyBird):
        return EarlyBirdSearch(schedule, how, masks.add, lambda: earlier)
    raise PruningError(f"schedule {entry.name!r} does not prune while training")


def _plain(table: Mapping[str, Any]) -> dict[str, Any]:
    """A component's table without what only the key needs."""
    return {name: value for name, value in table.items() if name not in ("source", "version")}


def _without_name(table: Mapping[str, Any]) -> dict[str, Any]:
    return {name: value for name, value in table.items() if name not in ("name", "source")}


@dataclass(frozen=True)
class _Begun:
    """A run at its starting point, and what an example costs under the mask that it starts with."""

    run: Run
    costs: dict[str, float]


def _start(workplace: Workplace, spec: Mapping[str, Any], parents: Mapping[str, ParentLink]) -> _Begun:
    """The run at its starting point, its layers dense or sparse as the specification resolves for its mask."""
    dataset, task, build = workplace.problem(spec)
    table = dict(spec["train"])
    for key in ("length", "evaluate"):
        table[key] = Step.parse(table[key])
    table["optimizer"] = _read_steps(table["optimizer"])
    table["learning_rate"] = _read_steps(table["learning_rate"])
    settings = Settings(**table)
    seeds = Seeds(spec["seeds"]["data-order"], spec["seeds"]["dropout"])
    model = build(spec.get("init_seed", 0))
    mask = workplace.mask(parents["mask"]) if "mask" in parents else None
    state = workplace.state(parents["state"]) if "state" in parents else None
    if state is not None:
        restore_model(model, state)
    if mask is not None and "keep" in spec:
        _keep_part(model, mask, spec["keep"]["part"], spec["keep"]["seed"])
    costs = cost_facts(model, dataset, mask)
    run = make_run(model, task, dataset, settings, seeds)
    run.mask = mask
    make_sparse(run, Execution(spec["execution"], workplace.crossovers(spec)))
    if state is not None and spec["start"] == "state":
        run.stand_at(state, optimizer=spec["optimizer"])
    elif state is not None and spec["optimizer"] == "kept":
        run.stand_at(replace(state, step=0, carried=()), optimizer="kept")
    if spec["rate"] == "final":
        final = run.factor(max(0, run.total - 1))
        run.factor = lambda step: final
    return _Begun(run, costs)


def _keep_part(model: nn.Module, mask: Mask, part: Ablation, seed: int) -> None:
    """Leave of the weights that the mask keeps only a part: their signs, their magnitudes …"""
    parameters = parameters_of(model, mask)
    with torch.no_grad():
        for name, weight in ablated(parameters, mask, part, seed).items():
            parameters[name].copy_(weight)


def cost_facts(model: nn.Module, dataset: Dataset, mask: Mask | None) -> dict[str, float]:
    """Multiply-adds of one forward pass of one example (the mean over the first validation batch), dense and with the mask; and bytes of
    the network, dense and stored."""
    inputs, targets = next(iter(dataset.splits["valid"].in_order(_COST_EXAMPLES)))
    found, examples = cost(model, inputs, mask), len(targets)
    return {
        "example_multiply_adds": found.multiply_adds / examples,
        "dense_multiply_adds": found.dense_multiply_adds / examples,
        "bytes": found.bytes,
        "dense_bytes": found.dense_bytes,
    }


def _read_steps(table: Mapping[str, Any]) -> dict[str, Any]:
    """An optimiser's or schedule's table as its maker takes it."""
    registry = optimizers if table["name"] in optimizers else learning_rates
    entry = registry.entry(table["name"])
    return {"name": table["name"], **read(entry, _without_name(table))}


def _finish(workplace: Workplace, run: Run, first_step: int, result: Result, missing: set[str]) -> None:
    """Facts, metrics and the states that are always kept."""
    result.facts = {
        "status": "diverged" if run.diverged else "done",
        "first_step": first_step,
        "steps": run.step,
        "steps_per_epoch": run.steps_per_epoch,
        "best_step": None if run.best is None else run.best.step,
    }
    result.artefacts["metrics"] = workplace.put("metrics.jsonl", lines(run.history))
    for name in missing:
        form, _, step = name.partition("/")
        if (
            step.isdigit()
            and name not in result.artefacts
            and (kept := workplace.store.existing(workplace.key, f"{form}-{step}.safetensors"))
        ):
            result.artefacts[name] = kept
    if run.best is not None:
        result.artefacts["state/best"] = _put_state(workplace, result, f"state/{run.best.step}", run.best)
        result.facts["best"] = next(dict(entry) for entry in run.history if entry["step"] == run.best.step)
    if not run.diverged:
        result.artefacts["state/end"] = _put_state(workplace, result, f"state/{run.step}", run.state(resumable=False))
        if "resumable/end" in missing:
            result.artefacts["resumable/end"] = _put_state(workplace, result, f"resumable/{run.step}", run.state(resumable=True))


def _put_state(workplace: Workplace, result: Result, name: str, state: State) -> Any:
    artefact = workplace.put(f"{name.replace('/', '-')}.safetensors", state.to_bytes())
    result.artefacts[name] = artefact
    return artefact


def _typed(actions: Mapping[str, Sequence[Callable[[Run], None]]]) -> Actions:
    return actions  # type: ignore[return-value]
