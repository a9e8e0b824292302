"""Every recipe that comes with Secateur, run as its user runs it, on real data: the smoke preset, from command to report."""

from __future__ import annotations

import json
import math
import os
import resource
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from secateur.data import catalogue
from secateur.data.files import Files
from secateur.errors import DataError
from secateur.studies.recipe import load_recipe, shipped_recipes

ONE_OF_EACH_STUDY = ("mpaa-cnn", "lenet-mnist", "single-shot-mnist", "ptb-sparse-1", "imdb-lstm")
"""The quickest smoke of each published study; all others are slow tests."""

WITHOUT_RAW_FILES = ("bible", "bible-lm", "bible-translation")
"""Data sets that a package brings along."""

SECONDS = 90
"""How long a smoke may take on two idle cores. Measured as processor time, which other work on the machine does not stretch."""

PROMISED = {
    "A": [f"mpaa-{end}" for end in ["fc", "cnn", "rnn", "gru", "lstm1", "lstm2", "reinit", "global", "dropout", "schedule", "paper"]],
    "B": [
        *(f"{start}-mnist" for start in ["lenet", "early", "supermask", "signs", "finetune", "rewind-sweep", "stability", "dynamic"]),
        *("reuters-r10-cnn", "reuters-r90-cnn", "reuters-r115-cnn", "early-reuters", "filters-reuters"),
    ],
    "C": [f"single-shot-{end}" for end in ["mnist", "cifar10", "agnews", "multi30k", "agnews-paper", "multi30k-paper"]],
    "D": [f"ptb-{end}" for end in ["sparse-1", "sparse-2", "controls", "small"]],
    "E": [
        *(f"{data}-{network}{twin}" for data in ("imdb", "agnews") for network in ("cnn", "lstm") for twin in ("", "-paper")),
        "transfer-sentiment",
    ],
}


def tables(content: Any) -> Iterator[dict[str, Any]]:
    """Every data table of a recipe: its own and its arms'."""
    yield content["data"]
    yield from (arm["data"] for arm in content["arms"].values() if "data" in arm)


def reason_to_skip(content: Any) -> str | None:
    """Why a recipe cannot run here; None when its data are here."""
    names = {table["name"] for table in tables(content) if "name" in table}
    names |= {catalogue.VECTORS for table in tables(content) if table.get("vectors") == "glove"}
    needed = sorted(names - set(WITHOUT_RAW_FILES))
    if needed and "SECATEUR_DATA" not in os.environ:
        return f"SECATEUR_DATA is not set; it needs {', '.join(needed)}"
    try:
        for name in needed:
            catalogue.paths(Files.default(None), name)
    except DataError as error:
        return str(error)
    return None


def secateur(*arguments: str, cwd: Path) -> str:
    command = [sys.executable, "-m", "secateur.cli", *arguments]
    result = subprocess.run(command, cwd=cwd, capture_output=True, text=True, timeout=900, check=False)
    assert result.returncode == 0, result.stderr
    return result.stdout


def processor_seconds() -> float:
    used = resource.getrusage(resource.RUSAGE_CHILDREN)
    return used.ru_utime + used.ru_stime


@pytest.mark.parametrize(
    "name", [pytest.param(name, marks=() if name in ONE_OF_EACH_STUDY else pytest.mark.slow) for name in sorted(shipped_recipes())]
)
def test_a_smoke_runs_from_command_to_report(name: str, tmp_path: Path) -> None:
    content = load_recipe(name, "smoke").content
    if why := reason_to_skip(content):
        pytest.skip(why)

    before = processor_seconds()
    ran = json.loads(secateur("run", name, "--preset", "smoke", "--executor", "inline", "--json", cwd=tmp_path))[0]
    assert processor_seconds() - before <= SECONDS

    rows = ran["results"]
    assert {row["arm"] for row in rows} == {"dense", *content["arms"]}
    assert {row["replicate"] for row in rows} == set(range(content["replicates"]))
    assert all(row["status"] == "done" for row in rows)
    metrics = [key for key in rows[0] if key.startswith("test_")]
    assert metrics
    assert all(math.isfinite(row[metric]) for row in rows for metric in metrics)
    assert {row["arm"] for row in rows if row["density"] < 1} == set(content["arms"]), "every arm prunes"

    folder = tmp_path / json.loads(secateur("report", name, "--json", cwd=tmp_path))["folder"]
    page = (folder / "report.html").read_text()
    for expected in content.get("expect", []):
        assert expected["comparable"].split(":")[0] in page
        assert expected["source"].split(",")[0] in page
    assert (folder / "verdict.json").stat().st_size > 0


@pytest.mark.parametrize("name", sorted(name for names in PROMISED.values() for name in names))
def test_a_published_study_is_told_in_full(name: str) -> None:
    study = next(study for study, names in PROMISED.items() if name in names)
    content = load_recipe(name).content
    assert content["study"] == study
    assert content["about"]
    for expected in content.get("expect", []):
        assert set(expected) == {"arm", "at", "metric", "value", "source", "comparable"}
        assert expected["arm"] in ("dense", *content["arms"])
        assert expected["comparable"].split(":")[0].split(",")[0].split(" ")[0].strip(";") in ("yes", "no", "unknown")


def test_titles_are_unlike() -> None:
    titles = [load_recipe(name).content["title"] for name in shipped_recipes()]
    assert len(set(titles)) == len(titles)


def test_arms_of_a_smoke_prune_as_those_of_the_paper() -> None:
    """A preset changes sizes, lengths and densities; never the score, scope, unit or rewinding by kind."""
    for name in shipped_recipes():
        paper, smoke = (load_recipe(name, preset).content for preset in ("paper", "smoke"))
        assert list(paper["arms"]) == list(smoke["arms"]), name
        for key in ("score", "scope", "unit", "prunable"):
            assert paper["prune"].get(key) == smoke["prune"].get(key), name
        for arm, table in paper["arms"].items():
            words = {"init", "end", "finetune", "lr", "reinit"}
            kinds = [one["arms"][arm].get("rewind", "init") for one in (paper, smoke)]
            assert kinds[0] == kinds[1] or not words & set(map(str, kinds)), (name, arm)
            assert table.get("mask_from") == smoke["arms"][arm].get("mask_from"), (name, arm)
