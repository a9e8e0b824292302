"""When to prune and how far: frozen settings, and pure functions of the step.

`densities()` of a schedule lists the densities of levels 1, 2, … (level 0 is dense); none where density comes out of training.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

from secateur.errors import PruningError
from secateur.masks import Mask
from secateur.registry import dynamic_methods, schedules
from secateur.steps import Step

Decay = Literal["cosine", "constant"]

_START = Step.parse("0it")
_HUNDRED_STEPS = Step.parse("100it")
_EPOCH = Step.parse("1ep")


@schedules.register("one-shot", levels="independent")
@dataclass(frozen=True, kw_only=True)
class OneShot:
    """Prune once, at each of several densities: a level each, each from the dense network.

    `when` is `init`, `trained`, or a step (`4ep`). `compression` lists -log10(density) instead of `density`. `rounds` > 1
    reaches a density in as many rounds of scoring and pruning, at exponentially spaced densities (SynFlow: 100).
    """

    when: str = "init"
    density: tuple[float, ...] | None = None
    compression: tuple[float, ...] | None = None
    rounds: int = 1

    def __post_init__(self) -> None:
        if self.density is not None and self.compression is not None:
            raise PruningError("one-shot: give density or compression, not both")
        if self.when not in ("init", "trained"):
            Step.parse(self.when)
        if self.rounds < 1:
            raise PruningError(f"one-shot: rounds = {self.rounds}; there is at least one")
        _check_densities("one-shot", self.densities())

    def densities(self) -> tuple[float, ...]:
        """The density of each level; 0.1 where none is given."""
        if self.compression is not None:
            return tuple(10.0**-compression for compression in self.compression)
        return self.density if self.density is not None else (0.1,)


@schedules.register("iterative", levels="successive")
@dataclass(frozen=True, kw_only=True)
class Iterative:
    """Train, prune, rewind, `levels` times; each level keeps the fraction `keep_each` of what the one before kept."""

    keep_each: float = 0.8
    levels: int = 20

    def __post_init__(self) -> None:
        if not 0 < self.keep_each < 1:
            raise PruningError(f"iterative: keep_each = {self.keep_each} lies outside of (0, 1)")
        if self.levels < 1:
            raise PruningError(f"iterative: levels = {self.levels}; there is at least one")

    def densities(self) -> tuple[float, ...]:
        """keep_each, keep_each**2, …"""
        return tuple(self.keep_each**level for level in range(1, self.levels + 1))


@dataclass(frozen=True, slots=True)
class Ramp:
    """A density or threshold, from `initial` to `final` over steps `begin` to `end`, renewed every `every` (all in optimiser steps)."""

    initial: float
    final: float
    begin: int
    end: int
    every: int
    power: float

    def value_at(self, step: int) -> float:
        """What is due at `step`: final + (initial - final) * (1 - (step - begin) / (end - begin))**power, held outside.

        Zhu & Gupta 2017, equation 1, in densities; they use power 3.
        """
        if step <= self.begin:
            return self.initial if self.begin < self.end or step < self.begin else self.final
        if step >= self.end:
            return self.final
        left = 1.0 - (step - self.begin) / (self.end - self.begin)
        return self.final + (self.initial - self.final) * math.pow(left, self.power)

    def updates_at(self, step: int) -> bool:
        """Whether the mask is renewed at `step`: every `every` steps from `begin`, and at `end`, so that `final` is reached."""
        return self.begin <= step <= self.end and ((step - self.begin) % self.every == 0 or step == self.end)


@schedules.register("gradual", levels="independent")
@dataclass(frozen=True, kw_only=True)
class Gradual:
    """Prune inside one training run, polynomially, from density `initial` to each of `final` (a level each).

    `begin` and `end` are moments of training (`end` None: at three quarters of it); `every` is the time between updates.
    Zhu & Gupta 2017 is `power` 3.
    """

    initial: float = 1.0
    final: tuple[float, ...] = (0.1,)
    begin: Step = _START
    end: Step | None = None
    every: Step = _HUNDRED_STEPS
    power: float = 3.0

    def __post_init__(self) -> None:
        _check_densities("gradual", (self.initial, *self.final))
        if any(final > self.initial for final in self.final):
            raise PruningError(f"gradual: a final density of {max(self.final)} lies above the initial one, {self.initial}")
        if self.power <= 0:
            raise PruningError(f"gradual: power = {self.power} is not positive")

    def densities(self) -> tuple[float, ...]:
        """The final density of each level."""
        return self.final

    def ramp(self, final: float, total_steps: int, steps_per_epoch: int) -> Ramp:
        """The ramp to `final` in a training of `total_steps`; `PruningError` when it does not fit into the training."""
        begin, end = _moments("gradual", self.begin, self.end, total_steps, steps_per_epoch)
        return Ramp(self.initial, final, begin, end, _positive("gradual", "every", self.every, steps_per_epoch), self.power)


@schedules.register("soft-movement", levels="independent")
@dataclass(frozen=True, kw_only=True)
class SoftMovement:
    """Prune inside one training run what scores sigmoid(S) <= a rising threshold; a level each `strength`, whose density comes out.

    Sanh et al. 2020: scores S, zero at first, descend the loss + `strength` * the mean of sigmoid(S), at the learning rate `rate` (times
    the factor that `train.learning_rate` gives the step). The threshold rises from 0 at `begin` to `threshold` at `end` (None: at three
    quarters of training), polynomially; `every` is the time between updates of the mask.
    """

    strength: tuple[float, ...] = (10.0,)
    threshold: float = 0.1
    rate: float = 1000.0
    begin: Step = _START
    end: Step | None = None
    every: Step = _HUNDRED_STEPS
    power: float = 3.0

    def __post_init__(self) -> None:
        if not self.strength or min(self.strength) < 0:
            raise PruningError(f"soft-movement: strength = {list(self.strength)}; give at least one, none below 0")
        if not 0 < self.threshold < 1:
            raise PruningError(f"soft-movement: threshold = {self.threshold} lies outside of (0, 1)")
        for key, value in (("rate", self.rate), ("power", self.power)):
            if value <= 0:
                raise PruningError(f"soft-movement: {key} = {value} is not positive")

    def densities(self) -> tuple[float, ...]:
        """None: the densities of the levels come out of training."""
        return ()

    def ramp(self, total_steps: int, steps_per_epoch: int) -> Ramp:
        """The threshold's ramp in a training of `total_steps`; `PruningError` when it does not fit into the training."""
        begin, end = _moments("soft-movement", self.begin, self.end, total_steps, steps_per_epoch)
        return Ramp(0.0, self.threshold, begin, end, _positive("soft-movement", "every", self.every, steps_per_epoch), self.power)


