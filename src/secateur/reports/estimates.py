"""What a run is going to take: nodes, seconds, bytes; from nodes already in the store where there are any."""

from __future__ import annotations

from typing import Any

from rich.table import Table

from secateur.steps import Step
from secateur.studies.executors import available_cores
from secateur.studies.graph import Node
from secateur.studies.run import Prepared

_SECONDS_A_WEIGHT_AND_STEP = 1.2e-8
_SECONDS_A_STEP = 1e-3


def estimate(prepared: Prepared, jobs: int | None = None) -> dict[str, Any]:
    """Nodes left of each kind, seconds of computing and bytes of disk they will take. Where the store has trainings of the same problem
    their pace is taken, else a pace from the number of weights, which is right within a factor of a few."""
    status = _left(prepared)
    workers = jobs or max(1, available_cores() // prepared.threads)
    pace = _measured_pace(prepared)
    seconds = disk = 0.0
    for node in status:
        if node.kind == "train":
            dataset = prepared.source.load(node.spec["data"])
            weights = prepared.networks.weights(node.spec["model"], dataset.shape, dataset.digest)
            steps = _steps(node, prepared)
            seconds += steps * (pace if pace is not None else _SECONDS_A_STEP + _SECONDS_A_WEIGHT_AND_STEP * weights)
            disk += 2 * 4 * weights
    return {
        "left": prepared.left(),
        "nodes": len(prepared.plan.graph.nodes),
        "cells": len(prepared.plan.cells),
        "seconds": round(seconds / workers, 1),
        "bytes": int(disk),
        "pace": "measured" if pace is not None else "estimated",
    }


def graph_table(prepared: Prepared, expected: dict[str, Any]) -> Table:
    """The study's arms and what is left of each, with the estimate below."""
    left = {node.key for node in _left(prepared)}
    minutes = expected["seconds"] / 60
    caption = (
        f"{sum(expected['left'].values())} of {expected['nodes']} nodes are left: "
        + ", ".join(f"{count} {kind}" for kind, count in expected["left"].items())
        + f"; about {minutes:.0f} min ({expected['pace']} pace) and at most {expected['bytes'] / 1e6:.0f} MB"
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
        densities = sorted({cell.density for cell in cells}, reverse=True)
        shown = ", ".join(f"{density:.3g}" for density in densities[:6]) + (", …" if len(densities) > 6 else "")
        waiting = len({cell.train.key for cell in cells} & left)
        table.add_row(arm, str(len({cell.level for cell in cells})), shown, str(len({cell.replicate for cell in cells})), str(waiting))
    return table


def _left(prepared: Prepared) -> list[Node]:
    from secateur.studies.execution import survey

    status, _ = survey(prepared.plan.graph, prepared.store, prepared.plan.leaves)
    return [node for node in prepared.plan.graph.nodes if status[node.key] == "waiting"]


def _steps(node: Node, prepared: Prepared) -> int:
    dataset = prepared.source.load(node.spec["data"])
    return Step.parse(node.spec["train"]["length"]).iterations(dataset.splits["train"].steps(node.spec["train"]["batch"]))


def _measured_pace(prepared: Prepared) -> float | None:
    """Seconds a step of finished trainings of this study, the median; None where there is none."""
    paces = []
    for node in prepared.plan.graph.nodes:
        stored = prepared.store.get(node.key) if node.kind == "train" else None
        if stored is not None and stored.facts["steps"] > stored.facts["first_step"]:
            paces.append(prepared.store.timings(node.key).get("train", 0.0) / (stored.facts["steps"] - stored.facts["first_step"]))
    return sorted(paces)[len(paces) // 2] if paces else None
