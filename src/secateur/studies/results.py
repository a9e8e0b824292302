"""`Study`: what a store holds of a study, as frames. No row comes from anything but finished nodes."""

from __future__ import annotations

import json
import math
from collections.abc import Iterable, Iterator, Mapping
from functools import cached_property
from pathlib import Path
from typing import Any

import polars as pl

from secateur.analysis.notebook import study_html
from secateur.analysis.tuning import tuned
from secateur.analysis.verdicts import Rule, controls_of
from secateur.canonical import canonical_json
from secateur.errors import UnknownName
from secateur.studies.nodes import read_lines
from secateur.studies.planning import Plan
from secateur.studies.store import Store, Stored


class Study:
    """A study in a store: its record says which nodes make it up, the nodes say what came of them."""

    def __init__(self, store: Store, record: Mapping[str, Any]) -> None:
        self.store = store
        self.record = record
        self._nodes: dict[str, Stored | None] = {}

    @classmethod
    def latest(cls, store: Store, name: str) -> Study:
        """The latest study of that name (a recipe's name or file) in the store."""
        stem = Path(name).stem if name.endswith(".toml") else name
        found = store.studies(stem)
        if not found:
            known = sorted({path.parent.name for path in store.studies()})
            raise UnknownName("study", stem, known, str(store.root))
        return cls(store, json.loads(found[-1].read_bytes()))

    @property
    def name(self) -> str:
        """The recipe's name."""
        return str(self.record["name"])

    @property
    def title(self) -> str:
        """The recipe's title."""
        return str(self.record["title"])

    @property
    def preset(self) -> str:
        """The preset that was run; empty when none was."""
        return self.record["preset"] or ""

    @property
    def metric(self) -> str:
        """The metric that decides."""
        return str(self.record["metric"]["name"])

    @property
    def higher_is_better(self) -> bool:
        """Whether more of the metric is better."""
        return bool(self.record["metric"]["higher_is_better"])

    @property
    def margin(self) -> float:
        """How much worse than dense still matches."""
        return float(self.record["metric"]["margin"])

    @property
    def margin_is_relative(self) -> bool:
        """Whether the margin is a fraction of dense's value."""
        return bool(self.record["metric"]["relative"])

    @property
    def expectations(self) -> list[dict[str, Any]]:
        """Published numbers to print beside the measured ones."""
        return list(self.record["recipe"].get("expect", []))

    def progress(self) -> dict[str, int]:
        """How many of the study's nodes are done, diverged, running somewhere, failed, or left."""
        counts = {"done": 0, "diverged": 0, "running": 0, "failed": 0, "left": 0}
        for key in self.record["nodes"]:
            stored = self._node(key)
            if stored is not None:
                counts["diverged" if stored.facts.get("status") == "diverged" else "done"] += 1
            else:
                counts["running" if self.store.leased(key) else "failed" if self.store.failure(key) else "left"] += 1
        return counts

    def failures(self) -> list[dict[str, str]]:
        """The nodes whose last attempt failed: `key`, the first row that needs it as `what`, its `error` (the last line) and the whole
        `traceback`. A node that an attempt is under way for is not among them."""
        found: dict[str, dict[str, str]] = {}
        for cell in self.record["cells"]:
            for key in self._ancestors(cell["train"]) | {cell["evaluate"]}:
                text = self.store.failure(key) if key not in found and self._node(key) is None else None
                if text is not None and not self.store.leased(key):
                    factors = "".join(f", {path} = {value}" for path, value in cell["factors"].items())
                    what = f"{cell['arm']}, level {cell['level']}, replicate {cell['replicate']}{factors}"
                    found[key] = {"key": key, "what": what, "error": text.strip().rpartition("\n")[2], "traceback": text}
        return list(found.values())

    def frame(self) -> pl.DataFrame:
        """Results, one row a (arm, level, replicate, factors).

        `multiply_adds` and `seconds` are those of the row's own training; `steps` counts its optimiser steps. A metric of a
        row that is not `done` is null. Factors that the recipe tunes have, for each arm and level, the one setting that validates
        best (`chosen.<key>`), and the costs of all that were tried. `flop_sparsity` is the part of the dense network's multiply-adds for
        one example that the mask spares.
        """
        frame = _frame([self._row(cell) for cell in self.record["cells"]])
        if not self._tuned:
            return frame
        column = f"valid_{self.metric}"
        whole = frame if column in frame.columns else frame.with_columns(pl.lit(None, dtype=pl.Float64).alias(column))
        return tuned(whole, self._tuned, self.metric, self.higher_is_better)

    def curves(self) -> pl.DataFrame:
        """Evaluations while training, one row a (arm, level, replicate, factors, step)."""
        rows = []
        for cell, identity in self._cells():
            stored = self._node(cell["train"])
            if stored is not None and "metrics" in stored.artefacts:
                rows += [{**identity, **entry} for entry in read_lines(self.store.read(cell["train"], "metrics"))]
        return _frame(rows)

    def layers(self) -> pl.DataFrame:
        """Weights prunable and kept, one row a (arm, level, replicate, factors, parameter)."""
        rows = []
        whole = next((layers for cell in self.record["cells"] if (layers := self._layers(cell))), [])
        for cell, identity in self._cells():
            layers = self._layers(cell) if cell["level"] else [{**layer, "kept": layer["prunable"]} for layer in whole]
            rows += [{**identity, **layer} for layer in layers]
        return _frame(rows)

    def measures(self, analysis: str) -> pl.DataFrame:
        """What an analysis of the recipe measured, one row a (arm, level, replicate, factors): its node's numbers, the density, and what it
        timed, as `seconds_<what>`."""
        by_place = {_place(row): row["density"] for row in self.frame().iter_rows(named=True)}
        rows = []
        for measure, identity in self._identified(self.record.get("measures", [])):
            stored = self._node(measure["node"])
            if measure["analysis"] == analysis and stored is not None:
                numbers = {name: value for name, value in stored.facts.items() if isinstance(value, int | float)}
                numbers |= {f"seconds_{name}": value for name, value in self.store.timings(measure["node"]).items()}
                rows.append({**identity, "density": by_place.get(_place(identity)), **numbers})
        return _frame(rows)

    def method(self) -> dict[str, Any]:
        """How it was done, as plain data: what the method section of a report is written from."""
        prints = {canonical_json(stored.facts["fingerprint"]) for stored in self._stored() if "fingerprint" in stored.facts}
        versions = [json.loads(text) for text in sorted(prints)]
        arms = self.record["method"]["arms"]
        return {
            **self.record["method"],
            "arms": {arm: arms[arm] for arm in self.arms if arm in arms},
            "versions": versions[0] if versions else {},
            "fingerprints": versions,
            "fingerprints_mixed": len(versions) > 1,
            "started": self.record["started"],
            "finished": max((self._finished(stored) for stored in self._stored()), default=self.record["started"]),
            "seconds": sum(sum(self.store.timings(stored.key).values()) for stored in self._stored()),
            "cost": self.cost(),
        }

    def cost(self) -> dict[str, dict[str, float]]:
        """What each arm took over all its levels and replicates, down to where its masks come from: optimiser steps, multiply-adds and
        seconds. A node that several arms share counts for each; of one that is only read at an early step, so much counts."""
        costs: dict[str, dict[str, float]] = {}
        for arm in self.arms:
            shares: dict[str, float] = {}
            for cell in self.record["cells"]:
                if cell["arm"] == arm:
                    self._add_shares(cell["train"], 1.0, shares)
            total = {"steps": 0.0, "multiply_adds": 0.0, "seconds": 0.0}
            for key, share in shares.items():
                stored = self._node(key)
                if stored is not None:
                    total["steps"] += share * (stored.facts.get("steps", 0) - stored.facts.get("first_step", 0))
                    total["multiply_adds"] += share * stored.facts.get("multiply_adds", 0)
                    total["seconds"] += share * sum(self.store.timings(key).values())
            costs[arm] = total
        return costs

    def _add_shares(self, key: str, share: float, shares: dict[str, float]) -> None:
        """Note that `share` of a node's training is needed, and what it needs itself: of a parent read at an early step only so much."""
        if share <= shares.get(key, -1.0):
            return
        shares[key] = share
        for parent, artefact in self.record["nodes"][key]:
            self._add_shares(parent, self._share(parent, artefact), shares)

    def _share(self, key: str, artefact: str) -> float:
        """Which part of a node's training an artefact takes."""
        step = artefact.rpartition("/")[2]
        stored = self._node(key)
        if not step.isdigit() or stored is None or "steps" not in stored.facts:
            return 1.0
        first, last = stored.facts["first_step"], stored.facts["steps"]
        return min(1.0, max(0.0, (int(step) - first) / (last - first))) if last > first else 1.0

    def _repr_html_(self) -> str:
        rule = Rule(self.metric, self.margin, self.higher_is_better, self.margin_is_relative)
        return study_html(self.title, self.frame(), rule, controls_of(self.method()["arms"]))

    def _ancestors(self, key: str) -> set[str]:
        found: set[str] = set()
        waiting = [key]
        while waiting:
            now = waiting.pop()
            if now not in found:
                found.add(now)
                waiting += [parent for parent, _ in self.record["nodes"][now]]
        return found

    def _cells(self) -> Iterator[tuple[Mapping[str, Any], dict[str, Any]]]:
        """The cells with their arm, level, replicate and factors; of factors that are tuned only the chosen setting."""
        yield from self._identified(self.record["cells"])

    def _identified(self, entries: Iterable[Mapping[str, Any]]) -> Iterator[tuple[Mapping[str, Any], dict[str, Any]]]:
        chosen = {_place(row): tuple(row[name.replace("factor.", "chosen.", 1)] for name in self._tuned) for row in self._choices}
        for entry in entries:
            identity = _identity(entry)
            setting = tuple(identity.pop(name) for name in self._tuned)
            if chosen.get(_place(identity), ()) == setting:
                yield entry, identity

    @property
    def _tuned(self) -> list[str]:
        """The columns of the factors that the recipe tunes."""
        return [f"factor.{path}" for path in self.record["recipe"].get("tune", [])]

    @property
    def _choices(self) -> list[dict[str, Any]]:
        """The rows at chosen settings, where any factor is tuned."""
        return list(self.frame().iter_rows(named=True)) if self._tuned else []

    def _row(self, cell: Mapping[str, Any]) -> dict[str, Any]:
        trained, evaluated = self._node(cell["train"]), self._node(cell["evaluate"])
        layers = self._layers(cell)
        prunable, kept = sum(layer["prunable"] for layer in layers), sum(layer["kept"] for layer in layers)
        density: float | None = kept / prunable if prunable else cell["density"]  # none yet where it comes out of training
        facts = trained.facts if trained is not None else {}
        row: dict[str, Any] = {"study": self.name, "preset": self.preset, "data": cell["data"], **_identity(cell)}
        sparsity = None if density is None else 1 - density
        row.update(density=density, sparsity=sparsity, compression=-math.log10(density) if density else None)
        row.update({f"test_{name}": value for name, value in (evaluated.facts["metrics"] if evaluated else {}).items()})
        row.update({name: value for name, value in facts.get("best", {}).items() if name.startswith("valid_")})
        row.update(
            best_step=facts.get("best_step"),
            steps=facts["steps"] - facts["first_step"] if "steps" in facts else None,
            multiply_adds=facts.get("multiply_adds"),
            example_multiply_adds=facts.get("example_multiply_adds"),
            dense_multiply_adds=facts.get("dense_multiply_adds"),
            bytes=facts.get("bytes"),
            dense_bytes=facts.get("dense_bytes"),
            flop_sparsity=_spared(facts),
            seconds=sum(self.store.timings(cell["train"]).values()) if trained is not None else None,
            execution=_executed(facts) if facts else None,
            status=self._status(cell, trained, evaluated),
            node=cell["train"],
        )
        return row

    def _status(self, cell: Mapping[str, Any], trained: Stored | None, evaluated: Stored | None) -> str:
        """`done` once evaluated; `diverged` or `failed` when its training, or a node that it needs, is; else `missing`."""
        if evaluated is not None:
            return "done"
        needed = self._ancestors(cell["train"])
        if any(stored.facts.get("status") == "diverged" for key in needed if (stored := self._node(key)) is not None):
            return "diverged"
        return "failed" if any(self._node(key) is None and self.store.failure(key) for key in needed | {cell["evaluate"]}) else "missing"

    def _layers(self, cell: Mapping[str, Any]) -> list[dict[str, Any]]:
        """Prunable and kept weights of each parameter at this cell, where a node says so."""
        for key in (cell["mask"], cell["train"]):
            stored = self._node(key) if key else None
            if stored is not None and stored.facts.get("layers"):
                return [dict(layer) for layer in stored.facts["layers"]]
        return []

    def _stored(self) -> Iterator[Stored]:
        for key in self.record["nodes"]:
            stored = self._node(key)
            if stored is not None:
                yield stored

    def _node(self, key: str) -> Stored | None:
        if self._nodes.get(key) is None:
            self._nodes[key] = self.store.get(key)
        return self._nodes[key]

    def _finished(self, stored: Stored) -> str:
        return self.store.finished(stored.key)

    @cached_property
    def arms(self) -> list[str]:
        """The arms, `dense` first, in the recipe's order."""
        return list(dict.fromkeys(cell["arm"] for cell in self.record["cells"]))


