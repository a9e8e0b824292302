"""Schedules that prune while a network trains, through a whole study."""

from __future__ import annotations

import itertools
import os
from pathlib import Path

import polars as pl
import pytest
from tiny_studies import contents, run_tiny

from secateur.studies import faults
from secateur.studies.results import Study
from secateur.training.states import State

GRADUAL = "{ name = 'gradual', final = [0.5, 0.2], begin = '2it', end = '8it', every = '2it' }"
SCHEDULES = {
    "gradual": ("'magnitude'", "'layer'", GRADUAL),
    "gradual-movement": ("'movement'", "'global'", GRADUAL),
    "gradual-snip": ("'snip'", "'global'", GRADUAL),
    "static": ("'random'", "'erk'", "{ name = 'dynamic', method = 'static', density = [0.4], every = '2it' }"),
    "set": ("'random'", "'uniform'", "{ name = 'dynamic', method = 'set', density = [0.4], every = '2it' }"),
    "rigl": ("'random'", "'erk'", "{ name = 'dynamic', method = 'rigl', density = [0.4], every = '2it' }"),
    "snfs": ("'random'", "'uniform'", "{ name = 'dynamic', method = 'snfs', density = [0.4], every = '2it' }"),
    "early-bird": ("'magnitude'", "'layer'", "{ name = 'early-bird', density = [0.4], every = '2it', window = 2, threshold = 0.9 }"),
}


def settings(name: str) -> list[str]:
    score, scope, schedule = SCHEDULES[name]
    arm = f"arms={{ only = {{ prune = {{ score = {score}, scope = {scope}, schedule = {schedule} }} }} }}"
    return ["replicates=1", arm]


def masks_of(study: Study, row: dict[str, object]) -> dict[int, State]:
    stored = study.store.get(str(row["node"]))
    assert stored is not None
    names = [name for name in stored.artefacts if name.startswith("mask/")]
    return {int(name.removeprefix("mask/")): State.from_bytes(study.store.read(stored.key, name)) for name in names}


@pytest.mark.parametrize("name", sorted(SCHEDULES))
def test_the_study_ends_at_the_densities_asked_for(name: str, tmp_path: Path) -> None:
    frame = run_tiny(tmp_path, settings(name)).frame().filter(pl.col("arm") == "only")
    assert set(frame["status"]) == {"done"}
    wanted = [0.5, 0.2] if name.startswith("gradual") else [0.4]
    assert frame["density"].to_list() == pytest.approx(wanted, abs=0.02)


def test_a_gradual_ramp_only_ever_removes_and_reports_the_final_density(tmp_path: Path) -> None:
    study = run_tiny(tmp_path, settings("gradual"))
    row = study.frame().filter((pl.col("arm") == "only") & (pl.col("level") == 2)).row(0, named=True)
    masks = masks_of(study, row)
    assert sorted(masks) == [4, 6, 8]
    ordered = [masks[step].mask for step in sorted(masks)]
    assert all((later & earlier) == later for earlier, later in itertools.pairwise(ordered) if earlier and later)
    assert row["best_step"] >= 8, "a state from before the ramp's end is no result at the final density"
    best = State.from_bytes(study.store.read(row["node"], "state/best"))
    assert best.mask == ordered[-1]
    assert all(bool((best.model[name][~best.mask[name]] == 0).all()) for name in best.mask)


@pytest.mark.parametrize("method", ["set", "rigl", "snfs"])
def test_dynamic_masks_move_at_constant_density(method: str, tmp_path: Path) -> None:
    study = run_tiny(tmp_path, settings(method))
    row = study.frame().filter(pl.col("arm") == "only").row(0, named=True)
    masks = {step: state.mask for step, state in masks_of(study, row).items()}
    assert sorted(masks) == [0, 2, 4, 6, 8]
    assert len({mask.kept for mask in masks.values() if mask}) == 1
    assert masks[0] != masks[8]


def test_static_masks_stay(tmp_path: Path) -> None:
    study = run_tiny(tmp_path, settings("static"))
    row = study.frame().filter(pl.col("arm") == "only").row(0, named=True)
    assert list(masks_of(study, row)) == [0]


def test_an_early_bird_stops_its_search_and_trains_the_ticket_in_full(tmp_path: Path) -> None:
    study = run_tiny(tmp_path, settings("early-bird"))
    cell = next(cell for cell in study.record["cells"] if cell["arm"] == "only")
    search, ticket = study.store.get(cell["mask"]), study.store.get(cell["train"])
    assert search is not None
    assert ticket is not None
    assert search.facts["mask_steps"] == [2, 4, 6]
    assert search.facts["steps"] == 6
    assert ticket.facts["steps"] == 12
    assert study.cost()["only"]["steps"] == 18


@pytest.mark.parametrize("name", ["gradual-movement", "snfs", "early-bird"])
@pytest.mark.parametrize("count", [2, 5, 7])
def test_a_kill_in_the_middle_of_training_changes_nothing(name: str, count: int, tmp_path: Path) -> None:
    run_tiny(tmp_path / "whole", settings(name))
    child = os.fork()
    if child == 0:
        try:
            faults.arm(f"checkpoint.after-rename:{count}")
            run_tiny(tmp_path / "killed", settings(name))
        finally:
            os._exit(0)
    _, status = os.waitpid(child, 0)
    assert os.WIFSIGNALED(status)
    run_tiny(tmp_path / "killed", settings(name))
    assert contents(tmp_path / "killed") == contents(tmp_path / "whole")
