"""The ticket's questions as sections: each drawn where a study has what it needs, from its own runs alone."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
import pytest
import torch
from chromium import PROGRAM, Chromium
from generated_studies import GeneratedStudy
from tiny_studies import RECIPE, run_tiny

from secateur.analysis.differences import differences
from secateur.analysis.statistics import estimate
from secateur.masks import Mask, random_pattern
from secateur.reports.analyses import Analysis
from secateur.reports.opened import OpenedStudy
from secateur.reports.questions import expense, likeness, survivors, transfer, translations
from secateur.reports.report import write_report
from secateur.reports.study import Reported
from secateur.studies import run as studies

ARMS = """
[arms.two]
rewind = "2it"

[arms.signs]
about = "signs kept"
mask_from = "winning"
rewind = { to = "init", keep = "signs" }

[arms.untrained]
mask_from = "winning"
train = { length = "0it" }

[arms.random]
prune = { score = "random" }

[arms.early]
prune = { schedule = { name = "one-shot", when = "1ep", density = [0.6, 0.36] } }

[arms.middle]
prune = { schedule = { name = "one-shot", when = "2ep", density = [0.6, 0.36] } }

[arms.trained]
prune = { schedule = { name = "one-shot", when = "trained", density = [0.6, 0.36] } }

[arms.gradual]
prune = { schedule = { name = "gradual", final = [0.3], begin = "0ep", end = "2ep", every = "2it" } }

[analyses.stability]
arms = ["dense", "winning", "two", "late", "reinit", "random"]
points = 3

[analyses.weights]
arms = ["dense", "late"]
at = ["0it", "3it", "2ep"]