def record_of(plan: Plan, metric: Mapping[str, Any], method: Mapping[str, Any], started: str) -> dict[str, Any]:
    """What the store keeps of a study: its recipe, its cells and the keys of its nodes with those of their parents."""
    return {
        "name": plan.recipe.name,
        "title": plan.recipe.title,
        "preset": plan.recipe.preset,
        "recipe": plan.recipe.content,
        "metric": dict(metric),
        "method": dict(method),
        "started": started,
        "cells": [
            {
                "arm": cell.arm,
                "level": cell.level,
                "replicate": cell.replicate,
                "factors": dict(cell.factors),
                "data": cell.data,
                "density": cell.density,
                "train": cell.train.key,
                "evaluate": cell.evaluate.key,
                "mask": None if cell.mask is None else cell.mask.key,
            }
            for cell in plan.cells
        ],
        "measures": [
            {
                "analysis": measure.analysis,
                "arm": measure.arm,
                "level": measure.level,
                "replicate": measure.replicate,
                "factors": dict(measure.factors),
                "node": measure.node.key,
            }
            for measure in plan.measures
        ],
        "nodes": {node.key: [[parent.node.key, parent.artefact] for parent in node.parents] for node in plan.graph.nodes},
    }


def _spared(facts: Mapping[str, Any]) -> float | None:
    """1 - multiply-adds kept / dense, for one example; None where a network has none or the node does not say."""
    dense = facts.get("dense_multiply_adds")
    return 1 - facts["example_multiply_adds"] / dense if dense else None


