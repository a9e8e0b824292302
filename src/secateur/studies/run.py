"""`run`: from a recipe to a finished study in a store."""

from __future__ import annotations

import os
import platform
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Literal

import torch
from torch import Tensor

from secateur.data.dataset import Dataset
from secateur.data.files import Files
from secateur.errors import RunFailed
from secateur.registry import executors, tasks
from secateur.sparse import Crossovers, shipped_crossovers
from secateur.studies.datasets import DatasetSource
from secateur.studies.execution import Listener, Outcome, execute, survey
from secateur.studies.executors import available_cores
from secateur.studies.networks import Networks
from secateur.studies.options import bind
from secateur.studies.planning import Plan, make_plan
from secateur.studies.recipe import Recipe, import_plugins, load_recipe
from secateur.studies.results import Study, record_of
from secateur.studies.store import Store


@dataclass(frozen=True)
class Prepared:
    """A planned study and the place it will run in; nothing has run yet."""

    plan: Plan
    store: Store
    study: Study
    source: DatasetSource
    networks: Networks
    data_dir: str | None
    threads: int
    crossovers: Crossovers

    def left(self) -> dict[str, int]:
        """How many nodes of each kind are still to be computed."""
        status, _ = survey(self.plan.graph, self.store, self.plan.leaves)
        counts: dict[str, int] = {}
        for node in self.plan.graph.nodes:
            if status[node.key] == "waiting":
                counts[node.kind] = counts.get(node.kind, 0) + 1
        return counts


def run(
    recipe: str | Path,
    *,
    preset: str | None = None,
    store: str | Path = "runs",
    settings: Iterable[str] = (),
    replicates: int | None = None,
    data_dir: str | Path | None = None,
    executor: str = "local",
    jobs: int | None = None,
    threads: int = 1,
    execution: Literal["auto", "dense", "sparse"] = "auto",
    arms: Iterable[str] | None = None,
    crossovers: Crossovers | None = None,
    listen: Listener = lambda event: None,
) -> Study:
    """Run a recipe (its name or file) and return the study. What the store has already is not computed again.

    `execution` says how masked layers run: by the table `crossovers` (the package's own, or one measured here, which the store
    keeps), or all one way. `settings` are texts `a.b=VALUE`;
    `jobs` worker processes of `threads` threads each (as many as there are cores, by default); `arms` the only
    arms wanted (`["dense"]`: just the dense network), with those that their masks come from.
    `RunFailed` when a node failed; what was finished is kept, and the same call goes on.
    """
    prepared = prepare(str(recipe), preset, store, settings, replicates, data_dir, threads, execution, arms, crossovers)
    outcome = perform(prepared, executor, jobs, listen)
    if outcome.failed:
        first = next(iter(outcome.errors.values()))
        raise RunFailed(f"{len(outcome.errors)} of the study's nodes failed; the first one's error:\n{first}")
    return prepared.study


def prepare(
    recipe: str,
    preset: str | None = None,
    store: str | Path = "runs",
    settings: Iterable[str] = (),
    replicates: int | None = None,
    data_dir: str | Path | None = None,
    threads: int = 1,
    execution: Literal["auto", "dense", "sparse"] = "auto",
    arms: Iterable[str] | None = None,
    crossovers: Crossovers | None = None,
) -> Prepared:
    """Read and check a recipe, load its data, plan its graph."""
    loaded = load_recipe(recipe, preset, settings, replicates, arms)
    import_plugins(loaded.content.get("plugins", ()), Path(loaded.path))
    source = DatasetSource(Files.default(data_dir))
    networks = Networks()
    plan = make_plan(loaded, source, networks, threads, execution, crossovers)
    place = Store(Path(store))
    if crossovers is not None:
        place.put_crossovers(crossovers.described())
    record = record_of(
        plan, _metric(loaded, plan, source), _method(plan, source, networks, threads), datetime.now(UTC).isoformat(timespec="seconds")
    )
    data_folder = None if data_dir is None else str(data_dir)
    return Prepared(plan, place, Study(place, record), source, networks, data_folder, threads, crossovers or shipped_crossovers())


