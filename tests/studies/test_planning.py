"""The run graph: what is equal is one node, and a node's key holds all that decides its bits."""

from __future__ import annotations

from pathlib import Path

import pytest
from tiny_studies import RECIPE, contents, run_tiny

from secateur.registry import scores
from secateur.studies import run as studies
from secateur.studies.planning import Plan


def plan(tmp_path: Path, *settings: str, **more: object) -> Plan:
    return studies.prepare(str(RECIPE), settings=settings, store=tmp_path / "runs", **more).plan  # type: ignore[arg-type]


def trainings(plan: Plan) -> dict[tuple[str, int, int], str]:
    return {(cell.arm, cell.level, cell.replicate): cell.train.key for cell in plan.cells}


def test_arms_share_dense_and_their_first_mask(tmp_path: Path) -> None:
    made = plan(tmp_path, "replicates=1")
    assert [(cell.arm, cell.level) for cell in made.cells] == [
        ("dense", 0), ("winning", 1), ("winning", 2), ("late", 1), ("late", 2), ("reinit", 1), ("reinit", 2),
    ]  # fmt: skip
    mask = {(cell.arm, cell.level): cell.mask.key for cell in made.cells if cell.mask is not None}
    assert mask["winning", 1] == mask["late", 1] == mask["reinit", 1]
    assert mask["winning", 2] == mask["reinit", 2] != mask["late", 2]
    kinds = [node.kind for node in made.graph.nodes]
    assert (kinds.count("train"), kinds.count("prune"), kinds.count("evaluate")) == (7, 3, 7)


def test_no_key_holds_an_arms_name(tmp_path: Path) -> None:
    text = RECIPE.read_text().replace("arms.winning", "arms.victorious").replace('"winning"', '"victorious"')
    (tmp_path / "tiny_plugin.py").write_text(RECIPE.with_name("tiny_plugin.py").read_text())
    (tmp_path / "renamed.toml").write_text(text)
    renamed = studies.prepare(str(tmp_path / "renamed.toml"), store=tmp_path / "runs").plan
    assert {node.key for node in renamed.graph.nodes} == {node.key for node in plan(tmp_path).graph.nodes}


@pytest.mark.parametrize(
    "setting",
    ["train.batch=8", "train.optimizer.lr=0.02", "model.hidden=[7, 5]", "data.count=65", "task.class_weights='balanced'", "train.clip=1.0"],
)
def test_every_setting_changes_every_training(setting: str, tmp_path: Path) -> None:
    before, after = trainings(plan(tmp_path)), trainings(plan(tmp_path, setting))
    assert before.keys() == after.keys()
    assert not set(before.values()) & set(after.values())


def test_a_default_written_out_is_the_default(tmp_path: Path) -> None:
    assert trainings(plan(tmp_path, "train.optimizer.eps=1e-8", "prune.score='magnitude'")) == trainings(plan(tmp_path))


