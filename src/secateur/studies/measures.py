"""A recipe's `[analyses.…]`: what is measured of trained networks beyond their quality, as nodes."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any, Literal

from secateur.errors import InputError, RecipeError, UnknownName
from secateur.seeds import seed_for
from secateur.sparse import Crossovers
from secateur.steps import Step
from secateur.studies.cells import Cell, Measure
from secateur.studies.datasets import DatasetSource
from secateur.studies.graph import Node, Parent
from secateur.studies.options import bind_fields
from secateur.studies.recipe import Recipe


@dataclass(frozen=True)
class Stability:
    """The keys of `[analyses.stability]`: which arms (and `dense`), at how many points of the line, on which split."""

    arms: tuple[str, ...]
    points: int = 11
    split: Literal["train", "valid", "test"] = "test"

    def nodes(self, cell: Cell, source: DatasetSource, crossovers: Crossovers) -> Iterator[Node]:
        """The line between a cell's trained network and its twin: the same start and mask, another data order and dropout."""
        seeds = {purpose: seed_for(cell.replicate, f"{purpose}-twin") for purpose in ("data-order", "dropout")}
        twin = Node("train", {**cell.train.spec, "seeds": seeds}, cell.train.parents)
        batch = cell.train.spec["train"]["evaluate_batch"]
        spec = {**_problem(cell), "points": self.points, "split": self.split, "batch": batch}
        yield Node("interpolate", spec, (Parent("first", cell.train, "state/end"), Parent("second", twin, "state/end")))


@dataclass(frozen=True)
class Latency:
    """The keys of `[analyses.latency]`: which arms (and `dense`), the examples of a forward pass, and how often it is timed."""

    arms: tuple[str, ...]
    batch: int = 1
    rounds: int = 25

    def nodes(self, cell: Cell, source: DatasetSource, crossovers: Crossovers) -> Iterator[Node]:
        """How long the network that a cell evaluates takes."""
        spec = {**_problem(cell), "batch": self.batch, "rounds": self.rounds, "crossovers": crossovers.digest}
        yield Node("latency", spec, cell.evaluate.parents)


@dataclass(frozen=True)
class Weights:
    """The keys of `[analyses.weights]`: which arms (and `dense`), and at which moments of training their weights are looked at."""

    arms: tuple[str, ...]
    at: tuple[str, ...] = ("0it", "1ep")

    def nodes(self, cell: Cell, source: DatasetSource, crossovers: Crossovers) -> Iterator[Node]:
        """The states of a cell's training at those moments that it passes, and its end."""
        settings = cell.train.spec["train"]
        steps_per_epoch = source.load(cell.train.spec["data"]).splits["train"].steps(settings["batch"])
        start = next((parent.artefact.rpartition("/")[2] for parent in cell.train.parents if parent.role == "state"), "0")
        first = int(start) if start.isdigit() and cell.train.spec["start"] == "state" else 0
        total = Step.parse(settings["length"]).iterations(steps_per_epoch)
        steps = sorted({Step.parse(moment).iterations(steps_per_epoch) for moment in self.at})
        for name in (*(str(step) for step in steps if first <= step < total), "end"):
            yield Node("weights", {}, (Parent("state", cell.train, f"state/{name}"),))


ANALYSES: Mapping[str, Any] = {"stability": Stability, "latency": Latency, "weights": Weights}


def measures(recipe: Recipe, cells: Iterable[Cell], source: DatasetSource, crossovers: Crossovers) -> Iterator[Measure]:
    """The further questions that the recipe's `analyses` ask. `UnknownName` for another analysis, key or arm."""
    where = f"{recipe.name}.toml: analyses"
    for name, table in recipe.content.get("analyses", {}).items():
        if name not in ANALYSES:
            raise UnknownName("analysis", name, ANALYSES, where)
        options = ANALYSES[name](**bind_fields(ANALYSES[name], table, f"{where}.{name}"))
        known = ["dense", *recipe.content.get("arms", {})]
        for arm in options.arms:
            if arm not in known:
                raise UnknownName("arm", arm, known, f"{where}.{name}.arms")
        for cell in cells:
            if cell.arm in options.arms:
                try:
                    found = list(options.nodes(cell, source, crossovers))
                except InputError as error:
                    raise RecipeError(f"{where}.{name}: {error}") from None
                for node in found:
                    yield Measure(name, cell.arm, cell.level, cell.replicate, cell.factors, node)


def _problem(cell: Cell) -> dict[str, Any]:
    """Data, model and task of a cell, as every node that builds the network needs them."""
    return {key: cell.train.spec[key] for key in ("data", "data_digest", "model", "task", "threads")}