@dataclass(frozen=True, slots=True)
class Renewal:
    """When a dynamic mask drops and grows, and how much: every `every` steps, up to and without `end`."""

    every: int
    end: int
    drop: float
    decay: Decay

    def updates_at(self, step: int) -> bool:
        """Whether the mask is renewed at `step`: never at step 0, never from `end` on."""
        return 0 < step < self.end and step % self.every == 0

    def drop_fraction(self, step: int) -> float:
        """The part of a layer's kept weights that is dropped at `step`: `drop`, or drop/2 * (1 + cos(pi * step / end)).

        Evci et al. 2020 (RigL), section 3.
        """
        if step >= self.end:
            return 0.0
        return self.drop if self.decay == "constant" else self.drop / 2 * (1 + math.cos(math.pi * step / self.end))


@schedules.register("dynamic", levels="independent")
@dataclass(frozen=True, kw_only=True)
class Dynamic:
    """Sparse from the first step, at each of `density` (a level each); weights are dropped and grown while training.

    `method` is `static` (random mask, never changed), `set`, `rigl` or `snfs`; the first mask is drawn by the score and
    scope of the recipe (random, erk). The mask changes every `every` steps until `end` (None: three quarters of training).
    """

    method: str = "rigl"
    density: tuple[float, ...] = (0.1,)
    every: Step = _HUNDRED_STEPS
    end: Step | None = None
    drop: float = 0.3
    decay: Decay = "cosine"

    def __post_init__(self) -> None:
        _check_densities("dynamic", self.density)
        dynamic_methods.entry(self.method)
        if not 0 <= self.drop <= 1:
            raise PruningError(f"dynamic: drop = {self.drop} lies outside of [0, 1]")

    def densities(self) -> tuple[float, ...]:
        """The density of each level."""
        return self.density

    def renewal(self, total_steps: int, steps_per_epoch: int) -> Renewal:
        """The times of renewal in a training of `total_steps`."""
        end = self.end.iterations(steps_per_epoch) if self.end is not None else total_steps * 3 // 4
        return Renewal(_positive("dynamic", "every", self.every, steps_per_epoch), min(end, total_steps), self.drop, self.decay)


