"""Verdicts on small hand-made results: what matches, wins, loses, stays unclear, and why."""

import json
from typing import Any

import polars as pl
import pytest

from secateur.analysis.statistics import bootstrap_interval, estimate
from secateur.analysis.verdicts import Judgement, Rule, controls_of, judge
from secateur.errors import InputError

RULE = Rule("accuracy", 0.005)
CONTROLS = {"winning": "reinit"}
DENSE = [0.900, 0.910, 0.905]


def rows(arm: str, level: int, density: float, values: list[float | None], best_step: float = 100, **more: Any) -> list[dict[str, Any]]:
    return [
        {
            "arm": arm,
            "level": level,
            "replicate": replicate,
            "density": density,
            "test_accuracy": value,
            "best_step": best_step + replicate,
            "status": "diverged" if value is None else "done",
            **more,
        }
        for replicate, value in enumerate(values)
    ]


def verdict_of(values: list[float | None], reinit: list[float | None] | None = None, best_step: float = 100, rule: Rule = RULE) -> Any:
    data = rows("dense", 0, 1.0, DENSE) + rows("winning", 1, 0.2, values, best_step)
    if reinit is not None:
        data += rows("reinit", 1, 0.2, reinit)
    return judge(pl.DataFrame(data), rule, CONTROLS).of("winning")[0]


def around(shift: float, spread: float = 0.0005) -> list[float]:
    return [value + shift + spread * (index - 1) for index, value in enumerate(DENSE)]


def test_a_ticket_wins_when_it_matches_learns_no_later_and_beats_reinit() -> None:
    verdict = verdict_of(around(0.001), reinit=around(-0.05))
    assert (verdict.verdict, verdict.reasons) == ("wins", ())
    assert verdict.to_dense.difference == pytest.approx(0.001)
    assert verdict.to_dense.interval == pytest.approx(estimate([0.0005, 0.001, 0.0015]).interval)
    assert verdict.to_reinit.better
    assert verdict.to_reinit.difference == pytest.approx(0.051)
    assert verdict.pairs == verdict.replicates == 3
    assert 0 < verdict.p_match < 0.025


@pytest.mark.parametrize(
    ("reinit", "best_step", "reason"),
    [
        (None, 100, "no arm re-initialises its mask"),
        (around(0.0005, 0.01), 100, "not shown to beat reinit at the same mask"),
        (around(-0.05), 101, "1 steps later than dense's"),
    ],
)
def test_a_match_says_what_it_lacks_to_win(reinit: list[float | None] | None, best_step: float, reason: str) -> None:
    verdict = verdict_of(around(0.001), reinit, best_step)
    assert verdict.verdict == "matches"
    assert reason in " ".join(verdict.reasons)


def test_a_ticket_below_the_margin_loses() -> None:
    verdict = verdict_of(around(-0.03))
    assert verdict.verdict == "loses"
    assert verdict.p_match > 0.975
    assert verdict.needed is None


def test_what_is_unclear_says_how_many_replicates_would_settle_it() -> None:
    verdict = verdict_of(around(0.0, 0.004))
    assert verdict.verdict == "unclear"
    assert verdict.needed == 8  # (0 + 0.005) / 0.004 = 1.25: noncentral t, one-sided 2.5 %, power 0.8
    assert verdict.needed_cautious > verdict.needed
    assert verdict.detectable > 0.005


def test_one_replicate_shows_nothing() -> None:
    data = pl.DataFrame(rows("dense", 0, 1.0, [0.9]) + rows("winning", 1, 0.2, [0.95]))
    verdict = judge(data, RULE).of("winning")[0]
    assert (verdict.verdict, verdict.to_dense.interval, verdict.needed) == ("unclear", None, None)
    assert verdict.to_dense.difference == pytest.approx(0.05)
    assert "one replicate" in verdict.reasons[0]


def test_a_diverged_replicate_forbids_a_match_and_is_named() -> None:
    close = around(0.001, 0.0001)
    judgement = judge(pl.DataFrame(rows("dense", 0, 1.0, [*DENSE, 0.9]) + rows("winning", 1, 0.2, [*close, None])), RULE)
    verdict = judgement.of("winning")[0]
    assert (verdict.verdict, verdict.diverged, verdict.pairs, verdict.replicates) == ("unclear", (3,), 3, 4)
    assert judgement.diverged == ("winning, level 1, replicate 3",)
    assert "replicate 3 diverged, and counts as a loss" in verdict.reasons


