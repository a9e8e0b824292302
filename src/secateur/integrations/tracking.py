"""A study's runs in an experiment tracker: what is new is written, run by run, however often it is asked."""

from __future__ import annotations

import importlib
import math
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal, Protocol

import polars as pl

from secateur.errors import InputError

TrackerName = Literal["tensorboard", "mlflow"]
_KEYS = ("arm", "level", "replicate")
_NOT_METRICS = {*_KEYS, "step", "epoch", "node", "study", "preset", "data", "execution", "status"}


class TrackedStudy(Protocol):
    """What is tracked of a study."""

    @property
    def name(self) -> str:
        """The study's name."""
        ...

    @property
    def preset(self) -> str:
        """Its preset."""
        ...

    def frame(self) -> pl.DataFrame:
        """Results, one row a run."""
        ...

    def curves(self) -> pl.DataFrame:
        """Evaluations while training, one row a run and step."""
        ...


@dataclass(frozen=True)
class TrackedRun:
    """One run of a study: its name in the tracker (`winning/level-3/replicate-0`), its settings, and the node that it is."""

    study: str
    name: str
    node: str
    settings: Mapping[str, str | int | float]


class Tracker(Protocol):
    """Where runs are written: TensorBoard or MLflow."""

    def evaluated(self, run: TrackedRun, step: int, metrics: Mapping[str, float]) -> None:
        """The metrics of a run at a step of its training."""
        ...

    def ended(self, run: TrackedRun, step: int, metrics: Mapping[str, float], status: str) -> None:
        """The results of a run that is done, diverged or failed."""
        ...

    def close(self) -> None:
        """Everything is on disk after this."""
        ...


class StudyLog:
    """Writes a study to a tracker. `update` may be called while the study runs and after: nothing is written twice."""

    def __init__(self, tracker: Tracker) -> None:
        self._tracker = tracker
        self._last_step: dict[str, int] = {}
        self._ended: set[str] = set()

    def update(self, study: TrackedStudy) -> int:
        """Write what is new since the last call; the number of evaluations and results written."""
        results, curves = study.frame(), study.curves()
        written = 0
        by_run = dict(_grouped(curves)) if not curves.is_empty() else {}
        for row in results.iter_rows(named=True):
            run = _run(study, row)
            for evaluation in by_run.get(run.name, []):
                if evaluation["step"] > self._last_step.get(run.name, -1):
                    self._tracker.evaluated(run, evaluation["step"], _metrics(evaluation))
                    self._last_step[run.name] = evaluation["step"]
                    written += 1
            if row["status"] != "missing" and run.name not in self._ended:
                self._tracker.ended(run, int(row.get("steps") or 0), _metrics(row), row["status"])
                self._ended.add(run.name)
                written += 1
        return written

    def close(self) -> None:
        """Finish writing."""
        self._tracker.close()


def study_log(name: TrackerName, folder: Path) -> StudyLog:
    """The log called `name`, in `folder`; `InputError` when its package is not installed.

    MLflow writes to `MLFLOW_TRACKING_URI` where that is set, else to `mlflow.db` in `folder`.
    """
    if name not in ("tensorboard", "mlflow"):
        raise InputError(f"{name!r} is no tracker: there are tensorboard and mlflow")
    try:
        module = importlib.import_module(f"secateur.integrations.{name}")
        tracker: Tracker = module.tracker(folder)
    except ImportError as error:
        raise InputError(f"--log {name} needs its package: pip install 'secateur[{name}]' ({error})") from error
    return StudyLog(tracker)


def _run(study: TrackedStudy, row: Mapping[str, Any]) -> TrackedRun:
    settings = {key: row[key] for key in (*_KEYS, "density", "data", "execution") if row.get(key) is not None}
    settings |= {key: value for key, value in row.items() if key.startswith("factor.") and value is not None}
    return TrackedRun(study.name, _name(row), str(row.get("node") or _name(row)), {"preset": study.preset, **settings})


def _name(row: Mapping[str, Any]) -> str:
    factors = [f"{key.removeprefix('factor.')}={value}" for key, value in row.items() if key.startswith("factor.") and value is not None]
    return "/".join([row["arm"], *factors, f"level-{row['level']}", f"replicate-{row['replicate']}"])


def _grouped(curves: pl.DataFrame) -> list[tuple[str, list[dict[str, Any]]]]:
    grouped: dict[str, list[dict[str, Any]]] = {}
    for row in curves.sort("step").iter_rows(named=True):
        grouped.setdefault(_name(row), []).append(row)
    return list(grouped.items())


def _metrics(row: Mapping[str, Any]) -> dict[str, float]:
    """The numbers of a row that are measurements; what is no number is left out, for no tracker can draw it."""
    return {
        key: float(value)
        for key, value in row.items()
        if key not in _NOT_METRICS and not key.startswith("factor.") and isinstance(value, (int, float)) and math.isfinite(value)
    }
