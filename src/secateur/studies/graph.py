"""The run graph: immutable steps that are known by a hash of all that decides their bits."""

from __future__ import annotations

import hashlib
import importlib
import importlib.metadata
import inspect
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from functools import cache, cached_property
from typing import Any

from secateur.canonical import digest
from secateur.registry import node_kinds


@dataclass(frozen=True)
class Parent:
    """What a node reads of another: the artefact's name (`state/500`, `state/end`, `mask`) and the role it plays."""

    role: str
    node: Node
    artefact: str


@dataclass(frozen=True, eq=False)
class Node:
    """One step: (kind, specification, parents). The specification is JSON-able and holds every default written out.

    No arm's name is in it: what is equal is computed once, across arms and studies.
    """

    kind: str
    spec: Mapping[str, Any]
    parents: tuple[Parent, ...] = ()

    @cached_property
    def key(self) -> str:
        """sha256 over kind, version of the kind's code, specification, and the parents' keys with the artefacts read from them."""
        entry = node_kinds.entry(self.kind)
        return digest(
            {
                "kind": self.kind,
                "version": entry.traits["version"],
                "spec": self.spec,
                "parents": sorted([parent.role, parent.node.key, parent.artefact] for parent in self.parents),
            }
        )

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Node) and self.key == other.key

    def __hash__(self) -> int:
        return hash(self.key)


@dataclass(frozen=True)
class Graph:
    """Nodes in an order in which each comes after its parents, and the states that children ask of each."""

    nodes: tuple[Node, ...]
    asked: Mapping[str, frozenset[str]] = field(default_factory=dict)

    @classmethod
    def of(cls, leaves: Iterable[Node]) -> Graph:
        """The graph of the leaves and all that they come from, in the order the leaves are given."""
        ordered: dict[str, Node] = {}
        asked: dict[str, set[str]] = {}

        def add(node: Node) -> None:
            if node.key in ordered:
                return
            for parent in node.parents:
                add(parent.node)
                asked.setdefault(parent.node.key, set()).add(parent.artefact)
            ordered[node.key] = node

        for leaf in leaves:
            add(leaf)
        return cls(tuple(ordered.values()), {key: frozenset(names) for key, names in asked.items()})

    @cached_property
    def by_key(self) -> dict[str, Node]:
        """Key -> node."""
        return {node.key: node for node in self.nodes}


@cache
def source_digest(module: str) -> str | None:
    """For a component that does not come with Secateur: the sha256 of its module's source and its distribution's version.

    They belong to a node's key, since they decide its bits. None for Secateur's own, whose kinds have versions.
    """
    package = module.partition(".")[0]
    if package == "secateur":
        return None
    source = inspect.getsource(importlib.import_module(module))
    try:
        version = importlib.metadata.version(package)
    except importlib.metadata.PackageNotFoundError:
        version = ""
    return hashlib.sha256(f"{version}\n{source}".encode()).hexdigest()