@schedules.register("early-bird", levels="independent")
@dataclass(frozen=True, kw_only=True)
class EarlyBird:
    """Draw a mask every `every`; stop training and prune once masks have settled (You et al. 2020).

    Settled: the last `window` distances between masks are all below `threshold`. `compare` says which: of each mask to the
    one before (`last`, the paper's text), or of the newest to each of the `window` before it (`window`, its code).
    """

    density: tuple[float, ...] = (0.1,)
    every: Step = _EPOCH
    threshold: float = 0.1
    window: int = 5
    compare: Literal["last", "window"] = "last"

    def __post_init__(self) -> None:
        _check_densities("early-bird", self.density)
        if self.window < 1:
            raise PruningError(f"early-bird: window = {self.window}; it holds at least one distance")
        if not 0 < self.threshold <= 1:
            raise PruningError(f"early-bird: threshold = {self.threshold} lies outside of (0, 1]")

    def densities(self) -> tuple[float, ...]:
        """The density of each level."""
        return self.density

    def interval(self, steps_per_epoch: int) -> int:
        """Optimiser steps between masks."""
        return _positive("early-bird", "every", self.every, steps_per_epoch)

    def settled(self, masks: Sequence[Mask]) -> bool:
        """Whether the masks drawn so far, oldest first, have settled. Only the last `window` + 1 are read."""
        recent = masks[-self.window - 1 :]
        if len(recent) <= self.window:
            return False
        if self.compare == "last":
            distances = [new.distance(old) for old, new in itertools.pairwise(recent)]
        else:
            distances = [recent[-1].distance(old) for old in recent[:-1]]
        return max(distances) < self.threshold


Schedule = OneShot | Iterative | Gradual | SoftMovement | Dynamic | EarlyBird


def exponential_densities(start: float, target: float, rounds: int) -> tuple[float, ...]:
    """Densities of `rounds` rounds from `start` to `target`: start * (target / start)**(round / rounds), Tanaka et al. 2020.

    A target of zero, which no geometric sequence reaches, is approached linearly.
    """
    if rounds < 1:
        raise PruningError(f"rounds = {rounds}; there is at least one")
    if target <= 0 or start <= 0:
        return tuple(start + (target - start) * number / rounds for number in range(1, rounds + 1))
    return (*(start * (target / start) ** (number / rounds) for number in range(1, rounds)), target)


def _check_densities(schedule: str, densities: Sequence[float]) -> None:
    if not densities:
        raise PruningError(f"{schedule}: give at least one density")
    for density in densities:
        if not 0 <= density <= 1:
            raise PruningError(f"{schedule}: density {density} lies outside of [0, 1]")


def _moments(schedule: str, begin: Step, end: Step | None, total_steps: int, steps_per_epoch: int) -> tuple[int, int]:
    """Where a ramp begins and ends, in optimiser steps; None is three quarters of training."""
    first = begin.iterations(steps_per_epoch)
    last = end.iterations(steps_per_epoch) if end is not None else total_steps * 3 // 4
    if not 0 <= first <= last <= total_steps:
        raise PruningError(f"{schedule}: begin = {first} and end = {last} do not lie in order within a training of {total_steps} steps")
    return first, last


def _positive(schedule: str, key: str, length: Step, steps_per_epoch: int) -> int:
    steps = length.iterations(steps_per_epoch)
    if steps < 1:
        raise PruningError(f"{schedule}: {key} = {length} is less than one step")
    return steps
