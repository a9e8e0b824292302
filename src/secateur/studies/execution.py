"""Working through a run graph: what is finished is never repeated, what is equal is computed once."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any, Literal, Protocol

from secateur.studies.graph import Graph, Node
from secateur.studies.store import Store

Status = Literal["waiting", "running", "elsewhere", "done", "diverged", "failed", "blocked", "unneeded"]
Event = Mapping[str, Any]
Listener = Callable[[Event], None]

_LOOK_AGAIN = 0.5


class Executor(Protocol):
    """Something that computes nodes. `submit` starts a job, `poll` returns events of running ones: dicts with `event` (`progress`,
    `done`, `busy`, `failed`, `lost`) and `key`."""

    slots: int

    def submit(self, job: Mapping[str, Any]) -> None:
        """Start a job; called only while fewer than `slots` are running."""
        ...

    def poll(self, timeout: float) -> list[Event]:
        """What happened, waiting at most `timeout` seconds for something to happen."""
        ...

    def close(self) -> None:
        """End the workers."""
        ...


@dataclass
class Outcome:
    """How each node of a graph ended, and the errors of those that failed."""

    status: dict[str, Status]
    errors: dict[str, str] = field(default_factory=dict)

    @property
    def failed(self) -> bool:
        """Whether a node failed (a diverged one did not)."""
        return bool(self.errors)


def survey(graph: Graph, store: Store, leaves: Iterable[Node]) -> tuple[dict[str, Status], dict[str, frozenset[str]]]:
    """(status of each node, artefacts that are asked of it): from the leaves back, only what an unfinished child reads is needed."""
    asked: dict[str, set[str]] = {node.key: set() for node in graph.nodes}
    needed = {leaf.key for leaf in leaves}
    status: dict[str, Status] = {}
    for node in reversed(graph.nodes):
        if node.key not in needed:
            status[node.key] = "unneeded"
            continue
        found = state_of(store, node.key, asked[node.key])
        status[node.key] = found
        if found == "waiting":
            for parent in node.parents:
                needed.add(parent.node.key)
                asked[parent.node.key].add(parent.artefact)
    return status, {key: frozenset(names) for key, names in asked.items()}


def state_of(store: Store, key: str, asked: Iterable[str]) -> Status:
    """`done` or `diverged` when the node is in the store with what is asked of it, else `waiting`."""
    stored = store.get(key)
    if stored is None:
        return "waiting"
    if stored.facts.get("status") == "diverged":
        return "diverged"
    return "done" if set(asked) <= set(stored.artefacts) else "waiting"


def execute(
    graph: Graph, store: Store, leaves: Iterable[Node], executor: Executor, context: Mapping[str, Any], listen: Listener
) -> Outcome:
    """Compute what the leaves need. `context` goes into every job (store, data folder, plug-ins). A child of a diverged node is
    `diverged` itself; a child of a failed one is `blocked`; everything else goes on."""
    status, asked = survey(graph, store, leaves)
    outcome = Outcome(status)
    urgency = _urgency(graph)
    order = sorted(graph.nodes, key=lambda node: -urgency[node.key])
    running: dict[str, int] = {}
    lost: dict[str, int] = {}
    look_again = 0.0
    listen({"event": "survey", "status": dict(status)})
    while True:
        _settle(graph, status)
        for node in order:
            if len(running) >= executor.slots:
                break
            if status[node.key] == "waiting" and all(status[parent.node.key] == "done" for parent in node.parents):
                status[node.key] = "running"
                running[node.key] = 1
                executor.submit(_job(node, asked[node.key], context))
                listen({"event": "started", "key": node.key, "kind": node.kind})
        elsewhere = [key for key, now in status.items() if now == "elsewhere"]
        if not running and not elsewhere:
            return outcome
        for event in executor.poll(_LOOK_AGAIN):
            key = event["key"]
            if event["event"] == "progress":
                listen(event)
                continue
            running.pop(key, None)
            if event["event"] == "busy":
                status[key] = "elsewhere"
            elif event["event"] == "lost" and lost.setdefault(key, 0) < 1:
                lost[key] += 1
                status[key] = "waiting"
            elif event["event"] in ("failed", "lost"):
                status[key] = "failed"
                outcome.errors[key] = event.get("traceback") or event.get("error") or "its worker process died twice"
                store.put_failure(key, outcome.errors[key])
            else:
                status[key] = "diverged" if state_of(store, key, ()) == "diverged" else "done"
            listen({**event, "status": status[key]})
        if elsewhere and time.monotonic() > look_again:
            look_again = time.monotonic() + _LOOK_AGAIN
            for key in elsewhere:
                status[key] = state_of(store, key, asked[key])
                if status[key] == "waiting" and store.leased(key):
                    status[key] = "elsewhere"
                elif status[key] != "waiting":
                    listen({"event": "done", "key": key, "status": status[key]})


def _settle(graph: Graph, status: dict[str, Status]) -> None:
    """Nodes that can never run because of a parent."""
    for node in graph.nodes:
        if status[node.key] == "waiting":
            parents = {status[parent.node.key] for parent in node.parents}
            if parents & {"failed", "blocked"}:
                status[node.key] = "blocked"
            elif "diverged" in parents:
                status[node.key] = "diverged"


def _urgency(graph: Graph) -> dict[str, int]:
    """How many nodes hang on each in a chain: the longest chain is worked on first."""
    urgency = {node.key: 0 for node in graph.nodes}
    for node in reversed(graph.nodes):
        for parent in node.parents:
            urgency[parent.node.key] = max(urgency[parent.node.key], urgency[node.key] + 1)
    return urgency


def _job(node: Node, asked: frozenset[str], context: Mapping[str, Any]) -> dict[str, Any]:
    parents = {parent.role: [parent.node.key, parent.artefact] for parent in node.parents}
    return {"key": node.key, "kind": node.kind, "spec": node.spec, "parents": parents, "asked": sorted(asked), **context}
