"""MLflow: one experiment a study, one MLflow run a run, with its settings, curves and results."""

from __future__ import annotations

import os
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from secateur.integrations.tracking import TrackedRun

_STATUS = {"done": "FINISHED", "diverged": "FAILED", "failed": "FAILED"}
_NODE = "secateur.node"


class MlflowTracker:
    """Writes to `MLFLOW_TRACKING_URI`, or to `mlflow.db` in `folder`. A node that ended there before is not written again."""

    def __init__(self, folder: Path) -> None:
        # a study's user did not ask to be reported on: set before the import that reads it, and only where nothing else is set
        os.environ.setdefault("MLFLOW_DISABLE_TELEMETRY", "true")
        from mlflow import MlflowClient

        uri = os.environ.get("MLFLOW_TRACKING_URI")
        if not uri:
            folder.mkdir(parents=True, exist_ok=True)
            uri = f"sqlite:///{(folder / 'mlflow.db').resolve()}"
        self._client: Any = MlflowClient(tracking_uri=uri)
        self._experiments: dict[str, str] = {}
        self._runs: dict[str, str | None] = {}

    def evaluated(self, run: TrackedRun, step: int, metrics: Mapping[str, float]) -> None:
        """One metric each, at its step."""
        self._log(run, step, metrics)

    def ended(self, run: TrackedRun, step: int, metrics: Mapping[str, float], status: str) -> None:
        """The results as metrics at the last step; the run is terminated, as failed when it diverged or failed."""
        self._log(run, step, {f"result.{name}": value for name, value in metrics.items()})
        identity = self._identity(run)
        if identity is not None:
            self._client.set_tag(identity, "secateur.status", status)
            self._client.set_terminated(identity, status=_STATUS.get(status, "FAILED"))

    def close(self) -> None:
        """Nothing is left to write: each call writes at once."""

    def _log(self, run: TrackedRun, step: int, metrics: Mapping[str, float]) -> None:
        from mlflow.entities import Metric

        identity = self._identity(run)
        if identity is not None:
            now = int(time.time() * 1000)
            self._client.log_batch(identity, metrics=[Metric(name, value, now, step) for name, value in metrics.items()])

    def _identity(self, run: TrackedRun) -> str | None:
        """The MLflow run of this run, made when it is first asked for; None for one that an earlier session has finished."""
        if run.name not in self._runs:
            self._runs[run.name] = self._find_or_make(run)
        return self._runs[run.name]

    def _find_or_make(self, run: TrackedRun) -> str | None:
        from mlflow.entities import Param

        experiment = self._experiment(run.study)
        same = f"tags.`{_NODE}` = '{run.node}' and tags.`mlflow.runName` = '{run.name}'"
        for found in self._client.search_runs([experiment], filter_string=same):
            if found.info.status != "RUNNING":
                return None
            self._client.delete_run(found.info.run_id)  # cut off half-way: written anew, whole
        made = self._client.create_run(experiment, run_name=run.name, tags={_NODE: run.node})
        self._client.log_batch(made.info.run_id, params=[Param(name, str(value)) for name, value in run.settings.items()])
        return str(made.info.run_id)

    def _experiment(self, study: str) -> str:
        if study not in self._experiments:
            known = self._client.get_experiment_by_name(study)
            self._experiments[study] = str(known.experiment_id if known else self._client.create_experiment(study))
        return self._experiments[study]


def tracker(folder: Path) -> MlflowTracker:
    """The tracker that writes to the configured server, or under `folder`."""
    return MlflowTracker(folder)