def test_a_scores_version_belongs_to_the_key_of_what_it_prunes(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def tables() -> list[dict[str, object]]:
        return [node.spec["score"] for node in plan(tmp_path, "prune.score='magnitude'").graph.nodes if node.kind == "prune"]

    assert all(table == {"name": "magnitude"} for table in tables())
    monkeypatch.setitem(scores.entry("magnitude").traits, "version", 2)  # type: ignore[arg-type]
    assert all(table == {"name": "magnitude", "version": 2} for table in tables())


def test_threads_belong_to_the_key_and_replicates_differ(tmp_path: Path) -> None:
    one, two = trainings(plan(tmp_path)), trainings(plan(tmp_path, threads=2))
    assert not set(one.values()) & set(two.values())
    assert len(set(one.values())) == len(one)


def test_pruning_settings_do_not_touch_dense(tmp_path: Path) -> None:
    before, after = trainings(plan(tmp_path)), trainings(plan(tmp_path, "prune.scope='global'"))
    assert before["dense", 0, 0] == after["dense", 0, 0]
    assert before["winning", 1, 0] != after["winning", 1, 0]


def test_a_sweep_crosses_the_arms_and_names_its_factor(tmp_path: Path) -> None:
    text = RECIPE.read_text() + '\n[sweep]\n"train.optimizer.lr" = [1e-2, 1e-3]\n'
    (tmp_path / "tiny_plugin.py").write_text(RECIPE.with_name("tiny_plugin.py").read_text())
    (tmp_path / "swept.toml").write_text(text)
    study = studies.run(tmp_path / "swept.toml", store=tmp_path / "runs", executor="inline", settings=["replicates=1"])
    frame = study.frame()
    assert frame["factor.train.optimizer.lr"].unique().sort().to_list() == [1e-3, 1e-2]
    assert len(frame) == 14
    assert set(frame["status"]) == {"done"}


def test_an_arm_that_trains_otherwise_has_a_dense_of_its_own(tmp_path: Path) -> None:
    text = RECIPE.read_text().replace("[arms.late]\n", '[arms.late]\ntrain = { length = "4ep" }\n')
    (tmp_path / "tiny_plugin.py").write_text(RECIPE.with_name("tiny_plugin.py").read_text())
    (tmp_path / "longer.toml").write_text(text)
    cells = studies.prepare(str(tmp_path / "longer.toml"), store=tmp_path / "runs").plan.cells
    assert ("late", 0) in {(cell.arm, cell.level) for cell in cells}
    assert ("winning", 0) not in {(cell.arm, cell.level) for cell in cells}


def test_finished_nodes_are_never_repeated_and_a_state_asked_for_later_is_added(tmp_path: Path) -> None:
    study = run_tiny(tmp_path, ["replicates=1", "arms.late.rewind='init'"])
    before = contents(tmp_path)
    events: list[str] = []
    again = run_tiny(tmp_path, ["replicates=1"], listen=lambda event: events.append(f"{event['event']} {event.get('kind', '')}"))
    after = contents(tmp_path)
    assert all(after[name] == content for name, content in before.items())
    assert any(name.endswith("/state/5") for name in after.keys() - before.keys()), "the dense run's state at step 5 is recomputed"
    assert len(again.frame()) == len(study.frame())
    events.clear()
    run_tiny(tmp_path, ["replicates=1"], listen=lambda event: events.append(event["event"]))
    assert events == ["survey"]


def test_the_recomputed_state_is_the_one_an_undisturbed_run_keeps(tmp_path: Path) -> None:
    run_tiny(tmp_path / "later", ["replicates=1", "arms.late.rewind='init'"])
    run_tiny(tmp_path / "later", ["replicates=1"])
    run_tiny(tmp_path / "once", ["replicates=1"])
    later, once = contents(tmp_path / "later"), contents(tmp_path / "once")
    assert all(later[name] == content for name, content in once.items())


@pytest.mark.parametrize("rewind", ["finetune", "lr", "{ to = '5it', optimizer = 'kept' }", "{ to = 'lr', optimizer = 'kept' }"])
def test_every_rewind_runs_with_the_same_masks_at_level_one(rewind: str, tmp_path: Path) -> None:
    value = rewind if rewind.startswith("{") else f"'{rewind}'"
    study = run_tiny(tmp_path, ["replicates=1", f"arms.late.rewind={value}"])
    frame = study.frame()
    assert set(frame["status"]) == {"done"}
    rows = frame.filter(frame["level"] == 1)
    assert rows["density"].n_unique() == 1
    assert rows["node"].n_unique() == 3


def test_fine_tuning_starts_where_training_ended(tmp_path: Path) -> None:
    study = run_tiny(tmp_path, ["replicates=1", "arms.late.rewind='finetune'", "prune.schedule.keep_each=0.999", "prune.schedule.levels=1"])
    curves = study.curves()
    dense_end = curves.filter(curves["arm"] == "dense")["valid_loss"][-1]
    tuned_start = curves.filter(curves["arm"] == "late")["valid_loss"][0]
    assert tuned_start == pytest.approx(dense_end, abs=1e-6)


def test_a_diverged_run_is_kept_and_counted_and_the_rest_goes_on(tmp_path: Path) -> None:
    text = RECIPE.read_text() + '\n[sweep]\n"data.poison" = [true, false]\n'
    (tmp_path / "tiny_plugin.py").write_text(RECIPE.with_name("tiny_plugin.py").read_text())
    (tmp_path / "poisoned.toml").write_text(text)
    frame = studies.run(tmp_path / "poisoned.toml", store=tmp_path / "runs", executor="inline", settings=["replicates=1"]).frame()
    poisoned = frame.filter(frame["factor.data.poison"])
    assert set(poisoned["status"]) == {"diverged"}
    assert poisoned["test_accuracy"].null_count() == len(poisoned)
    assert set(frame.filter(~frame["factor.data.poison"])["status"]) == {"done"}


def test_rows_come_from_the_store_alone(tmp_path: Path) -> None:
    study = run_tiny(tmp_path, ["replicates=1"])
    store = study.store
    for row in study.frame().iter_rows(named=True):
        assert store.get(row["node"]) is not None
    victim = next(cell for cell in study.record["cells"] if cell["arm"] == "late" and cell["level"] == 2)
    store.delete(victim["evaluate"])
    fresh = type(study)(store, study.record).frame()
    missing = fresh.filter(fresh["status"] == "missing")
    assert missing["arm"].to_list() == ["late"]
    assert missing["test_accuracy"].to_list() == [None]
