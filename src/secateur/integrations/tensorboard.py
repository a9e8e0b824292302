"""TensorBoard: one folder a run, `evaluation/…` while it trains and `result/…` at its end."""

from __future__ import annotations

import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from secateur.integrations.tracking import TrackedRun


class TensorBoardTracker:
    """Writes event files under `folder/<study>/<run>`. A run written again (a resumed study) replaces what was there."""

    def __init__(self, folder: Path) -> None:
        from torch.utils.tensorboard import SummaryWriter

        self._open = SummaryWriter
        self._folder = folder
        self._writers: dict[str, Any] = {}

    def evaluated(self, run: TrackedRun, step: int, metrics: Mapping[str, float]) -> None:
        """One scalar a metric, at its step."""
        writer = self._writer(run)
        for name, value in metrics.items():
            writer.add_scalar(f"evaluation/{name}", value, step)

    def ended(self, run: TrackedRun, step: int, metrics: Mapping[str, float], status: str) -> None:
        """The results as scalars at the last step, settings and status as text; the run's file is closed."""
        writer = self._writer(run)
        for name, value in metrics.items():
            writer.add_scalar(f"result/{name}", value, step)
        writer.add_text("settings", "\n".join(f"- {name}: {value}" for name, value in run.settings.items()), step)
        writer.add_text("status", status, step)
        writer.close()
        del self._writers[run.name]

    def close(self) -> None:
        """Close the files of runs that have not ended."""
        for writer in self._writers.values():
            writer.close()
        self._writers.clear()

    def _writer(self, run: TrackedRun) -> Any:
        if run.name not in self._writers:
            place = self._folder / _safe(run.study) / Path(*map(_safe, run.name.split("/")))
            self._writers[run.name] = self._open(log_dir=str(place), purge_step=0)
        return self._writers[run.name]


def tracker(folder: Path) -> TensorBoardTracker:
    """The tracker that writes under `folder`."""
    return TensorBoardTracker(folder)


def _safe(name: str) -> str:
    return re.sub(r"[^\w.=+-]", "_", name)
