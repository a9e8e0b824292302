"""Estimates of time: what a step costs by its parts, what a plan costs by its nodes, and the table that comes with the package."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import nn

from secateur.reports.estimates import estimate
from secateur.reports.listing import listing, shown
from secateur.reports.recipe_times import RecipeTimes, form_of, recipe_times
from secateur.studies import pace
from secateur.studies.pace import LayerWork, StepWork, step_work
from secateur.studies.recipe import load_recipe, presets_of, shipped_recipes
from secateur.studies.run import perform, prepare


class Rows:
    """A split of equal batches of `width` numbers."""

    def __init__(self, rows: int, width: int) -> None:
        self.rows, self.width = rows, width

    def __len__(self) -> int:
        return self.rows

    def steps(self, batch: int) -> int:
        return -(-self.rows // batch)

    def epoch(self, batch: int, seed: int, epoch: int, start: int = 0) -> Any:
        for number in range(start, self.steps(batch)):
            rows = min(batch, self.rows - number * batch)
            yield torch.zeros(rows, self.width), torch.zeros(rows, dtype=torch.int64)

    def in_order(self, batch: int) -> Any:
        yield from self.epoch(batch, 0, 0)


def test_a_step_of_a_linear_network_is_the_sum_of_its_parts() -> None:
    work = step_work(nn.Sequential(nn.Linear(30, 20, bias=False), nn.ReLU(), nn.Linear(20, 5, bias=False)), Rows(64, 30), {"batch": 16})
    products, outputs = 16 * (30 * 20 + 20 * 5), 16 * (20 + 5)
    expected = pace.STEP + products * pace.MULTIPLY_ADD + outputs * pace.OUTPUT["linear"] + 700 * pace.WEIGHT
    assert work.seconds() == pytest.approx(expected)
    assert work.weights == 700
    doubled = step_work(nn.Sequential(nn.Linear(30, 20, bias=False)), Rows(64, 30), {"batch": 32})
    once = step_work(nn.Sequential(nn.Linear(30, 20, bias=False)), Rows(64, 30), {"batch": 16})
    fixed = pace.STEP + 600 * pace.WEIGHT
    assert doubled.seconds() - fixed == pytest.approx(2 * (once.seconds() - fixed))


def test_the_last_batch_may_be_smaller() -> None:
    whole = step_work(nn.Linear(30, 20), Rows(32, 30), {"batch": 32}).layers[0]
    half = step_work(nn.Linear(30, 20), Rows(16, 30), {"batch": 32}).layers[0]
    assert half.shrinking == pytest.approx(whole.shrinking / 2)


def test_steps_of_a_recurrent_layer_follow_one_another() -> None:
    class Last(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.rnn = nn.RNN(8, 6, batch_first=True)

        def forward(self, x: torch.Tensor) -> torch.Tensor:
            return self.rnn(x.unflatten(1, (-1, 8)))[0]

    layer = step_work(Last(), Rows(64, 8 * 12), {"batch": 16}).layers[0]
    assert layer.fixed == pytest.approx(2 * 12 * pace.RECURRENT_STEP), "two matrices, twelve steps, whatever the batch"


def test_sparse_layers_cost_less_below_their_crossover_alone() -> None:
    layer = LayerWork(1000, shrinking=1.0, other=0.2, fixed=0.1, crossover=0.4, pruned=True)
    assert layer.seconds(0.5, "auto") == pytest.approx(1.3)
    assert layer.seconds(0.2, "auto") == pytest.approx(0.5 + 0.3)
    assert layer.seconds(0.001, "auto") == pytest.approx(pace.LEAST + 0.3)
    assert layer.seconds(0.2, "dense") == pytest.approx(1.3)
    untouched = LayerWork(1000, 1.0, 0.2, 0.1, 0.4, pruned=False)
    assert untouched.seconds(0.01, "sparse") == pytest.approx(1.3)
    dense, sparse = (StepWork((layer,), 0.0, 1000, 1, False).seconds(0.2, way) for way in ("dense", "auto"))
    assert dense > sparse


def test_only_what_masks_cover_runs_sparse() -> None:
    network = nn.Sequential(nn.Linear(512, 512), nn.Linear(512, 10))
    work = step_work(network, Rows(64, 512), {"batch": 64}, ["0.*"])
    assert [layer.pruned for layer in work.layers] == [True, False]


def test_the_estimate_is_right_within_a_small_factor_and_then_follows_the_store(tmp_path: Path) -> None:
    """A whole study that trains for a second: estimated before, and once it has run its pace is the measured one."""
    recipe = tmp_path / "small.toml"
    recipe.write_text(
        """
