"""The networks that a study's tables describe: built once each, to check what is said of them and to size them."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

from torch import nn

from secateur.canonical import canonical_json
from secateur.data.dataset import DataShape
from secateur.linear_maps import prunable_mask
from secateur.registry import models
from secateur.seeds import generator
from secateur.studies.options import bind


def build_network(table: Mapping[str, Any], shape: DataShape, seed: int) -> nn.Module:
    """The network of a checked `model` table for data of `shape`, its weights drawn from `seed`."""
    entry = models.entry(str(table["name"]))
    options = {name: value for name, value in table.items() if name not in ("name", "source")}
    network: nn.Module = entry.make(shape, generator(seed), **bind(entry, options, f"model {table['name']}"))
    return network


class Networks:
    """What planning asks of networks, each built once and let go."""

    def __init__(self) -> None:
        self._weights: dict[str, int] = {}
        self._checked: set[str] = set()

    def weights(self, table: Mapping[str, Any], shape: DataShape, digest: str) -> int:
        """Number of parameters."""
        key = canonical_json([table, digest])
        if key not in self._weights:
            self._weights[key] = sum(parameter.numel() for parameter in build_network(table, shape, 0).parameters())
        return self._weights[key]

    def check_selectors(
        self, table: Mapping[str, Any], shape: DataShape, digest: str, prunable: Iterable[str], rates: Iterable[str]
    ) -> None:
        """`InputError` when a selector of `prunable` or `rates` fits no parameter of the network."""
        key = canonical_json([table, digest, list(prunable), list(rates)])
        if key in self._checked:
            return
        network = build_network(table, shape, 0)
        prunable_mask(network, prunable)
        for selector in rates:
            prunable_mask(network, [selector])
        self._weights[canonical_json([table, digest])] = sum(parameter.numel() for parameter in network.parameters())
        self._checked.add(key)
