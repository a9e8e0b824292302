"""What a study says of its store: what masks spare, what failed and why, and which dense networks there are."""

from __future__ import annotations

from pathlib import Path

import pytest
from rich.console import Console
from tiny_studies import RECIPE, run_tiny

from secateur.cli import main
from secateur.errors import RecipeError, RunFailed
from secateur.reports.report import write_report
from secateur.reports.terminal import summary
from secateur.studies import run as studies
from secateur.studies.results import Study
from secateur.studies.store import Store


def test_flop_sparsity_is_the_part_of_multiply_adds_that_the_mask_spares(tmp_path: Path) -> None:
    study = run_tiny(tmp_path, ["replicates=1"])
    for row in study.frame().iter_rows(named=True):
        assert row["flop_sparsity"] == pytest.approx(1 - row["example_multiply_adds"] / row["dense_multiply_adds"])
        # Each weight of this network multiplies once an example, so multiply-adds go as weights do.
        assert row["flop_sparsity"] == pytest.approx(row["sparsity"])
    assert study.frame().filter(study.frame()["level"] == 2)["flop_sparsity"].min() > 0.6


def test_a_failure_is_kept_named_and_gone_once_the_node_is_done(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """The training of one arm cannot write its results; its children wait for it, everything else is done."""
    prepared = studies.prepare(str(RECIPE), store=tmp_path, settings=["replicates=1"])
    cell = next(cell for cell in prepared.plan.cells if (cell.arm, cell.level) == ("late", 1))
    blocked = tmp_path / "nodes" / cell.train.key[:2] / cell.train.key / "metrics.jsonl"
    blocked.mkdir(parents=True)
    with pytest.raises(RunFailed):
        run_tiny(tmp_path, ["replicates=1"])

    study = Study.latest(Store(tmp_path), "tiny")
    (failure,) = study.failures()
    assert failure["key"] == cell.train.key
    assert failure["what"] == "late, level 1, replicate 0"
    assert "Error: " in failure["error"]
    assert failure["traceback"].startswith("Traceback")
    progress = study.progress()
    assert progress["failed"] == 1
    assert progress["left"] == 4, "its evaluation, and mask, training and evaluation of the next level"
    status = {(row["arm"], row["level"]): row["status"] for row in study.frame().iter_rows(named=True)}
    assert status["late", 1] == status["late", 2] == "failed"
    assert status["winning", 2] == "done"
    assert main(["status", "--store", str(tmp_path)]) == 0
    told = capsys.readouterr().out
    assert "failed 1" in told
    assert f"failed: late, level 1, replicate 0 (node {cell.train.key[:12]}): " in told

    blocked.rmdir()
    again = run_tiny(tmp_path, ["replicates=1"])
    assert again.failures() == []
    assert again.progress()["failed"] == 0
    assert not list((tmp_path / "failures").iterdir())


AT_FIRST = "{ score = 'random', schedule = { name = 'one-shot', when = 'init', density = [0.2] } }"
WIDER = f"arms.wide={{ model = {{ hidden = [12, 5] }}, prune = {AT_FIRST} }}"


def test_an_arm_can_do_without_a_dense_network_of_its_own(tmp_path: Path) -> None:
    def kinds(*more: str) -> tuple[set[tuple[str, int]], int]:
        plan = studies.prepare(str(RECIPE), store=tmp_path, settings=["replicates=1", WIDER, *more]).plan
        return {(cell.arm, cell.level) for cell in plan.cells}, sum(node.kind == "train" for node in plan.graph.nodes)

    with_dense, trainings = kinds()
    without, fewer = kinds("arms.wide.dense=false")
    assert with_dense - without == {("wide", 0)}
    assert trainings - fewer == 1


def test_on_other_data_a_dense_network_is_needed(tmp_path: Path) -> None:
    settings = ["arms.late.dense=false", "arms.late.data={ name = 'tiny-points', count = 32 }"]
    with pytest.raises(RecipeError, match=r"arms\.late\.dense: on other data"):
        studies.prepare(str(RECIPE), store=tmp_path, settings=settings)
    with pytest.raises(RecipeError, match=r"arms\.late\.dense: found 'no', which is not true or false"):
        studies.prepare(str(RECIPE), store=tmp_path, settings=["arms.late.dense='no'"])


def test_rewinding_to_the_end_starts_every_round_from_dense_trainings_end(tmp_path: Path) -> None:
    plan = studies.prepare(str(RECIPE), store=tmp_path, settings=["replicates=1", "arms.late.rewind='end'"]).plan
    dense = next(cell.train for cell in plan.cells if cell.arm == "dense")
    rounds = [cell.train for cell in plan.cells if cell.arm == "late"]
    assert len(rounds) == 2
    for training in rounds:
        (state,) = [parent for parent in training.parents if parent.role == "state"]
        assert (state.node, state.artefact) == (dense, "state/end")
        assert (training.spec["start"], training.spec["rate"]) == ("weights", "schedule")
    masks = [next(parent.node for parent in training.parents if parent.role == "mask") for training in rounds]
    assert next(parent.node for parent in masks[1].parents if parent.role == "state") == rounds[0]


def test_the_majority_class_stands_beside_the_networks(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Targets of the tiny data are 0, 1, 2, 0, …: 22 of 64 are the first class, in training and in test."""
    study = run_tiny(tmp_path, ["replicates=1"])
    assert study.method()["data"]["majority"] == {"class": "a", "test": 22 / 64}
    Console(width=200).print(summary(study))
    assert f"always a{'':>5}" in (told := capsys.readouterr().out)
    assert "34.38\u202f%" in told
    page = write_report(study, tmp_path / "report", figures=False).read_text()
    assert "Always to answer <i>a</i>, the largest class of the training split, has an accuracy of 34.38" in page
    assert "FLOPs spared" in page
