"""Recipes: merging, checking, and errors that say file, key, what was found and what is allowed."""

from __future__ import annotations

from pathlib import Path

import pytest

from secateur.errors import InputError, RecipeError, UnknownName
from secateur.studies import run as studies
from secateur.studies.recipe import load_recipe, merge, shipped_recipes

TINY = Path(__file__).with_name("tiny.toml")


def changed(folder: Path, old: str, new: str) -> str:
    """A copy of the tiny recipe with one text replaced."""
    text = TINY.read_text()
    assert old in text
    (folder / "tiny_plugin.py").write_text(TINY.with_name("tiny_plugin.py").read_text())
    path = folder / "changed.toml"
    path.write_text(text.replace(old, new))
    return str(path)


def test_an_empty_table_replaces() -> None:
    under = {"prune": {"score": "magnitude", "rates": {"*output*": 0.5}}}
    assert merge(under, {"prune": {"rates": {}}}) == {"prune": {"score": "magnitude", "rates": {}}}


def test_tables_merge_deeply_and_arrays_replace() -> None:
    under = {"train": {"length": "3ep", "batch": 16}, "widths": [3, 4]}
    over = {"train": {"batch": 8}, "widths": [5]}
    assert merge(under, over) == {"train": {"length": "3ep", "batch": 8}, "widths": [5]}


def test_a_component_of_another_name_replaces_the_whole_table() -> None:
    under = {"schedule": {"name": "iterative", "keep_each": 0.8, "levels": 20}}
    assert merge(under, {"schedule": {"name": "one-shot", "when": "init"}}) == {"schedule": {"name": "one-shot", "when": "init"}}
    assert merge(under, {"schedule": {"name": "iterative", "levels": 3}})["schedule"] == {
        "name": "iterative",
        "keep_each": 0.8,
        "levels": 3,
    }


def test_order_is_base_recipe_preset_settings(tmp_path: Path) -> None:
    (tmp_path / "common.toml").write_text(
        TINY.read_text().replace('"tiny_plugin.py"', "") + '\n[presets.long]\ntrain = { length = "9ep" }\n'
    )
    (tmp_path / "child.toml").write_text('base = "common"\ntitle = "child"\ntrain = { batch = 4 }\n[presets.long]\nreplicates = 7\n')
    child = load_recipe(str(tmp_path / "child.toml"))
    assert (child.title, child.content["train"]["batch"], child.content["train"]["length"]) == ("child", 4, "3ep")
    long = load_recipe(str(tmp_path / "child.toml"), preset="long", settings=["train.batch=2", "model.init=kaiming-normal"])
    assert (long.content["train"]["length"], long.content["replicates"], long.content["train"]["batch"]) == ("9ep", 7, 2)
    assert long.content["model"]["init"] == "kaiming-normal"


def test_only_the_wanted_arms_and_what_their_masks_come_from() -> None:
    alone = load_recipe("lenet-mnist", arms=["dense"]).content
    assert alone["arms"] == {}
    assert {entry["arm"] for entry in alone["expect"]} == {"dense"}
    assert list(load_recipe("quickstart", arms=["reinit"]).content["arms"]) == ["winning", "reinit"]
    analyses = load_recipe("stability-mnist", arms=["winning"]).content["analyses"]
    assert set(analyses["stability"]["arms"]) <= {"dense", "winning"}
    with pytest.raises(UnknownName, match="winnign.*Did you mean 'winning'"):
        load_recipe("quickstart", arms=["winnign"])


@pytest.mark.parametrize(
    ("old", "new", "says"),
    [
        ("replicates = 2", "replicats = 2", ["changed.toml", "'replicats'", "Did you mean 'replicates'?"]),
        ("replicates = 2", "replicates = 0", ["changed.toml", "replicates", "found 0"]),
        ("batch = 16", "bach = 16", ["changed.toml", "train", "'bach'", "Did you mean 'batch'?"]),
        ("batch = 16", 'batch = "16"', ["train.batch", "found '16'", "a whole number"]),
        ('length = "3ep"', 'length = "3 epochs"', ["train.length", "3 epochs", "10ep"]),
        ('"lenet-300-100"', '"lenet-300-10"', ["model", "Did you mean 'lenet-300-100'?"]),
        ("hidden = [6, 5]", 'hidden = [6, "a"]', ["model.hidden[1]", "found 'a'"]),
        ('name = "adam", lr', 'name = "adam", rate', ["train.optimizer", "'rate'", "betas"]),
        ('scope = "layer"', 'scope = "layers"', ["prune.scope", "Did you mean 'layer'?"]),
        ('scope = "layer"', 'prunable = ["linea"]', ["prunable", "Did you mean 'linear'?"]),
        ("keep_each = 0.6", "keep_each = 1.6", ["keep_each = 1.6"]),
        ('rewind = "5it"', 'rewind = "5"', ["arms.late", "rewind"]),
        ('rewind = "5it"', 'rewind = "3ep"', ["arms.late", "not before the end", "finetune"]),
        ('mask_from = "winning"', 'mask_from = "wining"', ["arms.reinit.mask_from", "Did you mean 'winning'?"]),
        ('mask_from = "winning"', 'mask_from = "winning"\nprune = { scope = "global" }', ["arms.reinit", "'mask_from' and 'prune'"]),
        ("[arms.late]", "[arms.dense]", ["'dense' is the arm of level 0"]),
        ("schema = 1", "schema = 2", ["found 2", "schema 1"]),
    ],
)  # fmt: skip
def test_a_wrong_recipe_is_refused_with_place_and_remedy(old: str, new: str, says: list[str], tmp_path: Path) -> None:
    recipe = changed(tmp_path, old, new)
    with pytest.raises(InputError) as error:
        studies.run(recipe, store=tmp_path / "runs", executor="inline", settings=["replicates=1"] if "replicates" not in old else [])
    for words in says:
        assert words in str(error.value)
    assert not (tmp_path / "runs" / "nodes").exists(), "nothing may run"


def test_arms_that_take_masks_from_one_another_are_refused(tmp_path: Path) -> None:
    recipe = changed(tmp_path, '[arms.winning]\nrewind = "init"', '[arms.winning]\nmask_from = "reinit"\nrewind = "init"')
    with pytest.raises(RecipeError, match="in a circle"):
        studies.prepare(recipe, store=tmp_path / "runs")


def test_an_unknown_recipe_or_preset_names_the_nearest() -> None:
    with pytest.raises(UnknownName, match="Did you mean 'quickstart'"):
        load_recipe("quickstrat")
    with pytest.raises(UnknownName, match="Did you mean 'quick'"):
        load_recipe("quickstart", preset="quikc")


@pytest.mark.parametrize("name", sorted(shipped_recipes()))
def test_every_recipe_has_its_presets_and_reads_well(name: str) -> None:
    for preset in ("smoke", "quick", "paper"):
        recipe = load_recipe(name, preset)
        assert recipe.content["title"]
        assert recipe.content["arms"]
