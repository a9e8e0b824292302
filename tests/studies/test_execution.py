"""Sparse and dense-masked execution of one study: the same trajectory up to rounding, and every history of a run the same bytes."""

from __future__ import annotations

import os
from pathlib import Path

import polars as pl
import pytest
from tiny_studies import RECIPE, contents, run_tiny

from secateur.sparse import Crossovers
from secateur.sparse.execution import Crossover
from secateur.studies import faults
from secateur.studies import run as studies
from secateur.training.states import State

MORE = ["replicates=1", "train.length='12ep'", "train.clip=1.0", "train.optimizer.weight_decay=0.01"]


@pytest.mark.parametrize("optimizer", ["adam", "adamw", "sgd"])
def test_sparse_and_dense_execution_agree(optimizer: str, tmp_path: Path) -> None:
    settings = [*MORE, f"train.optimizer={{ name = '{optimizer}', lr = 0.01, weight_decay = 0.01 }}"]
    frames = {}
    for execution in ("dense", "sparse"):
        study = run_tiny(tmp_path / execution, settings, execution=execution)
        frames[execution] = study.curves().sort("arm", "level", "step")
        expected = {"dense"} if execution == "dense" else {"sparse"}
        masked = study.frame().filter(study.frame()["level"] > 0)
        assert set(masked["execution"]) == expected
    for column in ("valid_loss", "train_loss"):
        dense, sparse = (frames[execution][column].drop_nulls().to_numpy() for execution in ("dense", "sparse"))
        assert dense == pytest.approx(sparse, rel=1e-4)


def test_the_execution_is_in_the_key_and_dense_runs_are_shared(tmp_path: Path) -> None:
    keys = {}
    for execution in ("dense", "sparse", "auto"):
        plan = studies.prepare(str(RECIPE), store=tmp_path / "runs", execution=execution).plan  # type: ignore[arg-type]
        keys[execution] = {(cell.arm, cell.level, cell.replicate): cell.train.key for cell in plan.cells}
    assert len({keys[execution]["dense", 0, 0] for execution in keys}) == 1
    assert len({keys[execution]["winning", 1, 0] for execution in keys}) == 3


def test_sparse_states_are_written_as_dense_masked_ones_are(tmp_path: Path) -> None:
    files = {}
    for execution in ("dense", "sparse"):
        study = run_tiny(tmp_path / execution, ["replicates=1", "arms.late.rewind={ to = 'lr', optimizer = 'kept' }"], execution=execution)
        row = study.frame().filter((study.frame()["arm"] == "late") & (study.frame()["level"] == 1)).row(0, named=True)
        files[execution] = State.from_bytes(study.store.read(row["node"], "resumable/end"))
    dense, sparse = files["dense"], files["sparse"]
    assert dense.model.keys() == sparse.model.keys()
    assert dense.optimizer.keys() == sparse.optimizer.keys()
    assert {name: tensor.shape for name, tensor in dense.whole().items()} == {name: tensor.shape for name, tensor in sparse.whole().items()}
    assert dense.mask == sparse.mask


@pytest.mark.parametrize("count", [2, 5, 8])
def test_a_kill_while_sparse_layers_train_changes_nothing(count: int, tmp_path: Path) -> None:
    run_tiny(tmp_path / "whole", ["replicates=1"], execution="sparse")
    child = os.fork()
    if child == 0:
        try:
            faults.arm(f"checkpoint.after-rename:{count}")
            run_tiny(tmp_path / "killed", ["replicates=1"], execution="sparse")
        finally:
            os._exit(0)
    _, status = os.waitpid(child, 0)
    assert os.WIFSIGNALED(status)
    run_tiny(tmp_path / "killed", ["replicates=1"], execution="sparse")
    assert contents(tmp_path / "killed") == contents(tmp_path / "whole")


CHANGING = {
    "gradual": ("'magnitude'", "'layer'", "{ name = 'gradual', final = [0.2], begin = '2it', end = '8it', every = '2it' }"),
    "set": ("'random'", "'uniform'", "{ name = 'dynamic', method = 'set', density = [0.3], every = '3it' }"),
    "rigl": ("'random'", "'erk'", "{ name = 'dynamic', method = 'rigl', density = [0.3], every = '3it' }"),
    "snfs": ("'random'", "'erk'", "{ name = 'dynamic', method = 'snfs', density = [0.3], every = '3it' }"),
}


def changing(name: str) -> list[str]:
    score, scope, schedule = CHANGING[name]
    arm = f"arms={{ only = {{ prune = {{ score = {score}, scope = {scope}, schedule = {schedule} }} }} }}"
    return [*MORE, "train.length='8ep'", arm]


