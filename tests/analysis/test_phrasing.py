"""Numbers in words, by example."""

import math

import pytest

from secateur.analysis import phrasing as say
from secateur.analysis.verdicts import Rule

ACCURACY = Rule("accuracy", 0.005)
PERPLEXITY = Rule("perplexity", 0.01, higher_is_better=False, margin_is_relative=True)
BLEU = Rule("bleu", 0.5)


@pytest.mark.parametrize(
    ("kept", "written"),
    [(1.0, "100"), (0.5, "50"), (0.343, "34.3"), (0.0359, "3.6"), (0.00047, "0.047"), (0.25 / 1e6, "0.000025"), (0.09999, "10")],
)
def test_density(kept: float, written: str) -> None:
    assert say.density(kept) == f"{written}\u202f%"


def test_values_and_differences_have_the_metrics_unit() -> None:
    assert say.value("accuracy", 0.67701) == "67.70\u202f%"
    assert say.value("perplexity", 78.4123) == "78.41"
    assert say.value("accuracy", None) == say.value("accuracy", math.nan) == "\u2013"
    assert say.difference(ACCURACY, 0.0042) == "+0.42 points"
    assert say.difference(ACCURACY, -0.0042) == "\u22120.42 points"
    assert say.difference(PERPLEXITY, 0.0123) == "+1.23\u202f%"
    assert say.difference(BLEU, -0.5) == "\u22120.50 BLEU"
    assert say.difference(ACCURACY, -0.000001) == "0.00 points"
    assert say.size(ACCURACY, 0.005) == "0.50 points"


def test_counts_lists_durations_and_large_numbers() -> None:
    assert say.count(1, "replicate") == "one replicate"
    assert say.count(3, "replicate") == "three replicates"
    assert say.count(1234, "run") == "1,234 runs"
    assert say.listed(["a"]) == "a"
    assert say.listed(["a", "b", "c"]) == "a, b and c"
    assert say.duration(4.25) == "4.2\u202fs"
    assert say.duration(59.9) == "1\u202fmin"
    assert say.duration(7500) == "2\u202fh 5\u202fmin"
    assert say.large(5.04e10) == "50.4\u202fG"
    assert say.large(999) == "999"
    assert say.metric_name("macro_f1") == "macro-F1"
