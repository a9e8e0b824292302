"""What is written to a tracker is read back with that tracker's own library."""

from pathlib import Path
from typing import Any

import polars as pl
import pytest

from secateur.errors import InputError
from secateur.integrations.tracking import StudyLog, TrackedRun, study_log


class Study:
    """Two runs of three evaluations; the second diverges."""

    name, preset = "a study", "smoke"
    seen = 3

    def frame(self) -> pl.DataFrame:
        done = self.seen == 3
        return pl.DataFrame(
            {
                "arm": ["dense", "winning"],
                "level": [0, 1],
                "replicate": [0, 0],
                "factor.train.lr": [0.1, 0.1],
                "density": [1.0, 0.5],
                "test_accuracy": [0.9, None],
                "steps": [30, 20],
                "node": ["d", "w"],
                "status": ["done" if done else "missing", "diverged" if done else "missing"],
            }
        )

    def curves(self) -> pl.DataFrame:
        rows = [
            {
                "arm": arm,
                "level": level,
                "replicate": 0,
                "factor.train.lr": 0.1,
                "step": 10 * (k + 1),
                "valid_accuracy": 0.1 * k + level,
                "train_loss": loss,
            }
            for arm, level in (("dense", 0), ("winning", 1))
            for k, loss in zip(range(self.seen), (2.0, 1.0, float("nan")), strict=False)
        ]
        return pl.DataFrame(rows)


class Recorder:
    def __init__(self) -> None:
        self.written: list[tuple[Any, ...]] = []

    def evaluated(self, run: TrackedRun, step: int, metrics: Any) -> None:
        self.written.append((run.name, step, dict(metrics)))

    def ended(self, run: TrackedRun, step: int, metrics: Any, status: str) -> None:
        self.written.append((run.name, status, dict(metrics)))

    def close(self) -> None:
        self.written.append(("closed",))


DENSE = "dense/train.lr=0.1/level-0/replicate-0"
WINNING = "winning/train.lr=0.1/level-1/replicate-0"


def test_only_what_is_new_is_written() -> None:
    recorder, study = Recorder(), Study()
    log = StudyLog(recorder)
    study.seen = 2
    assert log.update(study) == 4
    assert log.update(study) == 0
    study.seen = 3
    assert log.update(study) == 4
    assert log.update(study) == 0
    log.close()
    assert recorder.written[:2] == [
        (DENSE, 10, {"valid_accuracy": 0.0, "train_loss": 2.0}),
        (DENSE, 20, {"valid_accuracy": 0.1, "train_loss": 1.0}),
    ]
    assert (DENSE, 30, {"valid_accuracy": 0.2}) in recorder.written  # a loss that is no number cannot be drawn
    assert (DENSE, "done", {"density": 1.0, "test_accuracy": 0.9, "steps": 30.0}) in recorder.written
    assert (WINNING, "diverged", {"density": 0.5, "steps": 20.0}) in recorder.written
    assert recorder.written[-1] == ("closed",)


def test_tensorboard_reads_what_was_written(tmp_path: Path) -> None:
    accumulator = pytest.importorskip("tensorboard.backend.event_processing.event_accumulator")
    for _ in range(2):  # the second time replaces the first
        log = study_log("tensorboard", tmp_path)
        log.update(Study())
        log.close()
    events = accumulator.EventAccumulator(str(tmp_path / "a_study" / DENSE))
    events.Reload()
    assert [(e.step, pytest.approx(e.value)) for e in events.Scalars("evaluation/valid_accuracy")] == [(10, 0.0), (20, 0.1), (30, 0.2)]
    assert [(e.step, pytest.approx(e.value)) for e in events.Scalars("result/test_accuracy")] == [(30, 0.9)]
    other = accumulator.EventAccumulator(str(tmp_path / "a_study" / WINNING))
    other.Reload()
    assert [e.step for e in other.Scalars("evaluation/train_loss")] == [10, 20]
    assert other.Tensors("status/text_summary")[0].tensor_proto.string_val[0] == b"diverged"


def test_mlflow_reads_what_was_written(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    mlflow = pytest.importorskip("mlflow")
    pytest.importorskip("sqlalchemy")
    monkeypatch.delenv("MLFLOW_TRACKING_URI", raising=False)
    for _ in range(2):  # what has ended is not written again
        log = study_log("mlflow", tmp_path)
        log.update(Study())
        log.close()
    client = mlflow.MlflowClient(tracking_uri=f"sqlite:///{tmp_path / 'mlflow.db'}")
    experiment = client.get_experiment_by_name("a study")
    runs = {run.info.run_name: run for run in client.search_runs([experiment.experiment_id])}
    assert set(runs) == {DENSE, WINNING}
    assert runs[DENSE].info.status == "FINISHED"
    assert runs[WINNING].info.status == "FAILED"
    assert runs[WINNING].data.tags["secateur.status"] == "diverged"
    assert runs[DENSE].data.params["density"] == "1.0"
    assert runs[DENSE].data.params["factor.train.lr"] == "0.1"
    assert runs[DENSE].data.metrics["result.test_accuracy"] == 0.9
    history = client.get_metric_history(runs[DENSE].info.run_id, "valid_accuracy")
    assert sorted((m.step, m.value) for m in history) == [(10, 0.0), (20, 0.1), (30, 0.2)]


def test_mlflow_writes_a_run_that_was_cut_off_anew(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    mlflow = pytest.importorskip("mlflow")
    pytest.importorskip("sqlalchemy")
    monkeypatch.delenv("MLFLOW_TRACKING_URI", raising=False)
    study = Study()
    study.seen = 1
    study_log("mlflow", tmp_path).update(study)
    study.seen = 3
    study_log("mlflow", tmp_path).update(study)
    client = mlflow.MlflowClient(tracking_uri=f"sqlite:///{tmp_path / 'mlflow.db'}")
    runs = client.search_runs([client.get_experiment_by_name("a study").experiment_id])
    assert len(runs) == 2
    assert all(len(client.get_metric_history(run.info.run_id, "valid_accuracy")) == 3 for run in runs)


def test_a_tracker_without_its_package_says_what_to_install(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(__import__("sys").modules, "mlflow", None)
    with pytest.raises(InputError, match=r"secateur\[mlflow\]"):
        study_log("mlflow", tmp_path)
    with pytest.raises(InputError, match="tensorboard and mlflow"):
        study_log("wandb", tmp_path)  # type: ignore[arg-type]
