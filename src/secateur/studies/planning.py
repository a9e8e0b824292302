"""From a recipe to its run graph: which nodes each (arm, level, replicate, factors) consists of.

The level-0 cell is the arm `dense`; an arm that trains another network, or otherwise, than the recipe's own tables say
has a level 0 of its own, under its own name, unless it says `dense = false`.
"""

from __future__ import annotations

import itertools
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field, replace
from typing import Any

from secateur.data.dataset import Dataset
from secateur.errors import InputError, PruningError, RecipeError, UnknownName
from secateur.pruning.combinations import check
from secateur.pruning.rewind import Rewind
from secateur.registry import datasets, learning_rates, models, node_kinds, optimizers, schedules, scopes, scores, tasks, units
from secateur.seeds import seed_for
from secateur.sparse import Crossovers, shipped_crossovers
from secateur.steps import Step
from secateur.studies.cells import Cell, Measure
from secateur.studies.datasets import DatasetSource
from secateur.studies.graph import Graph, Node, Parent, source_digest
from secateur.studies.measures import measures
from secateur.studies.networks import Networks
from secateur.studies.options import bind, bind_fields, written
from secateur.studies.recipe import Recipe, merge, set_path
from secateur.training.changing_masks import stays_dense
from secateur.training.loop import Settings


@dataclass(frozen=True)
class Plan:
    """A study made concrete: its cells, what else is measured of them, and the graph of all that they need."""

    recipe: Recipe
    cells: tuple[Cell, ...]
    measures: tuple[Measure, ...]
    graph: Graph

    @property
    def leaves(self) -> list[Node]:
        """The nodes that the study's rows are read from."""
        return [node for cell in self.cells for node in (cell.evaluate, cell.train)] + [measure.node for measure in self.measures]


@dataclass(frozen=True)
class Pruning:
    """A checked `prune` table: what is pruned, by which score, where scores compete, and when."""

    score: Mapping[str, Any]
    scope: Mapping[str, Any]
    unit: Mapping[str, Any]
    prunable: tuple[str, ...]
    rates: Mapping[str, float]
    floor: int
    batches: int
    source: str
    schedule_table: Mapping[str, Any]
    schedule: Any


@dataclass(frozen=True)
class _PruneTable:
    """The keys of a recipe's `prune` table, with their types and defaults.

    `rates` changes how much of a parameter is pruned in a round relative to the others (selector -> factor: 0.5 prunes at
    half the rate); `floor` keeps at least so many weights of each parameter; `batches` is how many training batches a
    score sees; `source` is the state that is scored after training.
    """

    schedule: Mapping[str, Any]
    score: str | Mapping[str, Any] = "magnitude"
    scope: str | Mapping[str, Any] = "global"
    unit: str | Mapping[str, Any] = "weight"
    prunable: tuple[str, ...] = ("linear", "conv", "recurrent", "attention")
    rates: Mapping[str, float] = field(default_factory=dict)
    floor: int = 0
    batches: int = 1
    source: str = "end"


def make_plan(
    recipe: Recipe,
    source: DatasetSource,
    networks: Networks,
    threads: int = 1,
    execution: str = "auto",
    crossovers: Crossovers | None = None,
) -> Plan:
    """The plan of a recipe. Every component is checked, and every default written out, before anything runs."""
    table = crossovers or shipped_crossovers()
    cells = tuple(_Planner(recipe, source, networks, threads, execution, table).cells())
    plan = Plan(recipe, cells, tuple(measures(recipe, cells, source, table)), Graph(()))
    return replace(plan, graph=Graph.of(plan.leaves))


