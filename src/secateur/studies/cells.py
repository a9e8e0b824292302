"""What a study's plan consists of: cells, one row of the results each, and what else is measured of them."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from secateur.studies.graph import Node


@dataclass(frozen=True)
class Cell:
    """One row of the results: the trained network of an arm at a level, and its reading of the test split.

    `density` is the one aimed at; None where it comes out of training.
    """

    arm: str
    level: int
    replicate: int
    factors: Mapping[str, Any]
    data: str
    density: float | None
    train: Node
    evaluate: Node
    mask: Node | None


@dataclass(frozen=True)
class Measure:
    """A further question put to one cell, and the node that answers it."""

    analysis: str
    arm: str
    level: int
    replicate: int
    factors: Mapping[str, Any]
    node: Node