[analyses.latency]
arms = ["dense", "winning"]
rounds = 3
"""


@pytest.fixture(scope="module")
def study(tmp_path_factory: pytest.TempPathFactory) -> OpenedStudy:
    """The tiny study with an arm for every question."""
    folder = tmp_path_factory.mktemp("questions")
    (folder / "tiny_plugin.py").write_text(RECIPE.with_name("tiny_plugin.py").read_text())
    (folder / "questions.toml").write_text(f"{RECIPE.read_text()}\n{ARMS}")
    ran = studies.run(folder / "questions.toml", store=folder / "runs", executor="inline", settings=["replicates=3"])
    return OpenedStudy(ran)


@pytest.fixture(scope="module")
def asked(study: OpenedStudy) -> dict[str, Analysis]:
    return {analysis.name: analysis for analysis in study.analyses()}


def only(frame: pl.DataFrame, **where: Any) -> pl.DataFrame:
    return frame.filter(*(pl.col(name) == value for name, value in where.items()))


def test_every_question_that_the_study_can_answer_is_asked(asked: Mapping[str, Analysis]) -> None:
    assert list(asked) == [
        "stability", "stability-rewind", "rewinding", "signs", "supermasks", "early-quality", "early-masks", "overlap-seeds",
        "overlap-arms", "masks-over-time", *(["neurons"] if "neurons" in asked else []), "growth", "expense", "layer-costs",
    ]  # fmt: skip


def test_a_study_that_has_none_of_the_arms_is_asked_nothing_of_them(tmp_path: Path) -> None:
    plain = OpenedStudy(run_tiny(tmp_path, ["replicates=1", "prune.schedule.levels=1"]))
    names = {analysis.name for analysis in plain.analyses()}
    assert not names & {"stability", "stability-rewind", "rewinding", "signs", "supermasks", "early-quality", "transfer", "overlap-seeds"}


def test_rewinding_is_the_paired_difference_at_each_step(study: OpenedStudy, asked: Mapping[str, Analysis]) -> None:
    frame = asked["rewinding"].frame
    assert sorted(set(frame["step"])) == [0, 2, 5]
    results = study.frame()
    for row in frame.iter_rows(named=True):
        arm = {0: "winning", 2: "two", 5: "late"}[row["step"]]
        ticket = only(results, arm=arm, level=row["level"], replicate=row["replicate"])["test_accuracy"].item()
        dense = only(results, arm="dense", replicate=row["replicate"])["test_accuracy"].item()
        assert row["difference"] == pytest.approx(100 * (ticket - dense))
    assert len(frame) == 3 * 2 * 3


def test_stability_compares_barriers_with_the_controls_pair_by_pair(study: OpenedStudy, asked: Mapping[str, Analysis]) -> None:
    assert study.measures("stability").height == (1 + 5 * 2) * 3
    shown = asked["stability"].frame.group_by("measure", maintain_order=True).len()
    assert dict(shown.iter_rows()) == {"error (points)": 33, "loss": 33}
    table = asked["stability"].table
    assert table is not None
    assert [title for title, _ in table.heads][-2:] == ["minus reinit's, paired", "minus random's, paired"]
    cells = next(cells for arm, cells in table.rows if arm == "winning")
    barriers = study.measures("stability")
    mine, theirs = (only(barriers, arm=arm, level=1).sort("replicate")["barrier"].to_numpy() for arm in ("winning", "reinit"))
    of = estimate((100 * (mine - theirs)).tolist())
    assert of.low is not None
    number = cells[4].split(" ")[0].replace("\u2212", "-").lstrip("+")
    assert float(number) == pytest.approx(of.mean, abs=0.0051)


def test_parts_and_untrained_networks_stand_in_their_own_sections(asked: Mapping[str, Analysis]) -> None:
    assert list(dict.fromkeys(asked["signs"].frame["arm"])) == ["winning", "reinit", "signs"]
    assert "signs kept" in asked["signs"].lead
    assert set(asked["supermasks"].frame["arm"]) == {"untrained"}


def test_early_masks_are_compared_with_the_trained_networks(study: OpenedStudy, asked: Mapping[str, Analysis]) -> None:
    assert sorted(set(asked["early-masks"].frame["step"])) == [4, 8]
    masks = {(i["arm"], i["level"], i["replicate"]): mask for i, mask in study.masks()}
    row = only(asked["early-masks"].frame, arm="early", level=1).row(0, named=True)
    both = (masks["early", 1, 0] & masks["trained", 1, 0]).kept
    assert 0 < row["beyond"] <= 1
    assert both <= masks["early", 1, 0].kept


def test_a_gradual_mask_settles(asked: Mapping[str, Analysis]) -> None:
    frame = asked["masks-over-time"].frame
    assert set(frame["series"]) == {"gradual"}
    last = frame.filter((pl.col("to") == "the last mask") & (pl.col("step") == pl.col("step").max()))
    assert set(last["distance"]) == {0.0}


def test_random_masks_of_two_seeds_share_nothing_beyond_chance() -> None:
    reported = Reported(GeneratedStudy())
    masks = [({"arm": "winning", "level": 1, "replicate": r}, Mask({"w": random_pattern((200, 100), 4000, r, "w")})) for r in range(3)]
    frame = next(one for one in likeness.analyses(reported, masks, []) if one.name == "overlap-seeds").frame
    assert len(frame) == 3
    assert frame["beyond"].to_list() == pytest.approx([0.0] * 3, abs=0.03)


def test_an_arm_that_takes_over_masks_is_not_counted_twice() -> None:
    reported = Reported(GeneratedStudy())
    mask = Mask({"w": random_pattern((20, 10), 40, 0, "w")})
    masks = [({"arm": arm, "level": 1, "replicate": r}, mask) for arm in ("winning", "reinit") for r in range(2)]
    assert set(next(iter(likeness.analyses(reported, masks, []))).frame["series"]) == {"winning"}


class Transferred(GeneratedStudy):
    """Tickets of two data sets, each trained on both."""

    def frame(self) -> pl.DataFrame:
        where = {"b": "B", "a-to-b": "B"}
        frame = super().frame().with_columns(pl.col("arm").replace_strict(where, default="A").alias("data"))
        dense = frame.filter(pl.col("arm") == "dense")
        there = [dense.with_columns(pl.lit(arm).alias("arm"), pl.lit("B").alias("data"), pl.col("test_accuracy") + 0.1) for arm in where]
        return pl.concat([frame, *there])

    def method(self) -> dict[str, Any]:
        return super().method() | {"arms": {"a": {}, "b": {}, "a-to-b": {"mask_from": "a"}, "b-to-a": {"mask_from": "b"}}}


def test_transfer_is_a_matrix_against_the_dense_network_of_the_same_data() -> None:
    reported = Reported(Transferred(arms=("a", "b", "a-to-b", "b-to-a")))
    (matrix,) = transfer.analyses(reported)
    cells = set(matrix.frame.select("masks", "trained on", "arm").iter_rows())
    assert cells == {("found on A", "A", "a"), ("found on A", "B", "a-to-b"), ("found on B", "B", "b"), ("found on B", "A", "b-to-a")}
    row = only(matrix.frame, arm="a-to-b", level=1, replicate=0).row(0, named=True)
    dense = only(reported.results, arm="a-to-b", level=0, replicate=0)["test_accuracy"].item()
    assert row["difference"] == pytest.approx(100 * (row["value"] - dense))


class Described(GeneratedStudy):
    """A study whose network has an embedding of eight words and an LSTM."""

    def method(self) -> dict[str, Any]:
        gates = [{"name": name, "start": 2 * place, "stop": 2 * place + 2} for place, name in enumerate(("input", "forget"))]
        maps = [
            {"parameter": "e", "kind": "embedding", "blocks": [], "heads": 1, "uses": 0},
            {"parameter": "l", "kind": "recurrent", "blocks": gates, "heads": 1, "uses": 3},
        ]
        words = ["<pad>", "<unk>", *(f"word{number}" for number in range(6))]
        return super().method() | {"maps": maps, "words": words, "data": {"vocabulary": 8}}


def test_survivors_by_hand() -> None:
    words, gates = torch.zeros(8, 4, dtype=torch.bool), torch.zeros(4, 3, dtype=torch.bool)
    words[2], words[3, :2], gates[0], gates[1, 0] = True, True, True, True
    masks = [({"arm": "winning", "level": 1, "replicate": 0}, Mask({"e": words, "l": gates}))]
    found = {one.name: one for one in survivors.analyses(Reported(Described()), masks)}
    assert dict(found["blocks"].frame.select("block", "kept").iter_rows()) == {"l: input": 4 / 6, "l: forget": 0.0}
    alone = dict(found["neurons"].frame.select("end", "alone").iter_rows())
    assert alone["l: outputs"] == 2 / 4
    assert found["words"].frame["kept"].to_list() == [6 / 24]
    table = found["words"].table
    assert table is not None
    assert table.rows[0][1][2:] == ["word0, word1", "word2, word3, word4, word5"]


def test_multiply_adds_by_layer_are_weights_kept_times_their_uses(study: OpenedStudy, asked: Mapping[str, Analysis]) -> None:
    frame = only(asked["layer-costs"].frame, arm="winning", level=1, replicate=0)
    kept = dict(only(study.layers(), arm="winning", level=1, replicate=0).select("parameter", "kept").iter_rows())
    assert dict(frame.select("parameter", "multiply_adds").iter_rows()) == kept  # a linear layer uses each weight once
    assert frame["share"].sum() == pytest.approx(1.0)


def test_quality_against_cost_holds_every_finished_run(study: OpenedStudy, asked: Mapping[str, Analysis]) -> None:
    expected = study.frame().filter(pl.col("status") == "done").height
    counted = asked["expense"].frame.group_by("counted in").len()
    assert dict(counted.iter_rows()) == {
        "multiply-adds of one example": expected, "bytes stored": expected, "measured seconds of its training": expected,
        "measured seconds of a forward pass": 3 * (1 + 2),
    }  # fmt: skip


def test_latency_is_the_tickets_where_there_is_one(study: OpenedStudy, asked: Mapping[str, Analysis]) -> None:
    measured = study.measures("latency")
    assert measured.filter(pl.col("level") == 0)["seconds_ticket"].null_count() == 3
    row = only(measured, arm="winning", level=2).row(0, named=True)
    assert 0 < row["seconds_ticket"] < 1
    frame = asked["expense"].frame.filter(pl.col("counted in") == "measured seconds of a forward pass")
    shown = only(frame, series="winning", level=2)["cost"].to_list()
    assert shown == pytest.approx([only(measured, arm="winning", level=2)["seconds_ticket"].mean()] * 3)


def test_weights_are_kept_and_measured_at_the_moments_that_were_asked_for(study: OpenedStudy, asked: Mapping[str, Analysis]) -> None:
    frame = asked["growth"].frame
    assert sorted(set(only(frame, network="dense")["step"])) == [0, 3, 8, 12]
    rewound = frame.filter(pl.col("network").str.starts_with("late"))
    assert sorted(set(rewound["step"])) == [8, 12], "a run that restarts from step 5 has no third step"
    shown = {(identity["arm"], when): values for identity, when, values, _ in study.weights() if identity["level"] == 0}
    assert [when for arm, when in shown if arm == "dense"] == ["start", "step 3", "step 8", "end"]
    first = only(frame, network="dense", step=3, parameter="hidden.0.weight")["size"]
    assert first[0] == pytest.approx(float(np.sqrt((shown["dense", "step 3"]["hidden.0.weight"] ** 2).mean())), rel=1e-6)


def test_a_run_that_is_missing_has_no_row() -> None:
    whole, cut = (Reported(GeneratedStudy(missing=missing)) for missing in ((), (("winning", 2, 1),)))
    assert len(differences(whole.results, whole.rule)) - len(differences(cut.results, cut.rule)) == 1
    assert not list(expense.analyses(Reported(GeneratedStudy(missing=tuple(("dense", 0, r) for r in range(3)), arms=()))))


def test_bleu_by_length_reads_the_translations() -> None:
    sentences = [{"source": " ".join(["ein"] * words), "reference": "a dog runs in the park now"} for words in range(1, 101)]
    good = [one | {"translation": one["reference"]} for one in sentences]
    bad = [one | {"translation": one["reference"] if i < 25 else "no word of it"} for i, one in enumerate(sentences)]
    reported = Reported(GeneratedStudy(metric="bleu", replicates=1))
    samples = [({"arm": "dense", "level": 0, "replicate": 0}, good, ""), ({"arm": "winning", "level": 1, "replicate": 0}, bad, "")]
    (found,) = translations.analyses(reported, samples)
    assert set(found.frame["words"]) == {"1 to 25", "26 to 50", "51 to 75", "76 to 100"}
    assert np.allclose(only(found.frame, left="dense")["bleu"].to_numpy(), 100)
    pruned = only(found.frame, left="50\u202f%").sort("words")["bleu"].to_list()
    assert pruned[0] == pytest.approx(100)
    assert max(pruned[1:]) < 5
    assert found.table is not None
    assert [cells[1] for _, cells in found.table.rows[:4]] == ["source", "reference", "dense", "winning"]


@pytest.mark.skipif(PROGRAM is None, reason="no chromium on this machine")
def test_the_page_draws_every_question(study: OpenedStudy, asked: Mapping[str, Analysis], tmp_path: Path) -> None:
    path = write_report(study, tmp_path / "page", figures=False)
    with Chromium(tmp_path / "profile") as browser:
        browser.open(path)
        assert browser.problems == []
        assert browser.ask("secateur.errors") == []
        assert browser.ask("document.querySelectorAll('figure[data-chart^=analysis-][data-drawn] svg').length") == len(asked)
        marks = "document.querySelectorAll('#chart-0-analysis-stability svg .mark-symbol path').length"
        before = browser.ask(marks)
        browser.ask("document.querySelector('button[data-series=random]').click()")
        assert browser.ask(marks) < before
