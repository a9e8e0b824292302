"""Schedules that prune while a network trains, through a whole study."""

from __future__ import annotations

import itertools
import os
from pathlib import Path

import polars as pl
import pytest
import torch
from tiny_studies import RECIPE, contents, run_tiny

from secateur.errors import RecipeError
from secateur.studies import faults
from secateur.studies import run as studies
from secateur.studies.results import Study
from secateur.training.states import State

GRADUAL = "{ name = 'gradual', final = [0.5, 0.2], begin = '2it', end = '8it', every = '2it' }"
SCHEDULES = {
    "gradual": ("'magnitude'", "'layer'", GRADUAL),
    "gradual-movement": ("'movement'", "'global'", GRADUAL),
    "gradual-snip": ("'snip'", "'global'", GRADUAL),
    "soft-movement": (
        "'movement'",
        "'global'",
        "{ name = 'soft-movement', strength = [0.0, 3.0, 10.0], rate = 10.0, end = '9it', every = '2it' }",
    ),
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


@pytest.mark.parametrize("name", sorted(SCHEDULES.keys() - {"soft-movement"}))
def test_the_study_ends_at_the_densities_asked_for(name: str, tmp_path: Path) -> None:
    frame = run_tiny(tmp_path, settings(name)).frame().filter(pl.col("arm") == "only")
    assert set(frame["status"]) == {"done"}
    wanted = [0.5, 0.2] if name.startswith("gradual") else [0.4]
    assert frame["density"].to_list() == pytest.approx(wanted, abs=0.02)


@pytest.mark.parametrize("first", ["1it", "4it"])  # weights are no numbers when the first mask is due; the loss is none before it is
@pytest.mark.parametrize("name", sorted(SCHEDULES))
def test_a_run_that_diverges_is_counted_as_such_at_whatever_step(name: str, first: str, tmp_path: Path) -> None:
    rate = 3e38 if "movement" in name else 1e45  # movement multiplies by it in single precision
    exploding = f"train.optimizer={{ name = 'sgd', lr = {rate} }}"
    frame = run_tiny(tmp_path, [its.replace("'2it'", f"'{first}'") for its in settings(name)] + [exploding]).frame()
    assert set(frame.filter(pl.col("arm") == "only")["status"]) == {"diverged"}


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
    assert all(best.model[name].shape == (best.mask.pattern(name).kept,) for name in best.mask), "only survivors are kept"


@pytest.mark.parametrize("method", ["set", "rigl", "snfs"])
def test_dynamic_masks_move_at_constant_density(method: str, tmp_path: Path) -> None:
    study = run_tiny(tmp_path, settings(method))
    row = study.frame().filter(pl.col("arm") == "only").row(0, named=True)
    masks = {step: state.mask for step, state in masks_of(study, row).items()}
    assert sorted(masks) == [0, 2, 4, 6, 8]
    assert len({mask.kept for mask in masks.values() if mask}) == 1
    assert masks[0] != masks[8]


def test_static_masks_are_drawn_over_the_initial_weights_and_stay(tmp_path: Path) -> None:
    study = run_tiny(tmp_path, settings("static"))
    cell = next(cell for cell in study.record["cells"] if cell["arm"] == "only")
    drawn = State.from_bytes(study.store.read(cell["mask"], "mask")).mask
    assert State.from_bytes(study.store.read(cell["train"], "state/end")).mask == drawn
    kinds = {node.facts["kind"] for key in study.record["nodes"] if (node := study.store.get(key))}
    assert "initialise" in kinds


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


def test_soft_movement_keeps_the_less_the_stronger_it_pulls(tmp_path: Path) -> None:
    study = run_tiny(tmp_path, settings("soft-movement"))
    rows = study.frame().filter(pl.col("arm") == "only").sort("level")
    assert set(rows["status"]) == {"done"}
    assert set(rows["execution"]) == {"dense"}
    assert 1 > rows["density"][0] > rows["density"][1] > rows["density"][2] > 0, "without a strength, movement alone prunes"
    for row in rows.iter_rows(named=True):
        masks = masks_of(study, row)
        assert set(masks) <= {0, 2, 4, 6, 8, 9}
        ordered = [masks[step].mask for step in sorted(masks)]
        assert ordered[0].density == 1
        assert all((later & earlier) == later != earlier for earlier, later in itertools.pairwise(ordered))
        assert ordered[-1].density == row["density"]
        assert row["best_step"] >= max(masks), "a state of a denser network is no result at this density"
        end = State.from_bytes(study.store.read(row["node"], "state/end"))
        assert end.mask == ordered[-1]
        assert all(
            torch.count_nonzero(tensor) <= ordered[-1].pattern(name).kept for name, tensor in end.whole().items() if name in end.mask
        )


def test_until_soft_movement_has_trained_its_density_is_unknown(tmp_path: Path) -> None:
    prepared = studies.prepare(str(RECIPE), store=tmp_path, settings=settings("soft-movement"))
    assert [cell.density for cell in prepared.plan.cells if cell.arm == "only"] == [None] * 3
    rows = prepared.study.frame().filter(pl.col("arm") == "only")
    assert rows.select("density", "sparsity", "compression").null_count().row(0) == (3, 3, 3)
    assert len(set(studies.labels(prepared.plan).values())) == len(studies.labels(prepared.plan))


@pytest.mark.parametrize(
    ("arm", "reason"),
    [
        ("{ score = 'magnitude', scope = 'global', schedule = { name = 'soft-movement' } }", "they are movement"),
        ("{ score = 'movement', scope = 'layer', schedule = { name = 'soft-movement' } }", "nothing competes"),
        ("{ score = 'movement', scope = 'global', floor = 3, schedule = { name = 'soft-movement' } }", "nothing competes"),
        ("{ score = 'movement', schedule = { name = 'one-shot' } }", "grows while training"),
        ("{ score = 'random', schedule = { name = 'early-bird' } }", "says nothing"),
    ],
)
def test_what_cannot_be_combined_is_refused_before_anything_runs(arm: str, reason: str, tmp_path: Path) -> None:
    with pytest.raises(RecipeError, match=rf"tiny.toml: arms.only: prune: .* cannot be combined with .*{reason}"):
        studies.prepare(str(RECIPE), store=tmp_path, settings=["replicates=1", f"arms={{ only = {{ prune = {arm} }} }}"])


@pytest.mark.parametrize("name", ["gradual", "gradual-movement", "soft-movement", "rigl", "snfs", "early-bird"])
@pytest.mark.parametrize("count", [4, 5, 7])
def test_a_kill_in_the_middle_of_training_changes_nothing(name: str, count: int, tmp_path: Path) -> None:
    run_tiny(tmp_path / "whole", settings(name), arms=["only"])
    child = os.fork()
    if child == 0:
        try:
            faults.arm(f"checkpoint.after-rename:{count}")
            run_tiny(tmp_path / "killed", settings(name), arms=["only"])
        finally:
            os._exit(0)
    _, status = os.waitpid(child, 0)
    assert os.WIFSIGNALED(status)
    assert list((tmp_path / "killed").rglob("mask-*.safetensors")), "killed while a mask changed"
    run_tiny(tmp_path / "killed", settings(name), arms=["only"])
    assert contents(tmp_path / "killed") == contents(tmp_path / "whole")


@pytest.mark.parametrize("name", ["gradual", "rigl", "soft-movement"])
def test_a_mask_that_changes_is_always_enforced(name: str, tmp_path: Path) -> None:
    with pytest.raises(RecipeError, match="train.masking: 'gradients'"):
        run_tiny(tmp_path, [*settings(name), "train.masking='gradients'"])
