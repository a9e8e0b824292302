"""The networks that a study's tables describe: built once each, to check what is said of them and to size them."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from math import prod
from typing import Any

from torch import nn

from secateur.accounting import cost
from secateur.canonical import canonical_json
from secateur.data.dataset import Dataset, DataShape
from secateur.linear_maps import linear_maps, prunable_mask
from secateur.registry import models
from secateur.seeds import generator
from secateur.studies.options import bind


def build_network(table: Mapping[str, Any], shape: DataShape, seed: int) -> nn.Module:
    """The network of a checked `model` table for data of `shape`, its weights drawn from `seed`."""
    entry = models.entry(str(table["name"]))
    options = {name: value for name, value in table.items() if name not in ("name", "source")}
    network: nn.Module = entry.make(shape, generator(seed), **bind(entry, options, f"model {table['name']}"))
    return network


_COST_EXAMPLES = 4


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

    def maps(self, table: Mapping[str, Any], dataset: Dataset) -> list[dict[str, Any]]:
        """The network's linear maps as plain data: parameter, kind, blocks of outputs (gates; q, k, v), heads, and `uses`, how often each
        of its weights is multiplied for an example (the mean over the first of the validation split)."""
        network = build_network(table, dataset.shape, 0)
        inputs, targets = next(iter(dataset.splits["valid"].in_order(_COST_EXAMPLES)))
        uses = {layer.parameter: layer.uses / len(targets) for layer in cost(network, inputs).layers}
        return [
            {
                "parameter": entry.parameter,
                "kind": entry.kind,
                "weights": prod(entry.shape),
                "blocks": [{"name": block.name, "start": block.start, "stop": block.stop} for block in entry.blocks],
                "heads": entry.heads,
                "uses": uses[entry.parameter],
            }
            for entry in linear_maps(network)
        ]
