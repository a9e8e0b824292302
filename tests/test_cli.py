"""The command, run as its user runs it."""

from __future__ import annotations

import json
import os
import signal
import statistics
import subprocess
import sys
import time
from pathlib import Path

import pytest
from tiny_studies import RECIPE, contents

QUICKSTART = ("quickstart", "--preset", "smoke", "--set", "data.limit=600", "--set", "prune.schedule.levels=1")


def secateur(*arguments: str | Path, cwd: Path) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "secateur.cli", *map(str, arguments)]
    return subprocess.run(command, cwd=cwd, capture_output=True, text=True, timeout=300, check=False)


def test_help_answers_at_once_and_without_torch(tmp_path: Path) -> None:
    seconds = []
    for _ in range(5):
        start = time.perf_counter()
        assert secateur("--help", cwd=tmp_path).returncode == 0
        seconds.append(time.perf_counter() - start)
    assert statistics.median(seconds) < 0.4
    code = "import sys; from secateur import cli; cli._parser(); print('torch' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout.strip() == "False"


def test_a_study_from_command_to_report(tmp_path: Path) -> None:
    dry = secateur("run", *QUICKSTART, "--dry-run", "--json", cwd=tmp_path)
    assert dry.returncode == 0, dry.stderr
    expected = json.loads(dry.stdout)[0]
    assert expected["left"] == {"initialise": 2, "train": 8, "prune": 2, "evaluate": 8}
    assert expected["seconds"] > 0
    assert expected["bytes"] > 0
    assert "trainings left" in secateur("run", *QUICKSTART, "--dry-run", cwd=tmp_path).stdout

    ran = secateur("run", *QUICKSTART, "--json", cwd=tmp_path)
    assert ran.returncode == 0, ran.stderr
    rows = json.loads(ran.stdout)[0]["results"]
    assert {row["arm"] for row in rows} == {"dense", "winning", "late", "reinit"}
    assert all(row["status"] == "done" for row in rows)
    assert ran.stderr == "", "nothing is drawn where there is no terminal"

    status = json.loads(secateur("status", "--json", cwd=tmp_path).stdout)
    assert (status[0]["study"], status[0]["left"], status[0]["done"]) == ("quickstart", 0, 20)

    report = secateur("report", "quickstart", "--json", cwd=tmp_path)
    assert report.returncode == 0, report.stderr
    folder = tmp_path / json.loads(report.stdout)["folder"]
    assert {"report.html", "results.csv", "results.parquet", "verdict.json"} <= {path.name for path in folder.iterdir()}
    page = (folder / "report.html").read_text()
    assert "Sections of the World English Bible" in page
    assert f"{rows[0]['test_accuracy']:.4f}" in (folder / "results.csv").read_text()

    assert secateur("store", "verify", cwd=tmp_path).returncode == 0
    assert json.loads(secateur("store", "gc", "--dry-run", "--json", cwd=tmp_path).stdout)["unneeded"] == []


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        (("run", "quickstrat"), "Did you mean 'quickstart'"),
        (("run", "quickstart", "--set", "train.bach=3"), "Did you mean 'batch'"),
        (("run", "quickstart", "--jobs", "64"), "more than the"),
        (("run", "quickstart", "--crossovers", "nowhere.json"), "holds no table of crossovers"),
        (("status", "--store", "nowhere"), "there is no store"),
        (("list", "scorse"), "Did you mean 'scores'"),
        (("data", "verify"), "say which data set"),
    ],
)
def test_bad_input_gives_one_clear_line_and_exit_code_2(arguments: tuple[str, ...], says: str, tmp_path: Path) -> None:
    result = secateur(*arguments, cwd=tmp_path)
    assert result.returncode == 2
    assert says in result.stderr
    assert "Traceback" not in result.stderr
    assert result.stdout == ""


