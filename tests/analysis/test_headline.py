"""The headline says in words what the verdicts say, no more."""

from typing import Any

import polars as pl
import pytest

from secateur.analysis.headline import Headline, headline
from secateur.analysis.verdicts import Rule, judge

DENSE = [0.900, 0.910, 0.905]
RULE = Rule("accuracy", 0.005)


def told(
    arms: dict[str, list[float | None]], controls: dict[str, str] | None = None, spread: float = 0.0005, rule: Rule = RULE
) -> Headline:
    """The headline of a study whose arms differ from dense by these amounts, level after level at half each; None diverges."""
    rows: list[dict[str, Any]] = []
    for arm, shifts in {"dense": [0.0], **arms}.items():
        for level, shift in enumerate(shifts, start=0 if arm == "dense" else 1):
            for replicate, value in enumerate(DENSE):
                noise = 0.0 if arm == "dense" else spread * (replicate - 1)
                rows.append(
                    {
                        "arm": arm,
                        "level": level,
                        "replicate": replicate,
                        "density": 0.5**level,
                        "test_accuracy": None if shift is None else value + shift + noise,
                        "best_step": 10,
                        "status": "diverged" if shift is None else "done",
                    }
                )
    return headline(judge(pl.DataFrame(rows, infer_schema_length=None), rule, controls))


def test_yes_names_the_lowest_density_that_wins_within_the_sequence() -> None:
    words = told({"winning": [0.0, 0.0, -0.05], "reinit": [-0.02, -0.05, -0.1]}, {"winning": "reinit"})
    assert words.answer == "yes"
    assert words.title.startswith("Yes. With 25\u202f% of the weights, the ticket \u201cwinning\u201d is as accurate as the dense network")
    assert words.findings[0][0] == "winning"
    assert words.findings[0][1].startswith("wins at 50\u202f% and 25\u202f% and loses at 12.5\u202f%.")


def test_a_match_without_a_win_is_in_part() -> None:
    words = told({"winning": [0.0, -0.05], "reinit": [0.0, -0.05]}, {"winning": "reinit"})
    assert words.answer == "partly"
    assert "that its initial weights matter is not shown" in words.title
    better = told({"winning": [0.0, -0.01], "reinit": [0.0, -0.05]}, {"winning": "reinit"})
    assert better.answer == "partly"
    assert "over all densities it beats new random weights" in better.title


def test_a_method_without_a_control_holds_down_to_a_density() -> None:
    words = told({"random": [-0.05, -0.1], "snip": [0.0, -0.05]})
    assert (words.answer, words.arm) == ("yes", "snip")
    assert "Down to 50\u202f%" in words.title
    assert "Of two arms, none is shown to go further." in words.title


def test_of_arms_of_which_none_matches_it_speaks_of_one_that_is_not_shown_to_lose() -> None:
    words = told({"random": [-0.1, -0.2], "snip": [-0.005, -0.2], "synflow": [-0.1, -0.2]})
    assert (words.answer, words.arm) == ("unclear", "snip")


def test_no() -> None:
    assert told({"winning": [-0.05, -0.1]}).title == (
        "No. Already with 50\u202f% of the weights, the ticket \u201cwinning\u201d is worse than the dense network."
    )
    assert "each of two arms is worse" in told({"a": [-0.05], "b": [-0.06]}).title
    assert told({"winning": [None, None]}).answer == "no"


def test_not_settled_says_how_many_would_settle_it() -> None:
    words = told({"winning": [0.0]}, spread=0.004)
    assert words.answer == "unclear"
    assert words.title.startswith("Not settled. Three replicates cannot say")
    assert any(line.startswith("Eight replicates would settle") for line in words.limits)
    assert any("a true difference must be about" in line for line in words.limits)


def test_a_gap_at_the_margin_is_told_to_be_beyond_settling() -> None:
    words = told({"winning": [-0.005]}, spread=0.004)
    assert any("no reasonable number of replicates" in line for line in words.limits)


def test_lost_runs_are_named() -> None:
    assert any("Diverged, and counted as losses: winning, level 2, replicate 0" in line for line in told({"winning": [0.0, None]}).limits)


def test_not_yet_before_anything_can_be_compared() -> None:
    rows = [
        {"arm": arm, "level": level, "replicate": 0, "density": 0.5**level, "test_accuracy": value, "best_step": 1, "status": status}
        for arm, level, value, status in (("dense", 0, 0.9, "done"), ("winning", 1, None, "missing"))
    ]
    words = headline(judge(pl.DataFrame(rows), RULE))
    assert (words.answer, words.title) == ("unclear", "Not yet. No pruned run has finished beside its dense network.")


def test_dense_alone_is_no_answer() -> None:
    words = told({})
    assert (words.answer, words.findings) == ("unclear", ())


@pytest.mark.parametrize("shift", [0.0, -0.02])
def test_the_json_is_plain(shift: float) -> None:
    document = told({"winning": [shift]}).to_json()
    assert document["answer"] in ("yes", "partly", "no", "unclear")
    assert document["title"].endswith(".")