def perform(prepared: Prepared, executor: str = "local", jobs: int | None = None, listen: Listener = lambda event: None) -> Outcome:
    """Compute what is left of a prepared study."""
    prepared.store.put_study(prepared.plan.recipe.name, _same_start(prepared))
    workers = executors[executor](jobs=jobs or max(1, available_cores() // prepared.threads), threads=prepared.threads)
    context = {
        "store": str(prepared.store.root.resolve()),
        "data_dir": prepared.data_dir,
        "recipe": str(Path(prepared.plan.recipe.path).resolve()),
        "plugins": list(prepared.plan.recipe.content.get("plugins", ())),
    }
    try:
        return execute(prepared.plan.graph, prepared.store, prepared.plan.leaves, workers, context, listen)
    finally:
        workers.close()


def _same_start(prepared: Prepared) -> Mapping[str, Any]:
    """The study's record; if the store has the same study begun earlier, with that beginning, so that it stays one study."""
    import json

    record = dict(prepared.study.record)
    for path in reversed(prepared.store.studies(prepared.plan.recipe.name)):
        earlier = json.loads(path.read_bytes())
        if {**earlier, "started": ""} == {**json.loads(json.dumps(record)), "started": ""}:
            record["started"] = earlier["started"]
            break
    prepared.study.record = record
    return record


def _metric(recipe: Recipe, plan: Plan, source: DatasetSource) -> dict[str, Any]:
    """The metric that decides, with the recipe's margin or the task's own."""
    spec = plan.cells[0].train.spec
    dataset = source.load(spec["data"])
    entry = tasks.entry(spec["task"]["name"])
    options = {key: value for key, value in spec["task"].items() if key not in ("name", "source")}
    metric = entry.make(dataset, **bind(entry, options, "task")).metric
    margin = recipe.content.get("margin", metric.margin)
    return {"name": metric.name, "higher_is_better": metric.higher_is_better, "margin": margin, "relative": metric.relative}


def _method(plan: Plan, source: DatasetSource, networks: Networks, threads: int) -> dict[str, Any]:
    """What a report needs and the store's nodes do not say: data and its words, settings, the network's linear maps, seeds, machine."""
    content = plan.recipe.content
    spec = plan.cells[0].train.spec
    sets = {cell.data: source.load(cell.train.spec["data"]) for cell in plan.cells}
    described = [_data(dataset) for dataset in sets.values()]
    return {
        "data": described[0],
        "all_data": described,
        "words": list(source.load(spec["data"]).words),
        "maps": networks.maps(spec["model"], source.load(spec["data"])),
        "model": spec["model"],
        "task": spec["task"],
        "train": spec["train"],
        "prune": content.get("prune", {}),
        "rewind": content.get("rewind", "init"),
        "arms": content.get("arms", {}),
        "sweep": content.get("sweep", {}),
        "tune": content.get("tune", []),
        "seeds": {"split": spec["data"].get("split_seed"), "replicates": list(range(content.get("replicates", 1)))},
        "threads": threads,
        "machine": _machine(),
    }


def _data(dataset: Dataset) -> dict[str, Any]:
    return {
        "name": dataset.name,
        "label": dataset.label,
        "digest": dataset.digest,
        "splits": {name: len(split) for name, split in dataset.splits.items()},
        "notes": [{"what": note.what, "count": note.count} for note in dataset.notes],
        "classes": list(dataset.outputs),
        "vocabulary": dataset.shape.vocabulary,
        "majority": _majority(dataset),
    }


def _majority(dataset: Dataset) -> dict[str, Any] | None:
    """The class that most training examples have, and the part of the test examples that have it: the accuracy of one who never looks.

    None where an example has not just one class.
    """
    train, test = (getattr(dataset.splits[name], "targets", None) for name in ("train", "test"))
    if not isinstance(train, Tensor) or not isinstance(test, Tensor) or train.ndim != 1 or train.is_floating_point() or not dataset.outputs:
        return None
    largest = int(torch.bincount(train).argmax())
    return {"class": dataset.outputs[largest], "test": float((test == largest).double().mean())}


def _machine() -> dict[str, Any]:
    """The processor, cores and memory of this machine."""
    processor = platform.processor() or platform.machine()
    try:
        lines = Path("/proc/cpuinfo").read_text().splitlines()
        processor = next((line.partition(":")[2].strip() for line in lines if line.startswith("model name")), processor)
        memory = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    except (OSError, ValueError):
        memory = None
    return {"cpu": processor, "cores": available_cores(), "memory": memory}


def labels(plan: Plan) -> dict[str, str]:
    """A short name for each node of a plan, by the first row that needs it: for progress and errors."""
    names: dict[str, str] = {}
    rows: dict[tuple[str, int, int, str], str] = {}
    for cell in plan.cells:
        factors = "".join(f" {path.rpartition('.')[2]}={value}" for path, value in cell.factors.items())
        level = f" level {cell.level}" if cell.density is None else f" {cell.density:.3g}" if cell.level else ""
        row = f"{cell.arm}{level}{factors} #{cell.replicate}"
        rows[cell.arm, cell.level, cell.replicate, str(cell.factors)] = row
        for node in (cell.train, cell.evaluate, cell.mask):
            if node is not None:
                names.setdefault(node.key, row if node.kind == "train" else f"{row} {node.kind}")
    for measure in plan.measures:
        names.setdefault(
            measure.node.key, f"{rows[measure.arm, measure.level, measure.replicate, str(measure.factors)]} {measure.analysis}"
        )
    for node in reversed(plan.graph.nodes):  # what no row shows: initial weights, the masks of levels in between, a second training
        for parent in node.parents:
            names.setdefault(parent.node.key, f"{parent.node.kind} for {names[node.key]}")
    return names
