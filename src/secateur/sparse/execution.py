"""Dense or sparse: a table of the densities below which sparse layers are the faster ones."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from importlib.resources import files
from math import log, prod
from pathlib import Path
from typing import Any, Literal

from secateur.canonical import canonical_json, digest
from secateur.errors import InputError

Execution = Literal["dense", "sparse"]
_FORMAT = 1


@dataclass(frozen=True)
class Crossover:
    """A layer of `rows` x `columns` at `batch` examples trains faster sparse below `density` (0: never)."""

    kind: str
    rows: int
    columns: int
    batch: int
    density: float


@dataclass(frozen=True)
class Crossovers:
    """A crossover table. Its digest belongs to the key of every node whose execution it decided."""

    entries: tuple[Crossover, ...]
    measured_on: str = ""

    @property
    def digest(self) -> str:
        """sha256 over the entries."""
        return digest(self.described())

    def described(self) -> dict[str, Any]:
        """The table as plain JSON data."""
        rows = [[entry.kind, entry.rows, entry.columns, entry.batch, entry.density] for entry in self.entries]
        return {"format": _FORMAT, "measured_on": self.measured_on, "entries": rows}

    @classmethod
    def from_described(cls, data: Mapping[str, Any]) -> Crossovers:
        """The table that `described` gave; `InputError` when it is none."""
        if data.get("format") != _FORMAT or not data.get("entries"):
            raise InputError(f"this is no crossover table of format {_FORMAT}")
        return cls(
            tuple(Crossover(str(k), int(r), int(c), int(b), float(d)) for k, r, c, b, d in data["entries"]),
            str(data.get("measured_on", "")),
        )

    def save(self, path: str | Path) -> None:
        """Write the table as canonical JSON."""
        Path(path).write_text(canonical_json(self.described()) + "\n")

    @classmethod
    def load(cls, path: str | Path) -> Crossovers:
        """Read a table that `save` wrote."""
        return cls.from_described(json.loads(Path(path).read_text()))

    def density(self, kind: str, rows: int, columns: int, batch: int) -> float:
        """The crossover of the nearest entry of this kind, in the logarithms of rows, columns and batch.

        Linear layers stand in for kinds that were not measured.
        """
        entries: Sequence[Crossover] = [entry for entry in self.entries if entry.kind == kind] or [
            e for e in self.entries if e.kind == "linear"
        ]
        if not entries:
            raise InputError(f"the crossover table has no entry for {kind!r} and none for 'linear'")

        def distance(entry: Crossover) -> float:
            pairs = ((entry.rows, rows), (entry.columns, columns), (entry.batch, batch))
            return sum(log(max(measured, 1) / max(wanted, 1)) ** 2 for measured, wanted in pairs)

        return min(entries, key=distance).density


@cache
def shipped_crossovers() -> Crossovers:
    """The table that comes with the package."""
    return Crossovers.from_described(json.loads(files("secateur.sparse").joinpath("crossovers.json").read_text()))


def choose_execution(kind: str, shape: tuple[int, ...], density: float, batch: int, crossovers: Crossovers | None = None) -> Execution:
    """Which form of a layer is the faster one to train.

    `kind` is that of `linear_maps`, `shape` the weight's; `batch` counts examples of a step.

    A pure function of its arguments; `crossovers` defaults to the table that comes with the package.
    """
    if batch < 1:
        raise InputError(f"a batch has at least one example, not {batch}")
    table = crossovers or shipped_crossovers()
    return "sparse" if density < table.density(kind, shape[0], prod(shape[1:]), batch) else "dense"
