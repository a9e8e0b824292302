"""Numbers of a study in words: one way to write a metric, a difference, a density, a count, for terminal and page alike."""

from __future__ import annotations

import math
from collections.abc import Sequence

from secateur.analysis.verdicts import Comparison, Rule

_NAMES = {
    "accuracy": "accuracy",
    "macro_f1": "macro-F1",
    "micro_f1": "micro-F1",
    "f1": "F1",
    "bleu": "BLEU",
    "bleu4_batch": "batch BLEU-4",
    "perplexity": "perplexity",
    "loss": "loss",
}
_FRACTIONS = ("accuracy", "f1")
_COUNTS = ("no", "one", "two", "three", "four", "five", "six", "seven", "eight", "nine", "ten", "eleven", "twelve")
_MINUS = "\u2212"
NARROW = "\u202f"


def metric_name(metric: str) -> str:
    """The metric as a reader calls it: `macro_f1` is macro-F1."""
    return _NAMES.get(metric, metric.replace("_", " "))


def is_fraction(metric: str) -> bool:
    """Whether the metric is a fraction of one, written as a percentage (accuracy, F1)."""
    return any(word in metric for word in _FRACTIONS)


def value(metric: str, number: float | None) -> str:
    """A metric's value: 67.70 % for fractions, else four digits. A dash where there is none."""
    if number is None or not math.isfinite(number):
        return "\u2013"
    return f"{100 * number:.2f}{NARROW}%" if is_fraction(metric) else f"{number:.4g}"


def signed(number: float, digits: int) -> str:
    """The number with its sign, a true minus."""
    rounded = f"{abs(number):.{digits}f}"
    if float(rounded) == 0:
        return rounded
    return f"{'+' if number > 0 else _MINUS}{rounded}"


def difference(rule: Rule, number: float | None, unit: bool = True) -> str:
    """A difference of the deciding metric: +0.42 points, or -1.3 % where the margin is relative."""
    if number is None:
        return "\u2013"
    if rule.margin_is_relative:
        return signed(100 * number, 2) + (f"{NARROW}%" if unit else "")
    if is_fraction(rule.metric):
        return signed(100 * number, 2) + (" points" if unit else "")
    return signed(number, 2) + (f" {metric_name(rule.metric)}" if unit else "")


def size(rule: Rule, number: float) -> str:
    """A difference's size, without sign: the margin, or what the replicates could have shown."""
    return difference(rule, number).lstrip("+" + _MINUS)


def interval(rule: Rule, of: Comparison) -> str:
    """The 95 % interval of a comparison, or what stands in its place."""
    if of.interval is None:
        return "no interval"
    low, high = of.interval
    return f"{difference(rule, low, unit=False)} to {difference(rule, high, unit=False)}"


def density(kept: float) -> str:
    """Kept weights: 41 %, 3.6 %, 0.047 %."""
    return f"{percent_digits(100 * kept)}{NARROW}%"


def percent_digits(percent: float) -> str:
    """A percentage to two or three significant digits, never in exponents: 100, 41, 3.6, 0.047."""
    if percent >= 10:
        return f"{percent:.1f}".removesuffix(".0")
    return f"{percent:.2g}" if percent >= 0.0001 else f"{percent:.6f}"


def count(number: int, noun: str) -> str:
    """`three replicates`, `one replicate`, `24 replicates`."""
    word = _COUNTS[number] if number < len(_COUNTS) else f"{number:,}"
    return f"{word} {noun}{'' if number == 1 else 's'}"


def listed(words: Sequence[str]) -> str:
    """`a`, `a and b`, `a, b and c`."""
    if len(words) < 2:
        return "".join(words)
    return f"{', '.join(words[:-1])} and {words[-1]}"


def duration(seconds: float) -> str:
    """45 s, 3 min 20 s, 2 h 5 min."""
    whole = round(seconds)
    if whole < 60:
        return f"{seconds:.1f}{NARROW}s" if whole < 10 else f"{whole}{NARROW}s"
    minutes, rest = divmod(whole, 60)
    if minutes < 60:
        return f"{minutes}{NARROW}min" + (f" {rest}{NARROW}s" if rest else "")
    hours, minutes = divmod(minutes, 60)
    return f"{hours}{NARROW}h" + (f" {minutes}{NARROW}min" if minutes else "")


def about(seconds: float) -> str:
    """45 s, 20 min, 5 h, 3 days: an estimate's worth of a duration."""
    for unit, size, most in (("s", 1, 90), ("min", 60, 90), ("h", 3600, 48)):
        if seconds < size * most:
            return f"{seconds / size:.0f}{NARROW}{unit}"
    return f"{seconds / 86400:.0f}{NARROW}days"


def large(number: float) -> str:
    """1.2 k, 3.4 M, 5.6 G, 7.8 T: steps and multiply-adds."""
    for factor, letter in ((1e15, "P"), (1e12, "T"), (1e9, "G"), (1e6, "M"), (1e3, "k")):
        if abs(number) >= factor:
            return f"{number / factor:.3g}{NARROW}{letter}"
    return f"{number:.3g}"
