"""What a run is going to take: nodes, seconds, bytes; from nodes already in the store where there are any."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from rich.table import Table

from secateur.analysis import phrasing as say
from secateur.canonical import canonical_json
from secateur.steps import Step
from secateur.studies.executors import available_cores
from secateur.studies.graph import Node
from secateur.studies.networks import build_network
from secateur.studies.pace import StepWork, step_work
from secateur.studies.run import Prepared

_START = 4.0
"""Seconds until a worker has imported torch and loaded its data."""
_NODE = 0.15
"""Seconds of any node: its network is built, its artefacts are written."""
_DECODING = 4.0
"""Translating word by word takes so many times a forward pass over the same sentences."""


def estimate(prepared: Prepared, jobs: int | None = None) -> dict[str, Any]:
    """Nodes left of each kind, seconds of computing and bytes of disk they will take.

    Seconds come from the multiply-adds of each network on its own data, at the pace of one core (`studies.pace`); where the store has
    trainings of this study, all is scaled by how long they took beside their own estimates. They are those of the longest chain of nodes,
    or of all nodes over the workers, whichever is more.
    """
    left = _left(prepared)
    workers = jobs or max(1, available_cores() // prepared.threads)
    clock = _Clock(prepared)
    scale = clock.measured()
    seconds = {node.key: _NODE + clock.seconds(node) * (1.0 if scale is None else scale) for node in left}
    longest: dict[str, float] = {}
    for node in left:  # parents come first
        longest[node.key] = seconds[node.key] + max((longest.get(parent.node.key, 0.0) for parent in node.parents), default=0.0)
    total = max(max(longest.values(), default=0.0), sum(seconds.values()) / workers)
    return {
        "left": prepared.left(),
        "nodes": len(prepared.plan.graph.nodes),
        "cells": len(prepared.plan.cells),
        "seconds": round(total + _START, 1) if left else 0.0,
        "workers": workers,
        "bytes": sum(2 * 4 * clock.work(node).weights for node in left if node.kind == "train"),
        "pace": "measured" if scale is not None else "estimated",
    }


def graph_table(prepared: Prepared, expected: dict[str, Any]) -> Table:
    """The study's arms and what is left of each, with the estimate below."""
    left = {node.key for node in _left(prepared)}
    caption = (
        f"{sum(expected['left'].values())} of {expected['nodes']} nodes are left: "
        + ", ".join(f"{count} {kind}" for kind, count in expected["left"].items())
        + f"; about {say.duration(expected['seconds'])} on {say.count(expected['workers'], 'core')} ({expected['pace']} pace)"
        + f" and at most {expected['bytes'] / 1e6:.0f} MB"
    )
    table = Table(
        box=None,
        pad_edge=False,
        header_style="dim",
        caption=caption,
        caption_justify="left",
        title=prepared.study.title,
        title_justify="left",
    )
    for column in ("arm", "levels", "densities", "replicates", "trainings left"):
        table.add_column(column)
    for arm in prepared.study.arms:
        cells = [cell for cell in prepared.plan.cells if cell.arm == arm]
        densities = sorted({cell.density for cell in cells if cell.density is not None}, reverse=True)
        shown = ", ".join(f"{density:.3g}" for density in densities[:6]) + (", …" if len(densities) > 6 else "")
        shown = ", ".join(filter(None, [shown, "as they come out" if any(cell.density is None for cell in cells) else ""]))
        waiting = len({cell.train.key for cell in cells} & left)
        table.add_row(arm, str(len({cell.level for cell in cells})), shown, str(len({cell.replicate for cell in cells})), str(waiting))
    return table


