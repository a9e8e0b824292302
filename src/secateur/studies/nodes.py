"""The kinds of node. A kind is a function (workplace, specification, parents) -> result, registered with its code's version.

Raise a kind's version when its results change: finished nodes of the old version are then not mistaken for new ones.
"""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch

from secateur.canonical import canonical_json
from secateur.data.dataset import Dataset
from secateur.errors import StoreError
from secateur.masks import Mask
from secateur.registry import tasks
from secateur.sparse import Crossovers, shipped_crossovers
from secateur.studies.datasets import DatasetSource
from secateur.studies.networks import build_network
from secateur.studies.options import bind
from secateur.studies.store import Artefact, Store
from secateur.tasks.task import Task
from secateur.training.loop import Run
from secateur.training.states import State

Report = Callable[[Mapping[str, Any]], None]


@dataclass(frozen=True)
class ParentLink:
    """A parent as a kind's function sees it: a finished node and the artefact to read of it."""

    key: str
    artefact: str


@dataclass
class Result:
    """What a node gives: facts (small, JSON-able, compared bit for bit), artefacts, and seconds that are not compared."""

    facts: dict[str, Any] = field(default_factory=dict)
    artefacts: dict[str, Artefact] = field(default_factory=dict)
    seconds: dict[str, float] = field(default_factory=dict)


@dataclass
class Workplace:
    """What a kind's function works with: the store, the data, where progress is told, and what is asked of this node.

    `asked` are names of artefacts that children read (`state/500`); only those, the best and the last state are kept.
    """

    key: str
    store: Store
    source: DatasetSource
    asked: frozenset[str]
    report: Report

    def state(self, link: ParentLink) -> State:
        """A state that a parent kept."""
        return State.from_bytes(self.store.read(link.key, link.artefact))

    def mask(self, link: ParentLink) -> Mask:
        """A mask that a parent drew."""
        state = State.from_bytes(self.store.read(link.key, link.artefact))
        if state.mask is None:
            raise StoreError(f"artefact {link.artefact!r} of node {link.key[:12]} holds no mask")
        return state.mask

    def crossovers(self, spec: Mapping[str, Any]) -> Crossovers:
        """The table of crossovers that a specification names by its digest; where it names none, the one that comes with the package."""
        shipped = shipped_crossovers()
        named = spec.get("crossovers", shipped.digest)
        return shipped if named == shipped.digest else Crossovers.from_described(self.store.crossovers(named))

    def put(self, file: str, content: bytes) -> Artefact:
        """Write an artefact of this node."""
        return self.store.put_artefact(self.key, file, content)

    def problem(self, spec: Mapping[str, Any]) -> tuple[Dataset, Task, Callable[[int], torch.nn.Module]]:
        """The data, the task, and how to build the network from a seed, as a specification names them."""
        dataset = self.source.load(spec["data"])
        if dataset.digest != spec["data_digest"]:
            raise StoreError(f"{dataset.label}: the raw data changed since the study was planned")
        entry = tasks.entry(spec["task"]["name"])
        options = {name: value for name, value in spec["task"].items() if name not in ("name", "source")}
        task: Task = entry.make(dataset, **bind(entry, options, f"task {entry.name}"))
        return dataset, task, lambda seed: build_network(spec["model"], dataset.shape, seed)


def mask_artefact(workplace: Workplace, mask: Mask) -> Artefact:
    """Write a mask as this node's `mask`: a state without weights."""
    return workplace.put("mask.safetensors", State(0, {}, mask=mask).to_bytes())


def lines(entries: Sequence[Mapping[str, Any]]) -> bytes:
    """Metrics as JSON lines, one an entry."""
    return "".join(canonical_json(entry) + "\n" for entry in entries).encode()


def read_lines(content: bytes) -> list[dict[str, Any]]:
    """What `lines` wrote."""
    return [json.loads(line) for line in content.decode().split("\n") if line]


class Checkpoints:
    """Checkpoints of a run in flight, so that a killed run goes on from its last finished epoch."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder

    def save(self, run: Run, elapsed: float) -> None:
        """Write the run's checkpoint, and its best state where that is new. The checkpoint names the best it belongs to."""
        from secateur.studies.store import write_durably

        self.folder.mkdir(parents=True, exist_ok=True)
        best = None if run.best is None else self.folder / f"best-{run.best.step}.safetensors"
        if best is not None and not best.exists():
            assert run.best is not None
            write_durably(best, run.best.to_bytes(), "checkpoint")
        write_durably(self.folder / "checkpoint.safetensors", run.checkpoint().to_bytes(), "checkpoint")
        (self.folder / "seconds").write_text(repr(elapsed))
        for old in self.folder.glob("best-*.safetensors"):
            if old != best:
                old.unlink(missing_ok=True)

    def load(self) -> tuple[State, State | None, float] | None:
        """(checkpoint, best state, seconds spent so far), or None where there is none."""
        try:
            checkpoint = State.from_bytes((self.folder / "checkpoint.safetensors").read_bytes())
        except FileNotFoundError:
            return None
        step = checkpoint.facts["best_step"]
        try:
            best = None if step is None else State.from_bytes((self.folder / f"best-{step}.safetensors").read_bytes())
        except FileNotFoundError:
            return None
        try:
            elapsed = float((self.folder / "seconds").read_text())
        except (FileNotFoundError, ValueError):
            elapsed = 0.0
        return checkpoint, best, elapsed


def stopwatch() -> Callable[[], float]:
    """Seconds since the call that made it."""
    start = time.perf_counter()
    return lambda: time.perf_counter() - start