def test_half_of_the_replicates_diverged_is_a_loss() -> None:
    assert verdict_of([0.95, None, None]).verdict == "loses"


def test_a_finished_run_without_a_number_has_diverged() -> None:
    assert verdict_of([*around(0.001)[:2], float("nan")]).diverged == (2,)


def test_a_diverged_dense_run_pairs_with_nothing() -> None:
    data = pl.DataFrame(rows("dense", 0, 1.0, [0.9, 0.91, None]) + rows("winning", 1, 0.2, [0.9, 0.91, 0.9]))
    verdict = judge(data, RULE).of("winning")[0]
    assert verdict.pairs == 2
    assert "dense itself diverged in replicate 2" in verdict.reasons[0]


def test_missing_runs_are_named_and_not_losses() -> None:
    data = pl.DataFrame(rows("dense", 0, 1.0, DENSE) + rows("winning", 1, 0.2, around(0.001)))
    data = data.with_columns(
        status=pl.when((pl.col("arm") == "winning") & (pl.col("replicate") == 2)).then(pl.lit("missing")).otherwise("status")
    )
    judgement = judge(data, RULE)
    assert judgement.of("winning")[0].unfinished == (2,)
    assert judgement.of("winning")[0].verdict in ("matches", "unclear")
    assert judgement.unfinished == ("winning, level 1, replicate 2",)


def sequence(*shifts: float) -> Judgement:
    data = rows("dense", 0, 1.0, DENSE)
    for level, shift in enumerate(shifts, start=1):
        data += rows("winning", level, 0.5**level, around(shift)) + rows("reinit", level, 0.5**level, around(shift - 0.02 * level))
    return judge(pl.DataFrame(data), RULE, CONTROLS)


def test_winning_down_to_stops_at_the_first_density_that_is_not_shown() -> None:
    judgement = sequence(0.0, 0.0, -0.03, 0.0)
    winning = next(arm for arm in judgement.arms if arm.arm == "winning")
    assert (winning.matches_down_to, winning.wins_down_to, winning.loses_from) == (0.25, 0.25, 0.125)
    assert winning.wins_at == (0.5, 0.25, 0.0625)
    assert [v.in_sequence for v in judgement.of("winning")] == [True, True, False, False]


def test_the_pooled_test_averages_densities_within_a_replicate() -> None:
    judgement = sequence(0.0, -0.01)
    winning = next(arm for arm in judgement.arms if arm.arm == "winning")
    assert winning.to_dense.replicates == 3
    assert winning.to_dense.difference == pytest.approx(-0.005)
    assert winning.to_reinit.difference == pytest.approx(0.03)
    assert winning.to_reinit.better


def test_lower_is_better_and_relative_margins() -> None:
    rule = Rule("perplexity", 0.01, higher_is_better=False, margin_is_relative=True)
    dense, worse = [100.0, 102.0, 98.0], [105.0, 107.2, 102.8]
    data = pl.DataFrame(rows("dense", 0, 1.0, dense) + rows("winning", 1, 0.2, worse)).rename({"test_accuracy": "test_perplexity"})
    verdict = judge(data, rule).of("winning")[0]
    assert verdict.verdict == "loses"
    assert verdict.to_dense.difference == pytest.approx(0.05, abs=0.001)
    assert verdict.to_dense.worse
    assert verdict.to_dense.interval[0] < verdict.to_dense.difference < verdict.to_dense.interval[1]
    same = pl.DataFrame(rows("dense", 0, 1.0, dense) + rows("winning", 1, 0.2, [100.1, 102.1, 98.2])).rename(
        {"test_accuracy": "test_perplexity"}
    )
    assert judge(same, rule).of("winning")[0].verdict == "matches"


def test_a_run_lost_before_it_had_a_density_is_named_all_the_same() -> None:
    data = pl.DataFrame(rows("dense", 0, 1.0, DENSE) + rows("winning", 1, 0.2, around(0.0)) + rows("winning", 2, float("nan"), [None]))
    judgement = judge(data.with_columns(pl.col("density").fill_nan(None)), RULE)
    assert [v.level for v in judgement.of("winning")] == [1]
    assert judgement.diverged == ("winning, level 2, replicate 0",)


