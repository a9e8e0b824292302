"""Where nodes are computed: in this process, or in worker processes of this machine."""

from __future__ import annotations

import json
import os
import queue
import subprocess
import sys
import threading
from collections.abc import Mapping
from typing import Any

from secateur.errors import InputError
from secateur.registry import executors
from secateur.studies.execution import Event


def available_cores() -> int:
    """Cores that this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


@executors.register("inline")
class Inline:
    """Computes nodes in this process, one at a time; for tests, notebooks and debuggers."""

    slots = 1

    def __init__(self, jobs: int = 1, threads: int = 1) -> None:
        self._events: list[Event] = []
        self._sources: dict[str, Any] = {}
        self._threads = threads

    def submit(self, job: Mapping[str, Any]) -> None:
        """Compute the job now."""
        from secateur.studies.worker import perform
        from secateur.training.numerics import prepare

        prepare(self._threads)
        perform(job, self._events.append, self._sources)

    def poll(self, timeout: float) -> list[Event]:
        """What the last jobs told."""
        events, self._events = self._events, []
        return events

    def close(self) -> None:
        """Nothing to end."""


@executors.register("local")
class Local:
    """Worker processes on this machine, `jobs` of them with `threads` threads each; never more threads than cores.

    Their thread count is in their environment before torch is imported. They have sessions of their own, so that Ctrl-C
    reaches this process alone, which ends them.
    """

    def __init__(self, jobs: int = 1, threads: int = 1) -> None:
        cores = available_cores()
        if jobs < 1 or threads < 1:
            raise InputError(f"--jobs {jobs} --threads {threads}: both are at least 1")
        if jobs * threads > cores and jobs > 1:
            raise InputError(
                f"--jobs {jobs} x --threads {threads} is more than the {cores} cores there are; they would slow one another down"
            )
        self.slots = jobs
        self._threads = threads
        self._events: queue.Queue[tuple[int, Event | None]] = queue.Queue()
        self._workers: dict[int, subprocess.Popen[str]] = {}
        self._job_of: dict[int, str] = {}
        self._started = 0

    def submit(self, job: Mapping[str, Any]) -> None:
        """Hand the job to a worker that is free, or to a new one."""
        number = next((number for number in self._workers if number not in self._job_of), None)
        if number is None:
            number = self._start()
        self._job_of[number] = job["key"]
        pipe = self._workers[number].stdin
        assert pipe is not None
        try:
            pipe.write(json.dumps(job) + "\n")
            pipe.flush()
        except BrokenPipeError:
            self._events.put((number, None))

    def poll(self, timeout: float) -> list[Event]:
        """Events of the workers; one that died gives `lost` for its job."""
        events: list[Event] = []
        received: list[tuple[int, Event | None]] = []
        try:
            received.append(self._events.get(timeout=timeout))
            while True:
                received.append(self._events.get_nowait())
        except queue.Empty:
            pass
        for number, event in received:
            if event is None:
                self._workers.pop(number, None)
                key = self._job_of.pop(number, None)
                if key is not None:
                    events.append({"event": "lost", "key": key})
                continue
            if event["event"] != "progress":
                self._job_of.pop(number, None)
            events.append(event)
        return events

    def close(self) -> None:
        """End the workers; each gives up its lease on the way out."""
        for worker in self._workers.values():
            worker.terminate()
        for worker in self._workers.values():
            try:
                worker.wait(timeout=10)
            except subprocess.TimeoutExpired:
                worker.kill()
                worker.wait()
        self._workers.clear()

    def _start(self) -> int:
        number = self._started
        self._started += 1
        threads = str(self._threads)
        environment = {**os.environ, "OMP_NUM_THREADS": threads, "MKL_NUM_THREADS": threads, "PYTHONUNBUFFERED": "1"}
        worker = subprocess.Popen(
            [sys.executable, "-m", "secateur.studies.worker"],
            stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, env=environment, start_new_session=True,
        )  # fmt: skip
        self._workers[number] = worker
        threading.Thread(target=self._listen, args=(number, worker), daemon=True).start()
        return number

    def _listen(self, number: int, worker: subprocess.Popen[str]) -> None:
        assert worker.stdout is not None
        for line in worker.stdout:
            self._events.put((number, json.loads(line)))
        self._events.put((number, None))