def _executed(facts: Mapping[str, Any]) -> str:
    """How a training was executed: `dense`, `sparse`, or how many of the masked parameters were sparse."""
    layers = list(facts.get("execution", {}).values())
    sparse = layers.count("sparse")
    if sparse == 0:
        return "dense"
    return "sparse" if sparse == len(layers) else f"sparse {sparse}/{len(layers)}"


def _place(row: Mapping[str, Any]) -> tuple[Any, ...]:
    """Arm, level, replicate and factors of a row or identity, as a key."""
    factors = sorted((name, value) for name, value in row.items() if name.startswith("factor."))
    return (row["arm"], row["level"], row["replicate"], *factors)


def _identity(cell: Mapping[str, Any]) -> dict[str, Any]:
    factors = {
        f"factor.{path}": value if isinstance(value, int | float | str) else canonical_json(value)
        for path, value in cell["factors"].items()
    }
    return {"arm": cell["arm"], "level": cell["level"], "replicate": cell["replicate"], **factors}


def _frame(rows: list[dict[str, Any]]) -> pl.DataFrame:
    """Rows as a frame; columns in the order in which they first appear."""
    columns: dict[str, None] = {}
    for row in rows:
        columns.update(dict.fromkeys(row))
    return pl.DataFrame({name: [row.get(name) for row in rows] for name in columns}, strict=False)
