"""The loop. It hides nothing: one optimiser step after another, and callables at named points.

Everything that decides a step's bits is a function of the settings, the seeds and the step's number: the data order of
(seed, epoch), dropout of (seed, layer, step), the learning rate of the step. So a run goes on from a state bit for bit.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property
from typing import Any, Literal

import torch
from torch import Tensor, nn

from secateur.data.dataset import Dataset
from secateur.dropout import Dropout, dropout_modules, foreign_dropout
from secateur.errors import InputError
from secateur.linear_maps import LinearMap, linear_maps
from secateur.masks import Mask
from secateur.registry import learning_rates, optimizers
from secateur.steps import Step
from secateur.tasks.task import Task
from secateur.training.learning_rates import Factor
from secateur.training.optimizers import optimizer_state, restore_optimizer
from secateur.training.states import State, capture_model, fit, live_tensors, restore_model

Point = Literal["start", "forward", "gradients", "updated", "evaluated", "epoch"]


@dataclass(frozen=True)
class Settings:
    """How to train: a recipe's `train` table.

    `evaluate` says how often the validation split is read, `evaluate_batch` in batches of which size; `patience` ends
    training after that many evaluations without a better one; `clip` bounds the gradient's norm (survivors only). `masking` says how
    a mask is held: `enforced` (pruned weights are zero after every step), or, to show what published code did, `gradients` (only
    gradients are masked: an optimiser's moments and weight decay go on) and `start` (weights are zeroed once and then left alone).
    """

    length: Step
    batch: int = 64
    optimizer: Mapping[str, Any] = field(default_factory=lambda: {"name": "adam"})
    learning_rate: Mapping[str, Any] = field(default_factory=lambda: {"name": "constant"})
    clip: float | None = None
    evaluate: Step = Step.parse("1ep")  # noqa: RUF009
    evaluate_batch: int = 256
    patience: int | None = None
    select: Literal["best-validation", "end"] = "best-validation"
    masking: Literal["enforced", "gradients", "start"] = "enforced"


@dataclass(frozen=True)
class Seeds:
    """The seeds of one run's training."""

    data_order: int
    dropout: int


@dataclass
class Run:
    """A run in flight: what the callables at the loop's points may look at and change.

    `until` stops it early, at a step whose state is wanted, without changing the schedule. `gathered` is what a callable gathers
    over steps, for checkpoints; `skip_update` lets one step pass without the optimiser's. `become` changes the network's layers.
    """

    model: nn.Module
    task: Task
    dataset: Dataset
    settings: Settings
    seeds: Seeds
    optimizer: torch.optim.Optimizer
    factor: Factor
    steps_per_epoch: int
    total: int
    mask: Mask | None = None
    gathered: dict[str, Tensor] = field(default_factory=dict)
    skip_update: bool = False
    step: int = 0
    until: int | None = None
    carried: Any = None
    history: list[dict[str, float | int]] = field(default_factory=list)
    best: State | None = None
    best_value: float = math.nan
    waited: int = 0
    diverged: bool = False
    loss_sum: float = 0.0
    loss_count: int = 0

    @property
    def finished(self) -> bool:
        """No further step is to be taken."""
        patience = self.settings.patience
        stop = self.total if self.until is None else min(self.total, self.until)
        return self.diverged or self.step >= stop or (patience is not None and self.waited >= patience)

    @cached_property
    def maps(self) -> list[LinearMap]:
        """The network's linear maps."""
        return linear_maps(self.model)

    def loss(self, outputs: Any, targets: Tensor) -> Tensor:
        """The task's loss of what the network itself returns (its outputs, or a tuple that begins with them)."""
        return self.task.loss(outputs[0] if isinstance(outputs, tuple) else outputs, targets)

    @cached_property
    def parameters(self) -> list[nn.Parameter]:
        """The parameters that the optimiser steps."""
        return list(self.model.parameters())

    @cached_property
    def dropouts(self) -> list[tuple[str, Dropout]]:
        """The network's dropout modules, which are placed before each step."""
        return dropout_modules(self.model)

    @property
    def names(self) -> dict[Tensor, str]:
        """The model's parameters and the names that the dense network gives them."""
        return {tensor: name for name, (tensor, _) in live_tensors(self.model).items() if isinstance(tensor, nn.Parameter)}

    def state(self, *, resumable: bool) -> State:
        """The present state; with the optimiser's and what is carried where the run is to go on from it."""
        optimizer = optimizer_state(self.optimizer, self.names) if resumable else {}
        carried = _flat(self.carried) if resumable else ()
        gathered = {name: tensor.clone() for name, tensor in self.gathered.items()} if resumable else {}
        mask = self.mask if self.settings.masking == "enforced" else None  # else weights outside of the mask may live
        return State(self.step, capture_model(self.model), optimizer, carried, mask, gathered=gathered)

    def checkpoint(self) -> State:
        """The present state with all that `resume` needs, the best state's step and value and the history among it."""
        state = self.state(resumable=True)
        facts = {
            "history": self.history,
            "best_step": None if self.best is None else self.best.step,
            "best_value": self.best_value if self.best is not None and math.isfinite(self.best_value) else None,
            "waited": self.waited,
            "loss_sum": self.loss_sum,
            "loss_count": self.loss_count,
        }
        return replace(state, facts=facts)

    def resume(self, checkpoint: State, best: State | None) -> None:
        """Go on from a checkpoint and the best state that belongs to it."""
        self.start_from(checkpoint, optimizer="kept")
        facts = checkpoint.facts
        self.history = [dict(entry) for entry in facts["history"]]
        self.best, self.waited = best, facts["waited"]
        self.best_value = math.nan if facts["best_value"] is None else facts["best_value"]
        self.loss_sum, self.loss_count = facts["loss_sum"], facts["loss_count"]
        self.mask = checkpoint.mask if checkpoint.mask is not None else self.mask
        self.gathered = {name: tensor.clone() for name, tensor in checkpoint.gathered.items()}

    def start_from(self, state: State, *, optimizer: Literal["fresh", "kept"]) -> None:
        """Restart at `state`: weights, buffers, schedule and data order; the optimiser fresh or as it was there."""
        restore_model(self.model, state)
        self.stand_at(state, optimizer=optimizer)

    def stand_at(self, state: State, *, optimizer: Literal["fresh", "kept"]) -> None:
        """Take a state's place in training, and its optimiser where `kept`, but not its weights."""
        self.step = state.step
        self.carried = _nested(state.carried)
        if optimizer == "kept":
            self._take_moments(state)

    def become(self, change: Callable[[nn.Module], nn.Module]) -> bool:
        """Go on with what `change` makes of the network, the same weights in dense layers or in sparse ones; returns whether any changed.

        The optimiser is made anew for the new parameters, with the state that it had.
        """
        names = self.names
        self.model = change(self.model)
        for cached in ("maps", "parameters", "dropouts"):
            self.__dict__.pop(cached, None)
        if self.names.keys() == names.keys():
            return False
        moments = State(self.step, {}, optimizer_state(self.optimizer, names), mask=self.mask)
        self.optimizer = _optimizer(self.settings, self.parameters)
        self._take_moments(moments)
        return True

    def _take_moments(self, state: State) -> None:
        live = live_tensors(self.model)
        moments = {}
        for name, tensor in state.optimizer.items():
            owner = name.rpartition("/")[0]
            moments[name] = fit(tensor, state.pattern(owner), live[owner][1]) if tensor.ndim else tensor
        restore_optimizer(self.optimizer, self.names, moments)


Actions = Mapping[Point, Sequence[Callable[[Run], None]]]


def make_run(model: nn.Module, task: Task, dataset: Dataset, settings: Settings, seeds: Seeds) -> Run:
    """A run at step 0, its optimiser fresh."""
    steps_per_epoch = dataset.splits["train"].steps(settings.batch)
    total = settings.length.iterations(steps_per_epoch)
    if total < 0 or steps_per_epoch < 1:
        raise InputError(f"{dataset.label} has no training batch of {settings.batch}")
    rate_name, rate_options = _named(settings.learning_rate)
    optimizer = _optimizer(settings, model.parameters())
    factor = learning_rates[rate_name](total, steps_per_epoch, **rate_options)
    return Run(model, task, dataset, settings, seeds, optimizer, factor, steps_per_epoch, total)


def train(run: Run, actions: Actions) -> None:
    """Take steps until `run.finished`.

    Points: `start` before the first, `forward` before each forward pass, `gradients` after each backward pass (before clipping),
    `updated` after each optimiser step, `evaluated` after each reading of the validation split, `epoch` at each epoch's end (and at
    the last step).
    """
    settings = run.settings
    base_rates = [group["lr"] for group in run.optimizer.param_groups]
    evaluate_every = max(1, settings.evaluate.iterations(run.steps_per_epoch))
    reseed_foreign = bool(foreign_dropout(run.model))
    at = {point: tuple(actions.get(point, ())) for point in ("start", "forward", "gradients", "updated", "evaluated", "epoch")}
    for act in at["start"]:
        act(run)
    if run.step == 0 and not run.history:
        evaluate(run)
    run.model.train()
    while not run.finished:
        epoch, place = divmod(run.step, run.steps_per_epoch)
        if place == 0:
            run.carried = None
        for inputs, targets in run.dataset.splits["train"].epoch(settings.batch, run.seeds.data_order, epoch, place):
            for act in at["forward"]:
                act(run)
            for name, module in run.dropouts:
                module.place(run.seeds.dropout, name, run.step)
            if reseed_foreign:
                torch.manual_seed(run.seeds.dropout + run.step)
            factor = run.factor(run.step)
            for group, rate in zip(run.optimizer.param_groups, base_rates, strict=True):
                group["lr"] = rate * factor
            outputs, run.carried = run.task.outputs(run.model, inputs, run.carried)
            loss = run.task.loss(outputs, targets)
            value = loss.item()
            if not math.isfinite(value):
                run.diverged = True
                break
            loss.backward()  # type: ignore[no-untyped-call]
            for act in at["gradients"]:
                act(run)
            if settings.clip is not None:
                torch.nn.utils.clip_grad_norm_(run.parameters, settings.clip)
            if not run.skip_update:
                run.optimizer.step()
            run.skip_update = False
            for parameter in run.parameters:
                parameter.grad = None
            run.step += 1
            run.loss_sum += value
            run.loss_count += 1
            for act in at["updated"]:
                act(run)
            if run.step % evaluate_every == 0 or run.step == run.total:
                evaluate(run)
                for act in at["evaluated"]:
                    act(run)
            if run.finished:
                break
        for act in at["epoch"]:
            act(run)


def evaluate(run: Run) -> None:
    """Read the validation split, add a line to the history and keep the state if it is the best so far."""
    was_training = run.model.training
    run.model.eval()
    with torch.no_grad():
        metrics = run.task.evaluate(run.model, run.dataset, "valid", run.settings.evaluate_batch).metrics
    run.model.train(was_training)
    entry: dict[str, float | int] = {"step": run.step, "epoch": run.step / run.steps_per_epoch}
    if run.loss_count:
        entry["train_loss"] = run.loss_sum / run.loss_count
    entry.update({f"valid_{name}": float(value) for name, value in metrics.items() if math.isfinite(value)})
    run.history.append(entry)
    run.loss_sum, run.loss_count = 0.0, 0
    value = float(metrics[run.task.metric.name])
    higher = run.task.metric.higher_is_better
    better = not math.isfinite(run.best_value) or (value > run.best_value if higher else value < run.best_value)
    if run.best is None or (math.isfinite(value) and better):  # a value that is not finite is kept until one is
        run.best, run.best_value, run.waited = run.state(resumable=False), value, 0
    else:
        run.waited += 1


def _optimizer(settings: Settings, parameters: Iterable[nn.Parameter]) -> torch.optim.Optimizer:
    name, options = _named(settings.optimizer)
    optimizer: torch.optim.Optimizer = optimizers[name](parameters, **options)
    return optimizer


def _named(table: Mapping[str, Any]) -> tuple[str, dict[str, Any]]:
    options = dict(table)
    return str(options.pop("name")), options


def _flat(carried: Any) -> tuple[Tensor, ...]:
    """A carried state (None, a tensor, or a tuple of tensors) as a tuple of copies."""
    if carried is None:
        return ()
    tensors = (carried,) if isinstance(carried, Tensor) else tuple(carried)
    return tuple(tensor.detach().clone() for tensor in tensors)


def _nested(carried: tuple[Tensor, ...]) -> Any:
    """A carried state from its tuple of tensors."""
    return None if not carried else carried[0] if len(carried) == 1 else carried
