"""Masks that change while training: gradual pruning, soft movement, dynamic sparsity, and the Early-Bird search.

Each is a set of callables for the loop's points. What they gather from step to step lies in `run.gathered`, which
checkpoints hold, so that a killed run goes on with the same masks; everything else is a function of the step.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from typing import Any, Protocol

import torch
from torch import Tensor

from secateur.errors import PruningError
from secateur.linear_maps import prunable_mask
from secateur.masks import Mask, parameters_of, zero_where
from secateur.pruning.drawing import draw_mask
from secateur.pruning.dynamic import clear
from secateur.pruning.keeping import keep
from secateur.pruning.movement import Movement
from secateur.pruning.schedules import Dynamic, EarlyBird, Gradual, SoftMovement
from secateur.registry import dynamic_methods, scores
from secateur.seeds import generator
from secateur.training.execution import Execution, make_dense, make_sparse
from secateur.training.loop import Run
from secateur.training.masking import KeepPruned

Named = Mapping[str, Any]
Drawn = Callable[[int, Mask], None]


@dataclass(frozen=True)
class How:
    """How a mask is drawn while training: a recipe's `prune` table, at one density. `batches` are what a score sees."""

    density: float
    prunable: tuple[str, ...]
    score: Named
    scope: Named
    unit: Named
    rates: Mapping[str, float]
    floor: int
    seed: int
    batches: Iterable[Any] | None = None

    def draw(self, run: Run, mask: Mask, density: float) -> Mask:
        """The mask that keeps the best of `mask` at `density`, by the network as it is now. Random draws depend on the step alone."""
        return draw_mask(
            run.model,
            mask,
            density,
            score=dict(self.score),
            scope=dict(self.scope),
            unit=dict(self.unit),
            rates=self.rates,
            floor=self.floor,
            batches=self.batches,
            loss=run.loss,
            generator=generator(self.seed, run.step),
            applied=run.settings.masking == "enforced" and run.mask is mask,
        )


class ChangingMask(Protocol):
    """What acts at the loop's points to change `run.mask`; it enforces each new mask itself."""

    def start(self, run: Run) -> None:
        """Before the first step, and again when a run is resumed."""
        ...

    def forward(self, run: Run) -> None:
        """Before the forward pass."""
        ...

    def gradients(self, run: Run) -> None:
        """After the backward pass; of dense layers the gradients of pruned weights are still there."""
        ...

    def updated(self, run: Run) -> None:
        """After the optimiser's step."""
        ...


class GradualPruning:
    """Prunes along a ramp inside one training run (Zhu and Gupta 2017); with the score `movement`, by what training gathered."""

    def __init__(self, schedule: Gradual, how: How, keeper: KeepPruned, drawn: Drawn, execution: Execution) -> None:
        self.schedule, self.how, self.keeper, self.drawn, self.execution = schedule, how, keeper, drawn, execution
        self.gathers = bool(scores.entry(str(how.score["name"])).traits.get("in_loop"))

    def start(self, run: Run) -> None:
        """Begin with everything kept, or pruned as far as the ramp asks at its start."""
        self.ramp = self.schedule.ramp(self.how.density, run.total, run.steps_per_epoch)
        if run.mask is None:
            run.mask = prunable_mask(run.model, self.how.prunable)
            self._prune(run)
        make_sparse(run, self.execution)
        self.keeper.enforce(run)

    def forward(self, run: Run) -> None:
        """Nothing is changed."""

    def gradients(self, run: Run) -> None:
        """Gather movement."""
        if self.gathers:
            _gather_movement(run, run.optimizer.param_groups[0]["lr"])

    def updated(self, run: Run) -> None:
        """Prune to where the ramp is now."""
        if self.ramp.updates_at(run.step) and self._prune(run):
            make_sparse(run, self.execution)
            self.keeper.enforce(run)

    def _prune(self, run: Run) -> bool:
        """Draw the mask of this step, if it is another one; the layers are dense then."""
        assert run.mask is not None
        density = min(self.ramp.value_at(run.step), 1.0)
        if run.step < self.ramp.begin or density >= run.mask.density:
            return False
        make_dense(run)
        drawn = _unless_diverged(run, self._moved if self.gathers else self.how.draw, run.mask, density)
        if drawn is None:
            return False
        run.mask = drawn
        run.best, run.waited = None, 0  # a better state of a denser network is no result at this density
        self.drawn(run.step, run.mask)
        return True

    def _moved(self, run: Run, mask: Mask, density: float) -> Mask:
        how, values = self.how, {name: run.gathered[name] for name in mask}
        return keep(values, mask, density, scope=dict(how.scope), unit=dict(how.unit), rates=how.rates, floor=how.floor, maps=run.maps)