def test_a_failing_node_gives_exit_code_1_and_the_rest_is_kept(tmp_path: Path) -> None:
    plugin = RECIPE.with_name("tiny_plugin.py").read_text().replace("chosen = order", "raise RuntimeError(batch); chosen = order")
    (tmp_path / "tiny_plugin.py").write_text(plugin)
    (tmp_path / "broken.toml").write_text(RECIPE.read_text())
    result = secateur("run", "broken.toml", "--jobs", "1", "--replicates", "1", cwd=tmp_path)
    assert result.returncode == 1
    assert "RuntimeError: 16" in result.stderr
    status = json.loads(secateur("status", "broken", "--json", cwd=tmp_path).stdout)[0]
    assert status["left"] > 0


def test_other_jobs_and_a_killed_run_give_the_same_bytes(tmp_path: Path) -> None:
    one = secateur("run", RECIPE, "--jobs", "1", "--store", tmp_path / "one", cwd=tmp_path)
    assert one.returncode == 0, one.stderr
    command = [sys.executable, "-m", "secateur.cli", "run", str(RECIPE), "--jobs", "2", "--store", str(tmp_path / "two")]
    killed = subprocess.Popen(command, cwd=tmp_path, start_new_session=True, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    deadline = time.monotonic() + 60
    while time.monotonic() < deadline and not list((tmp_path / "two").glob("nodes/*/*/manifest.json")):
        time.sleep(0.02)
    os.killpg(killed.pid, signal.SIGKILL)
    killed.wait()
    two = secateur("run", RECIPE, "--jobs", "2", "--store", tmp_path / "two", cwd=tmp_path)
    assert two.returncode == 0, two.stderr
    assert contents(tmp_path / "two") == contents(tmp_path / "one")


def test_ctrl_c_keeps_what_is_finished_and_the_same_command_goes_on(tmp_path: Path) -> None:
    command = [sys.executable, "-m", "secateur.cli", "run", str(RECIPE), "--jobs", "2", "--replicates", "20"]
    running = subprocess.Popen(command, cwd=tmp_path, start_new_session=True, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True)
    deadline = time.monotonic() + 60
    while time.monotonic() < deadline and not list((tmp_path / "runs").glob("nodes/*/*/manifest.json")):
        time.sleep(0.02)
    running.send_signal(signal.SIGINT)
    _, errors = running.communicate(timeout=60)
    assert running.returncode == 130
    assert "the same command goes on" in errors
    assert "Traceback" not in errors
    assert not list((tmp_path / "runs" / "leases").glob("[0-9a-f]*")), "leases are given up on the way out"
    done = json.loads(secateur("status", "--json", cwd=tmp_path).stdout)[0]["done"]
    assert done > 0


def test_every_list_shows_what_is_registered(tmp_path: Path) -> None:
    for what, name in {
        "recipes": "quickstart",
        "models": "kim-cnn",
        "data": "bible",
        "scores": "magnitude",
        "schedules": "iterative",
    }.items():
        rows = json.loads(secateur("list", what, "--json", cwd=tmp_path).stdout)
        assert name in {row["name"] for row in rows}


def test_bench_times_dense_and_sparse_side_by_side(tmp_path: Path) -> None:
    result = secateur("bench", "inference", "--densities", "0.1", "0.05", "--rounds", "2", "--json", "--figures", "figures", cwd=tmp_path)
    assert result.returncode == 0, result.stderr
    rows = json.loads(result.stdout)["rows"]
    assert {"dense", "sparse"} <= {row["way"].split(",")[0] for row in rows}
    assert all(row["seconds"] > 0 for row in rows)
    figures = sorted(path.name for path in (tmp_path / "figures").iterdir())
    assert figures == [f"3-x-1024-x-1024-relu-batch-{batch}.{form}" for batch in (1, 64) for form in ("pdf", "png", "svg")]
    assert "times as fast as dense" in (tmp_path / "figures" / figures[-1]).read_text()