schema = 1
data = { name = "bible", vocabulary = 2000, max_tokens = 24, limit = 2000 }
model = { name = "kim-cnn", embedding = 32, filters = 50, widths = [3, 4] }
task = { name = "classification" }
train = { length = "2ep", batch = 100 }
prune = { schedule = { name = "iterative", keep_each = 0.5, levels = 1 } }
[arms.winning]
rewind = "init"
"""
    )
    prepared = prepare(str(recipe), store=tmp_path / "runs")
    before = estimate(prepared, 1)
    assert before["left"] == {"initialise": 1, "train": 2, "evaluate": 2, "prune": 1}
    assert before["pace"] == "estimated"
    assert estimate(prepared, 8)["seconds"] == estimate(prepared, 2)["seconds"], "a chain is no shorter for more workers"
    perform(prepared, "inline")
    after = estimate(prepared, 1)
    assert (after["seconds"], after["left"], after["pace"]) == (0.0, {}, "measured")
    again = estimate(prepare(str(recipe), store=tmp_path / "runs", settings=["replicates=2"]), 1)
    assert again["pace"] == "measured"
    assert again["left"] == before["left"]
    assert before["seconds"] / 4 < again["seconds"] < before["seconds"] * 4


@pytest.mark.parametrize("name", sorted(shipped_recipes()))
def test_every_shipped_recipe_has_its_time(name: str) -> None:
    times = recipe_times()
    for preset in presets_of(name):
        told = f"{name}, preset {preset}, changed since its time was estimated: python benchmarks/recipe_times.py {name}"
        assert times.seconds.get(name, {}).get(preset, 0) > 0, told
        assert times.forms[name][preset] == form_of(load_recipe(name, preset).content), told


def test_times_are_of_shipped_recipes_and_ordered_by_preset() -> None:
    for name, row in recipe_times().seconds.items():
        assert set(row) == set(presets_of(name))
        assert row["smoke"] <= 90, name
        assert row["smoke"] < row["quick"] < row["paper"], name


def test_words_do_not_change_a_form() -> None:
    content = {"title": "a", "about": "b", "train": {"length": "1ep"}, "arms": {"x": {"about": "c", "rewind": "init"}}}
    other = {"title": "A", "train": {"length": "1ep"}, "arms": {"x": {"rewind": "init"}}}
    assert form_of(content) == form_of(other)
    assert form_of(content) != form_of({**content, "train": {"length": "2ep"}})


def test_the_table_reads_as_it_was_written() -> None:
    written = json.loads(RecipeTimes({"a": {"smoke": 5.0}}, {"a": {"smoke": "0f"}}, "two cores").to_json())
    assert written == {"format": 1, "machine": "two cores", "recipes": {"a": {"smoke": [5.0, "0f"]}}}


def test_recipes_are_listed_with_study_arms_and_time() -> None:
    rows = {row["name"]: row for row in listing("recipes")}
    assert rows["mpaa-fc"]["study"] == "A"
    assert rows["mpaa-fc"]["arms"] == ["dense", "pruned", "unweighted", "glove"]
    assert list(rows["mpaa-fc"]["seconds"]) == ["smoke", "quick", "paper"]
    assert shown({"name": "x", "arms": ["a", "b"], "seconds": {"smoke": 9.6, "quick": 400.0, "paper": 200_000.0, "own": None}}) == {
        "name": "x",
        "arms": "a, b",
        "time on two cores": "smoke 10\u202fs, quick 7\u202fmin, paper 2\u202fdays, own ?",
    }


def test_listing_recipes_needs_no_torch() -> None:
    code = "import sys; from secateur.reports.listing import listing; listing('recipes'); sys.exit('torch' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], env=os.environ, check=False).returncode == 0
