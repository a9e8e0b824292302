"""Further questions put to a study's networks."""

from __future__ import annotations

from pathlib import Path

import polars as pl
import pytest
from tiny_studies import RECIPE, run_tiny

from secateur.errors import UnknownName
from secateur.studies import run as studies
from secateur.studies.interpolate_node import rise


def with_stability(folder: Path, table: str = 'arms = ["dense", "winning"]\npoints = 5') -> Path:
    (folder / "tiny_plugin.py").write_text(RECIPE.with_name("tiny_plugin.py").read_text())
    path = folder / "stable.toml"
    path.write_text(f"{RECIPE.read_text()}\n[analyses.stability]\n{table}\n")
    return path


def test_the_rise_above_the_mean_of_both_ends_by_hand() -> None:
    assert rise([0.1, 0.5, 0.3]) == pytest.approx(0.3)
    assert rise([0.2, 0.1, 0.2]) == pytest.approx(0.0)


def test_stability_compares_twins_from_the_same_start(tmp_path: Path) -> None:
    study = studies.run(with_stability(tmp_path), store=tmp_path / "runs", executor="inline", settings=["replicates=2"])
    frame = study.measures("stability")
    assert sorted(set(zip(frame["arm"], frame["level"], strict=True))) == [("dense", 0), ("winning", 1), ("winning", 2)]
    assert len(frame) == 6
    assert (frame["barrier"] >= 0).all()
    assert frame["density"].null_count() == 0
    lines = [key for key in study.record["nodes"] if (node := study.store.get(key)) and "line" in node.artefacts]
    assert len(lines) == 6


def test_an_unknown_analysis_or_arm_is_refused(tmp_path: Path) -> None:
    with pytest.raises(UnknownName, match="Did you mean 'winning'"):
        studies.prepare(str(with_stability(tmp_path, 'arms = ["wining"]')), store=tmp_path / "runs")


def test_masks_that_are_not_enforced_revive_and_are_reported_as_trained(tmp_path: Path) -> None:
    """Study C's unenforced masks and study E's masked gradients: what is evaluated is what was trained, revived weights included."""
    settings = ["replicates=1", "arms={ w = { rewind = 'init', train = { masking = 'start' } } }"]
    study = run_tiny(tmp_path, settings)
    row = study.frame().filter(study.frame()["arm"] == "w").row(-1, named=True)
    from secateur.training.states import State

    state = State.from_bytes(study.store.read(row["node"], "state/end"))
    cell = next(cell for cell in study.record["cells"] if cell["train"] == row["node"])
    mask = State.from_bytes(study.store.read(cell["mask"], "mask")).mask
    assert mask is not None
    assert any(bool((state.model[name][~mask[name]] != 0).any()) for name in mask)


def test_a_supermask_is_a_masked_network_that_was_never_trained(tmp_path: Path) -> None:
    settings = ["replicates=1", "arms={ winning = { rewind = 'init' }, super = { mask_from = 'winning', train = { length = '0it' } } }"]
    study = run_tiny(tmp_path, settings)
    frame = study.frame().filter(study.frame()["arm"] == "super")
    assert frame["level"].to_list() == [0, 1, 2]
    assert frame["steps"].to_list() == [0, 0, 0]
    assert set(frame["status"]) == {"done"}


@pytest.mark.parametrize("part", ["signs", "constant", "magnitudes", "shuffled", "shuffled-magnitudes"])
def test_a_ticket_can_restart_from_a_part_of_its_weights(part: str, tmp_path: Path) -> None:
    settings = [
        "replicates=1",
        f"arms={{ winning = {{ rewind = 'init' }}, part = {{ mask_from = 'winning', rewind = {{ to = 'init', keep = '{part}' }} }} }}",
    ]
    frame = run_tiny(tmp_path, settings).frame()
    assert set(frame["status"]) == {"done"}
    whole, part_of = (frame.filter((frame["arm"] == arm) & (frame["level"] == 1)) for arm in ("winning", "part"))
    assert whole["density"].to_list() == part_of["density"].to_list()
    assert whole["test_loss"].to_list() != part_of["test_loss"].to_list()


def test_a_tuned_factor_is_chosen_on_validation_for_each_arm_and_level_and_paid_for(tmp_path: Path) -> None:
    rates = ["sweep={ 'train.optimizer.lr' = [1e-2, 1e-5] }", "replicates=2"]
    swept = run_tiny(tmp_path, rates)
    study = run_tiny(tmp_path, [*rates, 'tune=["train.optimizer.lr"]'])
    every, best = swept.frame(), study.frame()
    assert "factor.train.optimizer.lr" not in best.columns
    assert len(every) == 2 * len(best)
    for row in best.iter_rows(named=True):
        mine = every.filter((every["arm"] == row["arm"]) & (every["level"] == row["level"]))
        means = mine.group_by("factor.train.optimizer.lr").agg(pl.col("valid_accuracy").mean())
        assert means.sort("valid_accuracy")["factor.train.optimizer.lr"].to_list()[-1] == row["chosen.train.optimizer.lr"] == 1e-2
        tried = mine.filter(mine["replicate"] == row["replicate"])
        assert row["steps"] == tried["steps"].sum()
    curves = swept.curves()
    assert study.curves().equals(curves.filter(curves["factor.train.optimizer.lr"] == 1e-2).drop("factor.train.optimizer.lr"))
    assert study.cost()["winning"]["steps"] == swept.cost()["winning"]["steps"]


def test_only_what_is_swept_can_be_tuned(tmp_path: Path) -> None:
    with pytest.raises(UnknownName, match="Did you mean 'train.optimizer.lr'"):
        run_tiny(tmp_path, ["sweep={ 'train.optimizer.lr' = [1e-2, 1e-3] }", 'tune=["train.optimiser.lr"]'])