class _Planner:
    """Makes the nodes of one recipe; equal nodes come out equal, so nothing has to be remembered."""

    def __init__(
        self, recipe: Recipe, source: DatasetSource, networks: Networks, threads: int, execution: str, crossovers: Crossovers
    ) -> None:
        self.recipe = recipe
        self.source = source
        self.threads = threads
        self.networks = networks
        self.execution = execution
        self.crossovers = crossovers
        self.where = f"{recipe.name}.toml"
        self.arms: dict[str, Mapping[str, Any]] = dict(recipe.content.get("arms", {}))

    def cells(self) -> Iterator[Cell]:
        sweep: Mapping[str, list[Any]] = self.recipe.content.get("sweep", {})
        for replicate in range(self.recipe.content.get("replicates", 1)):
            for values in itertools.product(*sweep.values()):
                factors = dict(zip(sweep, values, strict=True))
                yield from self._study(replicate, factors)

    def _study(self, replicate: int, factors: Mapping[str, Any]) -> Iterator[Cell]:
        """The cells of one replicate at one setting of the swept factors."""
        base = _Condition(self, "dense", self._tables({}, factors), replicate)
        yield self._cell(base, "dense", 0, 1.0, base.dense(), None, factors)
        for arm in self.arms:
            condition = self._condition(arm, factors, replicate)
            wanted = self.arms[arm].get("dense", True)
            if not wanted and condition.dataset.label != base.dataset.label:
                raise RecipeError(f"{self.where}: arms.{arm}.dense: on other data there is no other dense network to compare it with")
            if wanted and condition.dense() != base.dense():
                yield self._cell(condition, arm, 0, 1.0, condition.dense(), None, factors)
            for level, (density, train, mask) in enumerate(condition.levels(), start=1):
                yield self._cell(condition, arm, level, density, train, mask, factors)

    def _cell(
        self, condition: _Condition, arm: str, level: int, density: float | None, train: Node, mask: Node | None, factors: Mapping[str, Any]
    ) -> Cell:
        return Cell(
            arm, level, condition.replicate, factors, condition.dataset.label, density, train, condition.evaluate(train), mask
        )  # fmt: skip

    def _condition(self, arm: str, factors: Mapping[str, Any], replicate: int, asked_by: tuple[str, ...] = ()) -> _Condition:
        if arm in asked_by:
            raise RecipeError(
                f"{self.where}: arms.{arm}.mask_from: the arms {', '.join(asked_by)} take their masks from one another in a circle"
            )
        table = self.arms[arm]
        condition = _Condition(self, arm, self._tables(table, factors), replicate)
        if "mask_from" in table:
            condition.mask_source = self._condition(table["mask_from"], factors, replicate, (*asked_by, arm))
        return condition

    def _tables(self, arm: Mapping[str, Any], factors: Mapping[str, Any]) -> dict[str, Any]:
        """The recipe's tables with an arm's laid on them, and the swept factors set."""
        content = self.recipe.content
        tables: dict[str, Any] = {key: content[key] for key in ("data", "model", "task", "train", "prune", "rewind") if key in content}
        tables = merge(tables, {key: value for key, value in arm.items() if key not in ("mask_from", "dense", "about")})
        for path, value in factors.items():
            if path.partition(".")[0] not in ("data", "model", "task", "train", "prune", "rewind"):
                raise UnknownName(
                    "table", path.partition(".")[0], ("data", "model", "task", "train", "prune", "rewind"), f"{self.where}: sweep"
                )
            tables = set_path(tables, path, value)
        return tables