def test_ten_replicates_have_a_bootstrap_beside_the_interval() -> None:
    dense = [0.9 + 0.001 * k for k in range(10)]
    shifts = [0.01, 0.004, 0.006, 0.002, 0.009, 0.001, 0.003, 0.008, 0.005, 0.007]
    data = rows("dense", 0, 1.0, dense) + rows("winning", 1, 0.2, [a + b for a, b in zip(dense, shifts, strict=True)])
    to_dense = judge(pl.DataFrame(data), RULE).of("winning")[0].to_dense
    assert to_dense.bootstrap == pytest.approx(bootstrap_interval(shifts, seed=0).interval)
    assert to_dense.bootstrap == pytest.approx(to_dense.interval, abs=0.002)
    assert verdict_of(around(0.0)).to_dense.bootstrap is None


def test_factors_are_judged_apart_and_dense_may_have_none() -> None:
    data = rows("dense", 0, 1.0, DENSE, **{"factor.rate": None})
    data += rows("winning", 1, 0.2, around(0.0), **{"factor.rate": 0.1}) + rows("winning", 1, 0.2, around(-0.04), **{"factor.rate": 0.2})
    judgement = judge(pl.DataFrame(data, infer_schema_length=None), RULE)
    assert {v.factors["rate"]: v.verdict for v in judgement.verdicts} == {0.1: "matches", 0.2: "loses"}
    assert len(judgement.arms) == 2


def test_the_json_names_every_arm_and_density() -> None:
    document = json.loads(json.dumps(sequence(0.0, -0.03).to_json()))
    found = {(v["arm"], v["density"]): v for v in document["verdicts"]}
    assert set(found) == {(arm, density) for arm in ("winning", "reinit") for density in (0.5, 0.25)}
    assert found["winning", 0.25]["verdict"] == "loses"
    assert found["winning", 0.25]["difference"] == pytest.approx(-0.03)
    assert len(found["winning", 0.25]["interval"]) == 2
    assert {"replicates", "test"} <= found["winning", 0.25].keys()


def test_the_control_of_an_arm_re_initialises_its_masks() -> None:
    arms = {
        "winning": {"rewind": "init"},
        "late": {"rewind": "500it"},
        "reinit": {"mask_from": "winning", "rewind": "reinit"},
        "tuned": {"mask_from": "winning", "rewind": "finetune"},
    }
    assert controls_of(arms) == {"winning": "reinit"}


def test_of_two_controls_the_one_that_trains_as_the_arm_counts() -> None:
    arms = {
        "winning": {"rewind": "init"},
        "untrained": {"mask_from": "winning", "rewind": "reinit", "train": {"length": "0it"}},
        "reinit": {"mask_from": "winning", "rewind": {"to": "reinit"}},
        "again": {"mask_from": "winning", "rewind": "reinit"},
        "supermask": {"mask_from": "winning", "rewind": "init", "train": {"length": "0it"}},
        "new-weights": {"mask_from": "supermask", "rewind": "reinit", "train": {"length": "0it"}},
    }
    assert controls_of(arms) == {"winning": "reinit", "supermask": "new-weights"}
    assert controls_of({name: arms[name] for name in ("winning", "untrained")}) == {"winning": "untrained"}


def test_results_that_cannot_be_judged_are_refused() -> None:
    with pytest.raises(InputError, match="test_accuracy"):
        judge(pl.DataFrame({"arm": ["dense"]}), RULE)
    with pytest.raises(InputError, match="two rows"):
        judge(pl.DataFrame(rows("dense", 0, 1.0, DENSE) * 2), RULE)


def test_an_arm_on_other_data_is_compared_with_the_dense_network_there() -> None:
    here, there = {"data": "reviews"}, {"data": "sentences"}
    frame = pl.DataFrame(
        [
            *rows("dense", 0, 1.0, DENSE, **here),
            *rows("moved", 0, 1.0, around(-0.2), **there),
            *rows("moved", 1, 0.2, around(-0.199), **there),
            *rows("wider", 0, 1.0, around(-0.2), **here),
            *rows("wider", 1, 0.2, around(-0.199), **here),
        ]
    )
    judgement = judge(frame, RULE)
    (moved,) = judgement.of("moved")
    assert (moved.level, moved.verdict) == (1, "matches")
    assert moved.to_dense is not None
    assert moved.to_dense.difference == pytest.approx(0.001)
    (wider,) = judgement.of("wider")
    assert (wider.level, wider.verdict) == (1, "loses"), "another network answers to the study's own; unpruned, it is no ticket"