class SoftMovementPruning:
    """Prunes what scores below a rising threshold (Sanh et al. 2020, soft movement); `strength` pulls the scores down.

    What is pruned stays so: its weights are zero, and collect no more movement.
    """

    def __init__(self, schedule: SoftMovement, strength: float, prunable: tuple[str, ...], keeper: KeepPruned, drawn: Drawn) -> None:
        self.schedule, self.strength, self.prunable, self.keeper, self.drawn = schedule, strength, prunable, keeper, drawn

    def start(self, run: Run) -> None:
        """Begin with everything kept."""
        self.ramp = self.schedule.ramp(run.total, run.steps_per_epoch)
        if run.mask is None:
            run.mask = prunable_mask(run.model, self.prunable)
            self.drawn(run.step, run.mask)
        self.keeper.enforce(run)

    def forward(self, run: Run) -> None:
        """Nothing is changed."""

    def gradients(self, run: Run) -> None:
        """Take the scores' step."""
        _gather_movement(run, self.schedule.rate * run.factor(run.step), self.strength)

    def updated(self, run: Run) -> None:
        """Prune to where the threshold is now."""
        assert run.mask is not None
        if self.ramp.updates_at(run.step):
            mask = Movement(run.gathered).kept_above(self.ramp.value_at(run.step), run.mask)
            if mask.kept < run.mask.kept:
                run.mask = mask
                run.best, run.waited = None, 0  # a better state of a denser network is no result at this density
                self.keeper.enforce(run)
                self.drawn(run.step, mask)


class DynamicSparsity:
    """Sparse from the first step: drops and grows weights at the schedule's moments (SET, RigL, SNFS; `static` never does).

    At a renewal that reads gradients the optimiser takes no step, as in algorithm 1 of Evci et al. (2020); layers that are sparse
    else are dense for that step. Weights that grow start at zero with zero moments.
    """

    smoothing = 0.9

    def __init__(self, schedule: Dynamic, how: How, keeper: KeepPruned, drawn: Drawn, execution: Execution) -> None:
        self.schedule, self.how, self.keeper, self.drawn, self.execution = schedule, how, keeper, drawn, execution
        self.entry = dynamic_methods.entry(schedule.method)

    def start(self, run: Run) -> None:
        """Draw the first mask over the initial weights."""
        self.renewal = self.schedule.renewal(run.total, run.steps_per_epoch)
        if run.mask is None:
            run.mask = self.how.draw(run, prunable_mask(run.model, self.how.prunable), self.how.density)
            self.drawn(run.step, run.mask)
        make_sparse(run, self.execution)
        self.keeper.enforce(run)

    def forward(self, run: Run) -> None:
        """Where this step's gradients decide what grows, make layers dense, which have a gradient at every place."""
        if self.entry.traits["needs_gradients"] and self.renewal.updates_at(run.step) and make_dense(run):
            self.keeper.enforce(run)

    def gradients(self, run: Run) -> None:
        """Gather momentum where the method wants it; renew by gradients."""
        assert run.mask is not None
        if self.entry.traits["needs_momentum"]:
            for name, parameter in parameters_of(run.model, run.mask).items():
                gathered = run.gathered.setdefault(name, torch.zeros_like(parameter))
                gathered.lerp_(_gradient(parameter), 1 - self.smoothing)
        if self.entry.traits["needs_gradients"] and self.renewal.updates_at(run.step):
            parameters = parameters_of(run.model, run.mask)
            momentum = self.entry.traits["needs_momentum"]
            self._renew(run, {name: run.gathered[name] if momentum else _gradient(parameter) for name, parameter in parameters.items()})
            run.skip_update = True

    def updated(self, run: Run) -> None:
        """Renew where no gradients are needed; after a renewal layers are sparse again."""
        if self.entry.traits["needs_gradients"]:
            renewed = self.renewal.updates_at(run.step - 1)
        else:
            renewed = self.renewal.updates_at(run.step) and self.schedule.method != "static"
            if renewed:
                make_dense(run)
                self._renew(run, None)
        if renewed and make_sparse(run, self.execution):
            self.keeper.enforce(run)

    def _renew(self, run: Run, gradients: Mapping[str, Tensor] | None) -> None:
        assert run.mask is not None
        parameters = parameters_of(run.model, run.mask)
        drop = self.renewal.drop_fraction(run.step)
        renewed = self.entry.make(parameters, gradients, run.mask, drop, generator(self.how.seed, run.step))
        if run.settings.masking != "enforced":  # else zero already, as all that is pruned
            for name, parameter in parameters.items():
                grown = renewed.mask.pattern(name), renewed.before.pattern(name)
                zero_where(parameter, *grown)
                clear(run.optimizer.state.get(parameter, {}), *grown)
        run.mask = renewed.mask
        self.keeper.enforce(run)
        self.drawn(run.step, renewed.mask)


