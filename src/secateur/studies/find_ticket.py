"""`find_ticket`: iterative pruning of a network of one's own, in a few lines, outside of any recipe and store."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from typing import Literal

from torch import Tensor, nn

from secateur.data.dataset import Dataset, DataShape
from secateur.data.splits import ArraySplit
from secateur.errors import InputError
from secateur.linear_maps import DEFAULT_PRUNABLE, prunable_mask
from secateur.masks import Mask, apply
from secateur.pruning.drawing import draw_mask
from secateur.pruning.keeping import Named
from secateur.pruning.rewind import Rewind
from secateur.pruning.schedules import Iterative
from secateur.registry import tasks
from secateur.seeds import generator, seed_for
from secateur.steps import Step
from secateur.tasks.task import Task
from secateur.training.loop import Run, Seeds, Settings, make_run, train
from secateur.training.masking import KeepPruned
from secateur.training.states import State, restore_model


@dataclass(frozen=True)
class FoundTicket:
    """One level of the search: the mask, the weights it restarts from, and what the trained ticket is worth.

    `metrics` are of the validation split at the best state; level 0 is the dense network, whose `mask` keeps everything.
    """

    level: int
    mask: Mask
    start: State
    trained: State
    metrics: Mapping[str, float]

    @property
    def density(self) -> float:
        """Kept fraction of the prunable weights."""
        return self.mask.density

    def load_into(self, model: nn.Module, *, which: Literal["start", "trained"] = "trained") -> nn.Module:
        """Give a network of the same kind the ticket's weights, zero where pruned; returns it."""
        restore_model(model, self.start if which == "start" else self.trained)
        apply(self.mask, model)
        return model


def find_ticket(
    model_fn: Callable[[], nn.Module],
    task: str | Task,
    dataset: Dataset,
    *,
    length: str | Step = "10ep",
    batch: int = 64,
    optimizer: Mapping[str, object] | None = None,
    score: Named = "magnitude",
    scope: Named = "layer",
    unit: Named = "weight",
    prunable: tuple[str, ...] = DEFAULT_PRUNABLE,
    keep_each: float = 0.8,
    levels: int = 10,
    rewind: str = "init",
    seed: int = 0,
) -> Iterator[FoundTicket]:
    """Train, prune, rewind, `levels` times (Frankle and Carbin 2019); yields level 0, dense, and then each level as it is found.

    `model_fn` builds the network; its first result's weights are the initial ones. `task` is a registered task's name, or a task of
    one's own; `rewind` is `init`, a step (`500it`, `1ep`) or `lr`. Pruned weights stay exactly zero while training. `InputError`
    for what does not fit.

    Example:
        data = from_arrays(train=(x, y), valid=(xv, yv), outputs=2)
        for ticket in find_ticket(lambda: MyNetwork(), "classification", data, levels=5):
            print(ticket.density, ticket.metrics["accuracy"])
    """
    judged: Task = tasks[task](dataset) if isinstance(task, str) else task
    settings = Settings(Step.parse(length), batch, optimizer or {"name": "adam"})
    seeds = Seeds(seed_for(seed, "data-order"), seed_for(seed, "dropout"))
    back = Rewind.parse(rewind)
    if back.kind not in ("init", "step", "lr"):
        raise InputError(f"find_ticket rewinds to init, to a step, or replays the learning rate (lr); not {back}")
    model = model_fn()
    run = make_run(model, judged, dataset, settings, seeds)
    step = back.position(run.steps_per_epoch) or 0
    kept: list[State] = []

    def keep_start(run: Run) -> None:
        if run.step == step and not kept:
            kept.append(run.state(resumable=False))

    train(run, {"start": [keep_start], "updated": [keep_start]})
    mask = prunable_mask(model, prunable)
    yield _found(0, mask, kept[0], run)
    for level, density in enumerate(Iterative(keep_each=keep_each, levels=levels).densities(), start=1):
        drawing = generator(seed_for(seed, "prune"))
        mask = draw_mask(model, mask, density, score=score, scope=scope, unit=unit, loss=run.loss, generator=drawing, batches=_batches(run))
        start = run.state(resumable=False) if back.kind == "lr" else kept[0]
        restore_model(model, start)
        run = make_run(model, judged, dataset, settings, seeds)
        run.step = step if back.kind != "lr" else 0
        run.mask = mask
        keeper = KeepPruned()
        train(run, {"start": [keeper.enforce], "gradients": [keeper.mask_gradients], "updated": [keeper.mask_weights]})
        yield _found(level, mask, start, run)


def from_arrays(
    train: tuple[Tensor, Tensor],
    valid: tuple[Tensor, Tensor],
    test: tuple[Tensor, Tensor] | None = None,
    *,
    outputs: int,
    name: str = "arrays",
) -> Dataset:
    """A data set of tensors in memory: inputs (n, …) and targets (n,) of each split; `outputs` counts classes."""
    pairs = {"train": train, "valid": valid, **({} if test is None else {"test": test})}
    for split, (inputs, targets) in pairs.items():
        if len(inputs) != len(targets):
            raise InputError(f"{name}: {split} has {len(inputs)} inputs and {len(targets)} targets")
    shape = DataShape(outputs, image=tuple(train[0].shape[1:]))
    return Dataset(name, name, {split: ArraySplit(*pair) for split, pair in pairs.items()}, shape, name, tuple(map(str, range(outputs))))


def _batches(run: Run) -> list[tuple[object, Tensor]]:
    """One training batch, for scores that read data."""
    return [next(iter(run.dataset.splits["train"].epoch(run.settings.batch, run.seeds.data_order, 0)))]


def _found(level: int, mask: Mask, start: State, run: Run) -> FoundTicket:
    best = run.best
    if best is None:
        raise InputError("training gave no state that could be evaluated; its loss was never finite")
    entry = next(entry for entry in run.history if entry["step"] == best.step)
    metrics = {name.removeprefix("valid_"): float(value) for name, value in entry.items() if name.startswith("valid_")}
    return FoundTicket(level, mask, start, best, metrics)