@pytest.mark.parametrize("optimizer", ["adam", "sgd"])
@pytest.mark.parametrize("name", ["gradual", "set", "rigl"])
def test_layers_are_sparse_between_changes_of_the_mask(name: str, optimizer: str, tmp_path: Path) -> None:
    settings = [*changing(name), f"train.optimizer={{ name = '{optimizer}', lr = 0.01, weight_decay = 0.01 }}"]
    losses, masks = {}, {}
    for execution in ("dense", "sparse"):
        study = run_tiny(tmp_path / execution, settings, execution=execution)
        row = study.frame().filter(pl.col("arm") == "only").row(0, named=True)
        assert row["execution"] == execution
        losses[execution] = study.curves().filter(pl.col("arm") == "only").sort("step")["valid_loss"].drop_nulls().to_numpy()
        stored = study.store.get(row["node"])
        assert stored is not None
        drawn = [name for name in stored.artefacts if name.startswith("mask/")]
        masks[execution] = {name: State.from_bytes(study.store.read(stored.key, name)).mask for name in drawn}
    assert losses["dense"] == pytest.approx(losses["sparse"], rel=1e-4)
    assert len(masks["dense"]) >= 3
    assert masks["dense"] == masks["sparse"]


@pytest.mark.parametrize("name", ["gradual", "set", "rigl"])
@pytest.mark.parametrize("count", [13, 17, 20])
def test_a_kill_while_sparse_layers_move_changes_nothing(name: str, count: int, tmp_path: Path) -> None:
    run_tiny(tmp_path / "whole", changing(name), execution="sparse", arms=["only"])
    child = os.fork()
    if child == 0:
        try:
            faults.arm(f"checkpoint.after-rename:{count}")
            run_tiny(tmp_path / "killed", changing(name), execution="sparse", arms=["only"])
        finally:
            os._exit(0)
    _, status = os.waitpid(child, 0)
    assert os.WIFSIGNALED(status)
    assert list((tmp_path / "killed").rglob("mask-*.safetensors")), "killed while a mask changed"
    run_tiny(tmp_path / "killed", changing(name), execution="sparse", arms=["only"])
    assert contents(tmp_path / "killed") == contents(tmp_path / "whole")


def test_what_reads_every_gradient_stays_dense(tmp_path: Path) -> None:
    study = run_tiny(tmp_path / "sparse", changing("snfs"), execution="sparse")
    assert study.frame().filter(pl.col("arm") == "only")["execution"].to_list() == ["dense"]
    plans = [studies.prepare(str(RECIPE), store=tmp_path, settings=changing("snfs"), execution=how).plan for how in ("dense", "sparse")]  # type: ignore[arg-type]
    assert plans[0].graph.nodes[-1].key == plans[1].graph.nodes[-1].key


def table(density: float) -> Crossovers:
    return Crossovers((Crossover("linear", 8, 8, 8, density),))


def test_a_measured_table_decides_and_the_store_keeps_it(tmp_path: Path) -> None:
    frames = {}
    for density, execution in ((1.0, "sparse"), (0.0, "dense")):
        study = studies.run(RECIPE, store=tmp_path / "runs", settings=["replicates=1"], executor="inline", crossovers=table(density))
        frames[execution] = study.frame().filter(pl.col("level") > 0)
        assert set(frames[execution]["execution"]) == {execution}
        assert Crossovers.from_described(study.store.crossovers(table(density).digest)) == table(density)
    assert not set(frames["sparse"]["node"]) & set(frames["dense"]["node"]), "the table is in the key"
    assert study.store.verify() == []
    next(iter(sorted((tmp_path / "runs" / "crossovers").iterdir()))).write_text("{}")
    assert ["damaged" in fault for fault in study.store.verify()] == [True]


def test_without_its_table_a_node_fails_and_says_so(tmp_path: Path) -> None:
    prepared = studies.prepare(str(RECIPE), store=tmp_path / "runs", settings=["replicates=1"], crossovers=table(0.5))
    (tmp_path / "runs" / "crossovers" / f"{table(0.5).digest}.json").unlink()
    outcome = studies.perform(prepared, "inline")
    assert outcome.failed
    assert all("the table of crossovers that a node was planned with" in error for error in outcome.errors.values())


LANGUAGE_MODEL = """
schema = 1
title = "A small language model"
data = { name = "bible-lm", vocabulary = 300, limit = 200 }
model = { name = "lstm-lm-small", embedding = 16, hidden = 24 }
task = { name = "language-modelling", loss_over = "windows" }
train = { length = "2ep", batch = 8, optimizer = { name = "sgd", lr = 0.5 }, clip = 5.0 }
prune = { score = "random", scope = "layer", prunable = ["recurrent", "linear"], schedule = { name = "one-shot", density = [0.2] } }
arms = { sparse = { rewind = "init" } }
"""


def test_a_recurrent_language_model_trains_sparse_as_it_does_masked(tmp_path: Path) -> None:
    recipe = tmp_path / "lm.toml"
    recipe.write_text(LANGUAGE_MODEL)
    losses = {}
    for execution in ("dense", "sparse"):
        study = studies.run(recipe, store=tmp_path / execution, executor="inline", execution=execution)  # type: ignore[arg-type]
        rows = study.frame()
        assert set(rows["status"]) == {"done"}
        losses[execution] = study.curves().filter(study.curves()["arm"] == "sparse")["valid_loss"].to_numpy()
        assert rows.filter(rows["level"] == 1)["execution"].to_list() == [execution]
    assert losses["dense"] == pytest.approx(losses["sparse"], rel=1e-4)