class _Condition:
    """One arm in one replicate, at one setting of the factors: its checked tables and the nodes made of them."""

    def __init__(self, planner: _Planner, arm: str, tables: Mapping[str, Any], replicate: int) -> None:
        self.planner = planner
        self.replicate = replicate
        self.where = planner.where if arm == "dense" else f"{planner.where}: arms.{arm}"
        self.mask_source: _Condition | None = None
        self.base_prune = planner.recipe.content.get("prune")
        self.data = self._component(datasets, tables["data"], "data")
        self.model = self._component(models, tables["model"], "model")
        self.task = self._component(tasks, tables["task"], "task")
        self.dataset: Dataset = planner.source.load(self.data)
        self.settings = self._settings(tables["train"])
        self.rewind = self._rewind(tables.get("rewind", "init"))
        self.prune_table = tables.get("prune")
        self.steps_per_epoch = self.dataset.splits["train"].steps(self.settings["batch"])
        self.total = Step.parse(self.settings["length"]).iterations(self.steps_per_epoch)

    # nodes

    def dense(self) -> Node:
        """Training of the whole network."""
        return self._train(self._initial("init"), (), {})

    def initial(self) -> Node:
        """The network's initial weights: they need no training."""
        problem = {key: value for key, value in self._problem().items() if key != "task"}
        return Node("initialise", {**problem, "seed": self._seed("init")})

    def evaluate(self, train: Node) -> Node:
        """The one reading of the test split: of the best state, or of the last."""
        state = "state/end" if self.settings["select"] == "end" else "state/best"
        spec = {**self._problem(), "split": "test", "batch": self.settings["evaluate_batch"], "threads": self.planner.threads}
        return Node("evaluate", spec, (Parent("state", train, state),))

    def levels(self) -> Iterator[tuple[float | None, Node, Node | None]]:
        """(density aimed at, training, mask) of levels 1, 2, …; no density where it comes out of training."""
        if self.mask_source is not None:
            for density, train, mask in self.mask_source.levels():
                if mask is None:
                    raise RecipeError(f"{self.where}: mask_from: that arm's masks change while it trains; they are no ticket to take over")
                yield density, self._retrain(train, mask), mask
            return
        pruning = self._pruning()
        name = pruning.schedule_table["name"]
        levels = {
            "iterative": self._iterative,
            "one-shot": self._one_shot,
            "gradual": self._within,
            "soft-movement": self._soft_movement,
            "dynamic": self._within,
            "early-bird": self._early_bird,
        }
        if name not in levels:
            raise PruningError(f"{self.where}: prune.schedule: there is no way to run {name!r} in a study")
        if name == "dynamic" and pruning.schedule.method == "static":
            yield from self._static(pruning)
            return
        yield from levels[name](pruning)

    def _iterative(self, pruning: Pruning) -> Iterator[tuple[float, Node, Node | None]]:
        train, mask = self.dense(), None
        for density in pruning.schedule.densities():
            mask = self._prune(pruning, {"density": density}, train, f"state/{pruning.source}", mask)
            train = self._retrain(train, mask)
            yield density, train, mask

    def _one_shot(self, pruning: Pruning) -> Iterator[tuple[float, Node, Node | None]]:
        when = pruning.schedule.when
        scored = self.initial() if when == "init" else self.dense()
        moments = {"init": "state/0", "trained": f"state/{pruning.source}"}
        state = moments.get(when) or f"state/{Step.parse(when).iterations(self.steps_per_epoch)}"
        for density in pruning.schedule.densities():
            target = {"density": density, "rounds": pruning.schedule.rounds}
            mask = self._prune(pruning, target, scored, state, None)
            yield density, self._retrain(None if when == "init" else self.dense(), mask), mask

    def _within(self, pruning: Pruning) -> Iterator[tuple[float, Node, Node | None]]:
        for density in pruning.schedule.densities():
            yield density, self._train_changing(pruning, {"density": density}), None

    def _soft_movement(self, pruning: Pruning) -> Iterator[tuple[None, Node, None]]:
        for strength in pruning.schedule.strength:
            yield None, self._train_changing(pruning, {"strength": strength}), None

    def _early_bird(self, pruning: Pruning) -> Iterator[tuple[float, Node, Node | None]]:
        for density in pruning.schedule.densities():
            search = self._train_changing(pruning, {"density": density})
            yield density, self._retrain(search, search), search

    def _train_changing(self, pruning: Pruning, level: Mapping[str, float]) -> Node:
        """Training in which the mask changes; `level` is what sets it apart from the schedule's other levels."""
        if self.settings["masking"] != "enforced":
            raise RecipeError(
                f"{self.where}: train.masking: {self.settings['masking']!r} holds the mask of a ticket; one that changes is always enforced"
            )
        options = {key: value for key, value in pruning.schedule_table.items() if key not in ("final", "density", "strength")}
        table = {
            **self._pruned_how(pruning),
            **level,
            "schedule": options,
            "seed": self._seed("prune"),
            "batches": pruning.batches,
        }
        moves = not stays_dense(pruning.schedule, pruning.score["name"])
        return self._train(self._initial("init"), (), {"pruning": table}, masked=moves)

    def _prune(self, pruning: Pruning, target: Mapping[str, Any], scored: Node, state: str, before: Node | None) -> Node:
        parents = [Parent("state", scored, state)]
        if before is not None:
            parents.append(Parent("mask", before, "mask"))
        spec = {**self._problem(), **self._pruned_how(pruning), "target": dict(target), "seed": self._seed("prune")}
        if pruning.batches:
            spec.update(batch=self.settings["batch"], batches=pruning.batches, data_order=self._seed("data-order"))
        return Node("prune", {**spec, "threads": self.planner.threads}, tuple(parents))

    def _static(self, pruning: Pruning) -> Iterator[tuple[float, Node, Node | None]]:
        """Static sparse training: a mask drawn over the initial weights, which training never changes."""
        for density in pruning.schedule.densities():
            mask = self._prune(pruning, {"density": density, "rounds": 1}, self.initial(), "state/0", None)
            yield density, self._retrain(None, mask), mask

    def _retrain(self, trained: Node | None, mask: Node) -> Node:
        """Training of what the mask keeps, from where the arm rewinds to.

        `trained` is what the mask was drawn from; None where that were the initial weights.
        """
        rewind, ticket = self.rewind, Parent("mask", mask, "mask")
        if rewind.kind == "reinit":
            return self._train(self._initial("reinit"), (ticket,), {})
        form = "resumable" if rewind.optimizer == "kept" else "state"
        if rewind.kind == "end":
            start = {"start": "weights", "optimizer": rewind.optimizer, "rate": "schedule"}
            return self._train(start, (Parent("state", self.dense(), f"{form}/end"), ticket), {})
        if rewind.kind in ("finetune", "lr"):
            if trained is None:
                raise RecipeError(f"{self.where}: rewind: {rewind} goes on from trained weights; the mask is drawn over initial ones")
            start = {"start": "weights", "optimizer": rewind.optimizer, "rate": "final" if rewind.kind == "finetune" else "schedule"}
            return self._train(start, (Parent("state", trained, f"{form}/end"), ticket), {})
        step = rewind.position(self.steps_per_epoch)
        assert step is not None
        if step >= self.total and step > 0:
            raise RecipeError(
                f"{self.where}: rewind: {rewind} is not before the end of training at step {self.total}; for that, write 'finetune'"
            )
        start = {"start": "state", "optimizer": rewind.optimizer, "rate": "schedule"}
        source = self.initial() if step == 0 else self.dense()
        return self._train(start, (Parent("state", source, f"{form}/{step}"), ticket), {})

    def _train(self, start: Mapping[str, Any], parents: tuple[Parent, ...], more: Mapping[str, Any], masked: bool = False) -> Node:
        """Training; `masked` where layers may run sparse by masks that it draws itself, as they may by a parent's."""
        seeds = {purpose: self._seed(purpose) for purpose in ("data-order", "dropout")}
        spec = {**self._problem(), "train": self.settings, "seeds": seeds, "threads": self.planner.threads, **start, **more}
        # Which layers run sparse follows from the masks, the batch and the crossover table: with them the choice is in the key.
        ticket = any(parent.role == "mask" for parent in parents)
        if ticket and self.rewind.keep != "values":
            spec["keep"] = {"part": self.rewind.keep, "seed": self._seed("reinit")}
        spec["execution"] = self.planner.execution if ticket or masked else "dense"
        if (ticket or masked) and self.planner.execution == "auto":
            spec["crossovers"] = self.planner.crossovers.digest
        return Node("train", spec, parents)

    def _initial(self, purpose: str) -> dict[str, Any]:
        return {"start": "init", "init_seed": self._seed(purpose), "optimizer": "fresh", "rate": "schedule"}

    def _seed(self, purpose: str) -> int:
        return seed_for(self.replicate, purpose)

    def _problem(self) -> dict[str, Any]:
        """Data, model and task, as every node that builds the network needs them."""
        return {"data": self.data, "data_digest": self.dataset.digest, "model": self.model, "task": self.task}

    def _pruned_how(self, pruning: Pruning) -> dict[str, Any]:
        how = {"score": pruning.score, "scope": pruning.scope, "unit": pruning.unit, "prunable": list(pruning.prunable)}
        return {**how, "rates": dict(pruning.rates), "floor": pruning.floor}

    # tables

    def _component(self, registry: Any, table: Mapping[str, Any] | str, key: str) -> dict[str, Any]:
        """A component's table with every default written out, and what else decides its bits: its code's version, where it has one, and,
        for one that is no part of Secateur, its source's digest."""
        table = {"name": table} if isinstance(table, str) else dict(table)
        where = f"{self.where}: {key}"
        name = table.pop("name", None)
        if not isinstance(name, str):
            raise RecipeError(f"{where}: the key 'name' is missing")
        try:
            entry = registry.entry(name)
        except UnknownName as error:
            raise UnknownName(error.what, name, error.allowed, where) from None
        spec = {"name": name, **written(bind(entry, table, where))}
        if "version" in entry.traits:
            spec["version"] = entry.traits["version"]
        code = source_digest(entry.make.__module__)
        return {**spec, "source": code} if code is not None else spec

    def _settings(self, table: Mapping[str, Any]) -> dict[str, Any]:
        settings = written(bind_fields(Settings, table, f"{self.where}: train"))
        settings["optimizer"] = self._component(optimizers, settings["optimizer"], "train.optimizer")
        settings["learning_rate"] = self._component(learning_rates, settings["learning_rate"], "train.learning_rate")
        return settings

    def _rewind(self, table: Any) -> Rewind:
        try:
            return Rewind.parse(table)
        except InputError as error:
            raise RecipeError(f"{self.where}: {error}") from None

    def _pruning(self) -> Pruning:
        if not isinstance(self.prune_table, Mapping):
            raise RecipeError(f"{self.where}: the table 'prune' is missing")
        where = f"{self.where}: prune"
        bound = bind_fields(_PruneTable, self.prune_table, where)
        table = dict(bound["schedule"])
        if table.get("name") == "one-shot" and not {"density", "compression"} & table.keys():
            table["density"] = list(self._base_densities())
        schedule_spec = self._component(schedules, table, "prune.schedule")
        entry = schedules.entry(schedule_spec["name"])
        options = {key: value for key, value in schedule_spec.items() if key not in ("name", "source")}
        if bound["source"] not in ("end", "best"):
            raise UnknownName("value", bound["source"], ("end", "best"), f"{where}.source")
        score = self._component(scores, bound["score"], "prune.score")
        try:
            self.planner.networks.check_selectors(self.model, self.dataset.shape, self.dataset.digest, bound["prunable"], bound["rates"])
        except InputError as error:
            raise RecipeError(f"{where}: {error}") from None
        scope, unit = self._component(scopes, bound["scope"], "prune.scope"), self._component(units, bound["unit"], "prune.unit")
        schedule = entry.make(**bind(entry, options, f"{where}.schedule"))
        try:
            check(
                score=score["name"], scope=scope["name"], unit=unit["name"], schedule=entry.name, rates=bool(bound["rates"]),
                floor=bound["floor"] > 0, rounds=options.get("rounds", 1), dynamic_method=options.get("method"),
            )  # fmt: skip
        except PruningError as error:
            raise RecipeError(f"{where}: {error}") from None
        return Pruning(
            score=score,
            scope=scope,
            unit=unit,
            prunable=bound["prunable"],
            rates=bound["rates"],
            floor=bound["floor"],
            batches=bound["batches"] if scores.entry(score["name"]).traits.get("needs_batches") else 0,
            source=bound["source"],
            schedule_table=schedule_spec,
            schedule=schedule,
        )

    def _base_densities(self) -> tuple[float, ...]:
        """The densities of the recipe's own schedule: what an arm without densities is measured at."""
        schedule = dict((self.base_prune or {}).get("schedule", {}))
        name = schedule.pop("name", None)
        if name is None:
            return (0.1,)
        entry = schedules.entry(name)
        return tuple(entry.make(**bind(entry, schedule, f"{self.planner.where}: prune.schedule")).densities())


def kinds_in(graph: Graph) -> dict[str, int]:
    """How many nodes of each kind a graph has."""
    return {entry.name: sum(node.kind == entry.name for node in graph.nodes) for entry in node_kinds}