class _Clock:
    """Seconds of the nodes of a plan on one core. Each network is built once."""

    def __init__(self, prepared: Prepared) -> None:
        self.prepared = prepared
        self._works: dict[str, StepWork] = {}

    def work(self, node: Node) -> StepWork:
        """What a step of a training consists of."""
        spec, (_, prunable) = node.spec, _mask(node)
        key = canonical_json([spec["model"], spec["data_digest"], spec["train"]["batch"], spec["train"]["clip"], list(prunable)])
        if key not in self._works:
            dataset = self.prepared.source.load(spec["data"])
            network = build_network(spec["model"], dataset.shape, 0)
            self._works[key] = step_work(network, dataset.splits["train"], spec["train"], prunable, self.prepared.crossovers)
        return self._works[key]

    def seconds(self, node: Node) -> float:
        """Seconds of one node."""
        match node.kind:
            case "train":
                return self._training(node)
            case "evaluate":
                return self._reading(_trained(node), "test")
            case "interpolate":
                return float(node.spec["points"]) * self._reading(_trained(node), node.spec["split"])
            case "prune" if "batches" in node.spec:
                step = self._alike(node)
                rounds = max(node.spec["batches"] * node.spec["target"].get("rounds", 1), node.spec["score"].get("steps", 0))
                return float(rounds) * step
        return 0.0

    def measured(self) -> float | None:
        """How much longer this study's finished trainings took than their estimates, the median; None where there is none."""
        ratios = []
        for node in self.prepared.plan.graph.nodes:
            stored = self.prepared.store.get(node.key) if node.kind == "train" else None
            if stored is not None and stored.facts["steps"] > stored.facts["first_step"]:
                share = (stored.facts["steps"] - stored.facts["first_step"]) / max(1, self._steps(node))
                expected = self._training(node) * share
                ratios.append(self.prepared.store.timings(node.key).get("train", 0.0) / expected)
        return sorted(ratios)[len(ratios) // 2] if ratios else None

    def _training(self, node: Node) -> float:
        steps = self._steps(node)
        every = max(1, Step.parse(node.spec["train"]["evaluate"]).iterations(self._steps_per_epoch(node)))
        step = self.work(node).seconds(_mask(node)[0], node.spec["execution"])
        return steps * step + (steps // every + 1) * self._reading(node, "valid")

    def _reading(self, train: Node, split: str) -> float:
        batch = int(train.spec["train"]["evaluate_batch"])
        steps = self.prepared.source.load(train.spec["data"]).splits[split].steps(batch)
        decoding = _DECODING if train.spec["task"]["name"] == "translation" else 1.0
        return decoding * self.work(train).reading(steps, batch)

    def _alike(self, node: Node) -> float:
        """Seconds of a step of the training that is most like what a node without a `train` table does: any on its data and model."""
        for other in self.prepared.plan.graph.nodes:
            if other.kind == "train" and all(other.spec[key] == node.spec[key] for key in ("data_digest", "model")):
                return self.work(other).seconds()
        return 0.0

    def _steps_per_epoch(self, node: Node) -> int:
        return self.prepared.source.load(node.spec["data"]).splits["train"].steps(node.spec["train"]["batch"])

    def _steps(self, node: Node) -> int:
        """Optimiser steps: those of the length, less those before the state that it restarts from."""
        length = Step.parse(node.spec["train"]["length"]).iterations(self._steps_per_epoch(node))
        state = next((parent.artefact.rpartition("/")[2] for parent in node.parents if parent.role == "state"), "0")
        return length - int(state) if node.spec["start"] == "state" and state.isdigit() else length


def _trained(node: Node) -> Node:
    """The training whose state a node reads."""
    return next(parent.node for parent in node.parents if parent.node.kind == "train")


def _mask(node: Node) -> tuple[float, Sequence[str]]:
    """(density, selectors of what is prunable) of the mask that a training starts with; 1 and none without one."""
    if "pruning" in node.spec and node.spec["pruning"]["schedule"]["name"] == "dynamic":
        return float(node.spec["pruning"]["density"]), node.spec["pruning"]["prunable"]
    for parent in node.parents:
        if parent.role == "mask":
            drawn = parent.node.spec if parent.node.kind == "prune" else parent.node.spec["pruning"]
            return float(drawn["target"]["density"] if "target" in drawn else drawn["density"]), drawn["prunable"]
    return 1.0, ()


def _left(prepared: Prepared) -> list[Node]:
    from secateur.studies.execution import survey

    status, _ = survey(prepared.plan.graph, prepared.store, prepared.plan.leaves)
    return [node for node in prepared.plan.graph.nodes if status[node.key] == "waiting"]
