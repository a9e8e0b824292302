"""Live progress of a run on a terminal: the study, the runs in flight, their epochs, time left."""

from __future__ import annotations

import time
from collections.abc import Mapping
from types import TracebackType
from typing import Any, TextIO

from rich.console import Console
from rich.progress import BarColumn, Progress, TaskID, TextColumn, TimeElapsedColumn, TimeRemainingColumn

_ENDED = ("done", "diverged", "failed", "blocked")


class Watch:
    """Shows what `execute` tells on a terminal; shows nothing where the stream is none, unless `lines` asks for a line a node."""

    def __init__(self, stream: TextIO, labels: Mapping[str, str], lines: bool = False) -> None:
        self._console = Console(file=stream)
        self._labels = labels
        self._lines = lines
        self._stream = stream
        columns = (
            TextColumn("{task.description}"),
            BarColumn(bar_width=24),
            TextColumn("{task.completed:.0f}/{task.total:.0f} {task.fields[unit]}"),
            TextColumn("[dim]{task.fields[note]}"),
            TimeElapsedColumn(),
            TimeRemainingColumn(),
        )
        silent = lines or not self._console.is_terminal
        self._progress = Progress(*columns, console=self._console, disable=silent, transient=True)
        self._study: TaskID | None = None
        self._running: dict[str, TaskID] = {}
        self._begun = time.monotonic()
        self._status: dict[str, str] = {}

    def __enter__(self) -> Watch:
        self._progress.start()
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        self._progress.stop()

    def __call__(self, event: Mapping[str, Any]) -> None:
        """Take one event."""
        name = event["event"]
        if name == "survey":
            self._status = dict(event["status"])
            needed = sum(status not in ("unneeded",) for status in self._status.values())
            done = sum(status in _ENDED for status in self._status.values())
            self._study = self._progress.add_task("[bold]study", total=needed, completed=done, unit="nodes", note="")
            return
        key = event["key"]
        label = self._labels.get(key, key[:12])
        if name == "started":
            self._running[key] = self._progress.add_task(f"  {label}", total=1, unit="steps", note=event["kind"])
        elif name == "progress" and key in self._running:
            note = _latest(event["history"])
            self._progress.update(self._running[key], completed=event["step"], total=event["total"], note=note)
            self._line(f"{label}: step {event['step']} of {event['total']}, {note}", detail=True)
        elif name in ("done", "failed", "lost", "busy"):
            if key in self._running:
                self._progress.remove_task(self._running.pop(key))
            if event.get("status") in _ENDED and self._study is not None:
                self._progress.advance(self._study)
                self._line(f"{label}: {event['status']}" + (f": {event['error']}" if "error" in event else ""))

    def _line(self, text: str, detail: bool = False) -> None:
        if self._lines and not detail:
            self._stream.write(f"{time.monotonic() - self._begun:8.1f} s  {text}\n")
            self._stream.flush()


def _latest(history: Mapping[str, Any]) -> str:
    """The validation metrics of the last evaluation, shortly."""
    return ", ".join(f"{name.removeprefix('valid_')} {value:.4g}" for name, value in history.items() if name.startswith("valid_"))