def stays_dense(schedule: Gradual | SoftMovement | Dynamic | EarlyBird, score: str) -> bool:
    """Whether training needs dense layers throughout: gradients of pruned weights at every step, or the whole network."""
    if isinstance(schedule, Dynamic):
        return bool(dynamic_methods.entry(schedule.method).traits["needs_momentum"])
    return isinstance(schedule, EarlyBird) or bool(scores.entry(score).traits.get("in_loop"))


class EarlyBirdSearch:
    """Trains the whole network, draws a mask now and then, stops once masks have settled (You et al. 2020).

    The ticket is the last mask.
    """

    def __init__(self, schedule: EarlyBird, how: How, drawn: Drawn, earlier: Callable[[], list[Mask]]) -> None:
        self.schedule, self.how, self.drawn, self.earlier = schedule, how, drawn, earlier
        self.masks: list[Mask] = []

    def start(self, run: Run) -> None:
        """Take up the masks that an interrupted run drew."""
        self.whole = prunable_mask(run.model, self.how.prunable)
        self.interval = self.schedule.interval(run.steps_per_epoch)
        self.masks = self.earlier() if run.step else []

    def forward(self, run: Run) -> None:
        """Nothing is changed."""

    def gradients(self, run: Run) -> None:
        """Nothing is changed."""

    def updated(self, run: Run) -> None:
        """Draw a mask where one is due, or where training ends; stop when they have settled."""
        if run.step % self.interval == 0 or run.step == run.total:
            mask = _unless_diverged(run, self.how.draw, self.whole, self.how.density)
            if mask is None:
                return
            self.masks.append(mask)
            self.drawn(run.step, mask)
            if self.schedule.settled(self.masks):
                run.until = run.step


def _unless_diverged(run: Run, draw: Callable[[Run, Mask, float], Mask], mask: Mask, density: float) -> Mask | None:
    """draw(run, mask, density); None where weights or what was gathered are no numbers any more: then the run has diverged."""
    try:
        return draw(run, mask, density)
    except PruningError:
        if all(bool(torch.isfinite(its).all()) for its in (*run.parameters, *run.gathered.values())):
            raise
        run.diverged = True
        return None


def _gather_movement(run: Run, rate: float, strength: float = 0.0) -> None:
    """Take a step of the movement that `run.gathered` holds, by the gradients that are there."""
    assert run.mask is not None
    parameters = parameters_of(run.model, run.mask)
    moved = Movement({name: run.gathered.setdefault(name, torch.zeros_like(parameter)) for name, parameter in parameters.items()})
    moved.update_(parameters, {name: _gradient(parameter) for name, parameter in parameters.items()}, rate, strength)


def _gradient(parameter: Tensor) -> Tensor:
    """A parameter's gradient; zeros where the last batch did not reach it."""
    return torch.zeros_like(parameter) if parameter.grad is None else parameter.grad
