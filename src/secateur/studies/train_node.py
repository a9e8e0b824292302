"""The node kind `train`: from a starting point, with a mask or without, to the states that are kept."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from typing import Any

from secateur.registry import node_kinds
from secateur.steps import Step
from secateur.studies.nodes import Checkpoints, ParentLink, Result, Workplace, lines, stopwatch
from secateur.training.loop import Actions, Run, Seeds, Settings, make_run, train
from secateur.training.masking import KeepPruned
from secateur.training.states import State, restore_model


@node_kinds.register("train", version=1)
def train_node(workplace: Workplace, spec: Mapping[str, Any], parents: Mapping[str, ParentLink]) -> Result:
    """Train. Artefacts: `metrics`, `state/best`, `state/end`, and `state/K` (weights) or `resumable/K` (with optimiser) as asked.

    A node that exists already is run again only as far as the states that are asked for and missing.
    """
    clock = stopwatch()
    stored = workplace.store.get(workplace.key)
    keeper = KeepPruned()
    run = _start(workplace, spec, parents)
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

    actions: dict[str, Sequence[Callable[[Run], None]]] = {
        "start": [keeper.enforce, keep_asked],
        "gradients": [keeper.mask_gradients],
        "updated": [keeper.mask_weights, keep_asked],
        "evaluated": [tell],
        "epoch": [save_checkpoint],
    }
    if stored is not None:
        run.until = max((step for step, _ in wanted), default=run.step)
        actions.update(evaluated=[], epoch=[])
    train(run, _typed(actions))
    if stored is None:
        _finish(workplace, run, first_step, result, missing)
        result.seconds["train"] = earlier + clock()
    return result


def _start(workplace: Workplace, spec: Mapping[str, Any], parents: Mapping[str, ParentLink]) -> Run:
    """The run at its starting point."""
    dataset, task, build = workplace.problem(spec)
    table = dict(spec["train"])
    for key in ("length", "evaluate"):
        table[key] = Step.parse(table[key])
    table["optimizer"] = _read_steps(table["optimizer"])
    table["learning_rate"] = _read_steps(table["learning_rate"])
    seeds = Seeds(spec["seeds"]["data-order"], spec["seeds"]["dropout"])
    run = make_run(build(spec.get("init_seed", 0)), task, dataset, Settings(**table), seeds)
    if "state" in parents:
        state = workplace.state(parents["state"])
        if spec["start"] == "state":
            run.start_from(state, optimizer=spec["optimizer"])
        else:
            restore_model(run.model, state.model)
            if spec["optimizer"] == "kept":
                run.start_from(replace(state, step=0, carried=()), optimizer="kept")
    if "mask" in parents:
        run.mask = workplace.mask(parents["mask"])
    if spec["rate"] == "final":
        final = run.factor(max(0, run.total - 1))
        run.factor = lambda step: final
    return run


def _read_steps(table: Mapping[str, Any]) -> dict[str, Any]:
    """An optimiser's or schedule's table as its maker takes it."""
    from secateur.registry import learning_rates, optimizers
    from secateur.studies.options import read

    registry = optimizers if table["name"] in optimizers else learning_rates
    entry = registry.entry(table["name"])
    return {"name": table["name"], **read(entry, {key: value for key, value in table.items() if key not in ("name", "source")})}


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
