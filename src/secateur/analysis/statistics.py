"""Statistics over replicates: means with t intervals, paired decisions with a margin, power, bootstrap. Pure functions.

Values are numbers, one a replicate. Differences are *oriented*: positive is better, so the same decision serves
accuracy and perplexity. Nothing here knows of arms, densities or frames: see `verdicts`.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np
from numpy.typing import NDArray
from scipy import special

from secateur.errors import InputError

CONFIDENCE = 0.95
POWER = 0.8
FEWEST_FOR_BOOTSTRAP = 10
# measured at ten replicates, 2,000 studies a shape (docs/statistics.md): lowest and highest of normal, heavy-tailed and skewed differences
BOOTSTRAP_COVERAGE = (0.930, 0.946)
MOST_REPLICATES = 1000

Outcome = Literal["matches", "loses", "unclear"]


@dataclass(frozen=True)
class Estimate:
    """The mean of `n` replicates, their standard deviation and the interval of the mean (None from a single replicate)."""

    n: int
    mean: float
    sd: float | None
    low: float | None
    high: float | None
    confidence: float = CONFIDENCE

    @property
    def interval(self) -> tuple[float, float] | None:
        """(lower bound, upper bound), or None when one replicate leaves the spread unknown."""
        return None if self.low is None or self.high is None else (self.low, self.high)

    @property
    def standard_error(self) -> float | None:
        """Standard deviation of the mean, or None from a single replicate."""
        return None if self.sd is None else self.sd / math.sqrt(self.n)

    def lies_above(self, value: float) -> bool:
        """Whether the whole interval lies above `value`. Never, without an interval."""
        return self.low is not None and self.low > value

    def lies_below(self, value: float) -> bool:
        """Whether the whole interval lies below `value`. Never, without an interval."""
        return self.high is not None and self.high < value


def estimate(values: Sequence[float], confidence: float = CONFIDENCE) -> Estimate:
    """Mean with Student's t interval: mean -+ t(n-1) sd / sqrt(n). One value has no interval; none is an `InputError`."""
    array = _finite(values)
    n, mean = array.size, float(array.mean())
    if n == 1:
        return Estimate(1, mean, None, None, None, confidence)
    sd = float(array.std(ddof=1))
    half = critical_t(n - 1, confidence) * sd / math.sqrt(n)
    return Estimate(n, mean, sd, mean - half, mean + half, confidence)


def paired_differences(values: Sequence[float], against: Sequence[float], relative: bool = False) -> list[float]:
    """Replicate by replicate, `values` minus `against`; as a fraction of `against` when `relative`."""
    if len(values) != len(against):
        raise InputError(f"paired differences need as many values on both sides, not {len(values)} and {len(against)}")
    return [(a - b) / abs(b) if relative else a - b for a, b in zip(values, against, strict=True)]


def critical_t(df: int, confidence: float = CONFIDENCE) -> float:
    """The quantile of Student's t that a two-sided interval of this confidence uses."""
    return float(special.stdtrit(df, 0.5 + confidence / 2))


def p_value(differences: Sequence[float], null: float = 0.0, side: Literal["greater", "less", "two-sided"] = "two-sided") -> float | None:
    """p of the paired t test of "the mean difference is `null`"; None from one replicate.

    Differences without any spread give 0 or 1 (or 1 at the null itself).
    """
    of = estimate(differences)
    if of.standard_error is None:
        return None
    shift = of.mean - null
    t = shift / of.standard_error if of.standard_error else math.copysign(math.inf, shift) if shift else 0.0
    df = of.n - 1
    if side == "greater":
        return float(special.stdtr(df, -t))
    if side == "less":
        return float(special.stdtr(df, t))
    return float(min(1.0, 2 * special.stdtr(df, -abs(t))))


def decide(differences: Sequence[float], margin: float, confidence: float = CONFIDENCE) -> Outcome:
    """Non-inferiority on oriented paired differences (positive is better).

    `matches` when the interval's lower bound is above -margin, `loses` when its upper bound is below -margin, else
    `unclear`. Each is a one-sided test at (1 - confidence) / 2: a ticket that is truly worse by exactly the margin is
    called a match in at most 2.5 % of studies.
    """
    if margin < 0:
        raise InputError(f"a margin is not negative: {margin}")
    of = estimate(differences, confidence)
    if of.lies_above(-margin):
        return "matches"
    if of.lies_below(-margin):
        return "loses"
    return "unclear"


def fixed_sequence(shown: Sequence[bool]) -> int:
    """How many hypotheses, tested in the order given and up to the first that is not shown, are shown.

    Stopping keeps the chance of any false claim at the level of one test, however many densities there are
    (Maurer, Hothorn & Lehmacher 1995).
    """
    for index, this in enumerate(shown):
        if not this:
            return index
    return len(shown)


def hedges_g(differences: Sequence[float]) -> float | None:
    """Standardised mean of paired differences (Cohen's d_z) with Hedges' exact small-sample factor.

    None from fewer than three replicates (the factor does not exist at one degree of freedom) or without spread.
    """
    of = estimate(differences)
    if of.n < 3 or not of.sd:
        return None
    half = (of.n - 1) / 2
    factor = math.exp(math.lgamma(half) - math.lgamma(half - 0.5)) / math.sqrt(half)
    return factor * of.mean / of.sd


