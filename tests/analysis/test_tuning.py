"""Tuning looks at validation only and pays for every setting it tried."""

import polars as pl
import pytest

from secateur.analysis.tuning import tuned
from secateur.analysis.verdicts import Rule, judge
from secateur.errors import InputError


def results() -> pl.DataFrame:
    rows = []
    for arm, level in (("dense", 0), ("winning", 1)):
        for rate, valid, test in ((0.1, 0.80, 0.90), (0.2, 0.85, 0.70), (0.4, 0.60, 0.99)):
            for replicate in range(2):
                shift = 0.01 * replicate + (0.1 if arm == "winning" and rate == 0.1 else 0.0)
                rows.append(
                    {
                        "arm": arm,
                        "level": level,
                        "replicate": replicate,
                        "factor.lr": rate,
                        "density": 0.5**level,
                        "valid_accuracy": valid + shift,
                        "test_accuracy": test + shift,
                        "best_step": 10,
                        "steps": 100,
                        "seconds": rate,
                        "status": "done",
                    }
                )
    return pl.DataFrame(rows)


def test_each_arm_and_level_takes_what_validates_best() -> None:
    best = tuned(results(), ["factor.lr"], "accuracy")
    assert {(row["arm"], row["chosen.lr"]) for row in best.iter_rows(named=True)} == {("dense", 0.2), ("winning", 0.1)}
    assert best.filter(pl.col("arm") == "dense")["test_accuracy"].to_list() == pytest.approx([0.70, 0.71])
    assert best.height == 4


def test_the_cost_is_that_of_all_settings() -> None:
    best = tuned(results(), ["factor.lr"], "accuracy")
    assert best["steps"].to_list() == [300] * 4
    assert best["seconds"].to_list() == pytest.approx([0.7] * 4)


def test_lower_may_be_better() -> None:
    assert set(tuned(results(), ["factor.lr"], "accuracy", higher_is_better=False)["chosen.lr"]) == {0.4}


def test_a_setting_with_a_diverged_replicate_ranks_last() -> None:
    spoilt = (pl.col("factor.lr") == 0.2) & (pl.col("replicate") == 0) & (pl.col("arm") == "dense")
    frame = results().with_columns(status=pl.when(spoilt).then(pl.lit("diverged")).otherwise("status"))
    best = tuned(frame, ["factor.lr"], "accuracy")
    assert best.filter(pl.col("arm") == "dense")["chosen.lr"].unique().to_list() == [0.1]


def test_tuned_results_can_be_judged() -> None:
    assert judge(tuned(results(), ["factor.lr"], "accuracy"), Rule("accuracy", 0.005)).of("winning")[0].pairs == 2


def test_other_factors_stay_apart() -> None:
    both = pl.concat([results().with_columns(pl.lit(size).alias("factor.size")) for size in (1, 2)])
    assert tuned(both, ["factor.lr"], "accuracy").height == 8


def test_an_unknown_factor_is_refused() -> None:
    with pytest.raises(InputError, match=r"factor\.rate"):
        tuned(results(), ["factor.rate"], "accuracy")
