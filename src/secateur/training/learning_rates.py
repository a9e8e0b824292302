"""Learning-rate schedules by name: a pure function from the step to a factor of the base rate.

Each maker takes the length of training and of an epoch in steps; the step counts from 0, the first update's.
"""

from __future__ import annotations

import math
from collections.abc import Callable

from secateur.registry import learning_rates
from secateur.steps import Step

Factor = Callable[[int], float]


def _warmed(factor: Factor, warmup: int) -> Factor:
    """`factor` with its first `warmup` steps rising linearly from 1/warmup."""
    return lambda step: factor(step) * min(1.0, (step + 1) / warmup) if warmup else factor(step)


@learning_rates.register("constant")
def constant(total: int, steps_per_epoch: int, *, warmup: Step = Step.parse("0it")) -> Factor:  # noqa: B008
    """The base rate throughout, after a linear warm-up."""
    return _warmed(lambda step: 1.0, warmup.iterations(steps_per_epoch))


@learning_rates.register("linear")
def linear(total: int, steps_per_epoch: int, *, warmup: Step = Step.parse("0it"), final: float = 0.0) -> Factor:  # noqa: B008
    """From the base rate down to `final` of it in a straight line, after a linear warm-up."""
    begin = warmup.iterations(steps_per_epoch)
    return _warmed(lambda step: 1.0 + (final - 1.0) * _progress(step, begin, total), begin)


@learning_rates.register("cosine")
def cosine(total: int, steps_per_epoch: int, *, warmup: Step = Step.parse("0it"), final: float = 0.0) -> Factor:  # noqa: B008
    """From the base rate down to `final` of it along half a cosine (Loshchilov and Hutter 2017), after a linear warm-up."""
    begin = warmup.iterations(steps_per_epoch)
    return _warmed(lambda step: final + (1.0 - final) * 0.5 * (1.0 + math.cos(math.pi * _progress(step, begin, total))), begin)


@learning_rates.register("step")
def step_decay(
    total: int,
    steps_per_epoch: int,
    *,
    warmup: Step = Step.parse("0it"),  # noqa: B008
    after: Step = Step.parse("4ep"),  # noqa: B008
    every: Step = Step.parse("1ep"),  # noqa: B008
    factor: float = 0.5,
) -> Factor:
    """The base rate until `after`, then times `factor` at once and again after each `every` (Zaremba et al. 2014: halved each epoch)."""
    start, interval = after.iterations(steps_per_epoch), max(1, every.iterations(steps_per_epoch))
    return _warmed(lambda step: 1.0 if step < start else factor ** (1 + (step - start) // interval), warmup.iterations(steps_per_epoch))


@learning_rates.register("milestones")
def milestones(
    total: int,
    steps_per_epoch: int,
    *,
    warmup: Step = Step.parse("0it"),  # noqa: B008
    at: tuple[Step, ...] = (),
    factor: float = 0.1,
) -> Factor:
    """The base rate times `factor` at each of the moments `at`."""
    moments = [moment.iterations(steps_per_epoch) for moment in at]
    return _warmed(lambda step: factor ** sum(step >= moment for moment in moments), warmup.iterations(steps_per_epoch))


def _progress(step: int, begin: int, total: int) -> float:
    """Fraction of the way from `begin` to the last update (`total` - 1), in [0, 1]."""
    return min(1.0, max(0.0, (step - begin) / max(1, total - 1 - begin)))