def power(effect: float, n: int, confidence: float = CONFIDENCE, sides: Literal[1, 2] = 2) -> float:
    """Chance that the t test of `n` paired differences shows a standardised `effect` (difference / sd): noncentral t.

    `sides=1` counts only showings in the effect's direction, at (1 - confidence) / 2: the power of `decide`.
    """
    if n < 2:
        return 0.0
    df, noncentrality = n - 1, abs(effect) * math.sqrt(n)
    critical = critical_t(df, confidence)
    in_direction = 1.0 - _noncentral_cdf(df, noncentrality, critical)
    if sides == 1:
        return in_direction
    return in_direction + _noncentral_cdf(df, noncentrality, -critical)


def detectable_difference(sd: float, n: int, confidence: float = CONFIDENCE, wanted_power: float = POWER) -> float | None:
    """The smallest true difference that `n` replicates of this spread show with `wanted_power`. None for n < 2."""
    if n < 2:
        return None
    if sd == 0.0:
        return 0.0
    low, high = 0.0, 1.0
    while power(high, n, confidence) < wanted_power:
        low, high = high, high * 2
    return sd * _bisect(lambda effect: power(effect, n, confidence) - wanted_power, low, high)


def sd_upper_limit(sd: float, n: int, confidence: float = 0.8) -> float:
    """One-sided upper confidence limit of a standard deviation from `n` normal values: sd sqrt((n-1) / chi2).

    Planning with this limit instead of the estimate keeps a small pilot from promising too much (Browne 1995).
    """
    df = n - 1
    return sd * math.sqrt(df / float(special.chdtri(df, confidence)))


def replicates_to_settle(
    difference: float,
    sd: float,
    margin: float,
    confidence: float = CONFIDENCE,
    wanted_power: float = POWER,
    most: int = MOST_REPLICATES,
) -> int | None:
    """Replicates with which `decide` settles (either way) with `wanted_power`, if `difference` and `sd` are the truth.

    `difference` is oriented. None when more than `most` would be needed: a true difference at -margin never settles.
    """
    distance = abs(difference + margin)
    if distance == 0.0:
        return None
    if sd == 0.0:
        return 2
    effect = distance / sd
    if power(effect, most, confidence, sides=1) < wanted_power:
        return None
    low, high = 1, 2
    while power(effect, high, confidence, sides=1) < wanted_power:
        low, high = high, min(2 * high, most)
    while high - low > 1:
        middle = (low + high) // 2
        if power(effect, middle, confidence, sides=1) < wanted_power:
            low = middle
        else:
            high = middle
    return high


def bootstrap_interval(values: Sequence[float], seed: int, resamples: int = 9999, confidence: float = CONFIDENCE) -> Estimate:
    """Mean with the studentised bootstrap interval (Efron & Tibshirani 1993, 12.5); `InputError` below ten values.

    Chosen over BCa for its coverage at ten replicates (docs/statistics.md has both, measured).
    """
    array = _finite(values)
    n = array.size
    if n < FEWEST_FOR_BOOTSTRAP:
        raise InputError(f"a bootstrap of {n} replicates misleads: it needs {FEWEST_FOR_BOOTSTRAP}; use the t interval")
    mean, sd = float(array.mean()), float(array.std(ddof=1))
    if sd == 0.0:
        return Estimate(n, mean, sd, mean, mean, confidence)
    drawn = array[np.random.Generator(np.random.PCG64(seed)).integers(0, n, (resamples, n))]
    errors = drawn.std(axis=1, ddof=1) / math.sqrt(n)
    usable = errors > 0
    studentised = (drawn[usable].mean(axis=1) - mean) / errors[usable]
    low, high = np.quantile(studentised, [0.5 - confidence / 2, 0.5 + confidence / 2])
    error = sd / math.sqrt(n)
    return Estimate(n, mean, sd, mean - float(high) * error, mean - float(low) * error, confidence)


def _finite(values: Sequence[float]) -> NDArray[np.float64]:
    array = np.asarray(values, dtype=np.float64)
    if array.ndim != 1 or array.size == 0:
        raise InputError("statistics need at least one value, one a replicate")
    if not np.isfinite(array).all():
        raise InputError(
            f"statistics need finite values, not {array[~np.isfinite(array)][0]}: count a diverged replicate as a loss instead"
        )
    return array


def _noncentral_cdf(df: int, noncentrality: float, t: float) -> float:
    value = float(special.nctdtr(df, noncentrality, t))
    if math.isnan(value):  # far in a tail the series gives up: the normal approximation is exact to many digits there
        shifted = (t * (1 - 1 / (4 * df)) - noncentrality) / math.sqrt(1 + t * t / (2 * df))
        return float(special.ndtr(shifted))
    return min(1.0, max(0.0, value))


def _bisect(function: Callable[[float], float], low: float, high: float) -> float:
    while high - low > 1e-13 * max(1.0, high):
        middle = (low + high) / 2
        if function(middle) < 0:
            low = middle
        else:
            high = middle
    return (low + high) / 2
