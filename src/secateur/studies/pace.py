"""How long a training step takes on one core, from what the network multiplies: an estimate for what was never run.

A step's time is a sum of parts, each with a measured price: multiply-adds, numbers that layers put out, steps of recurrent layers one after
the other, attention's small operations, and weights that the optimiser touches. The prices below were fitted to 37 pairs of network and
data of the shipped recipes, one thread on a machine with AVX-512, torch 2.13: dense and sparse, almost all within a factor of 1.6.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from math import prod
from typing import Any

from torch import nn

from secateur.accounting import cost
from secateur.data.dataset import Split
from secateur.linear_maps import linear_maps, prunable_mask
from secateur.sparse import Crossovers, shipped_crossovers

STEP = 4e-4
"""Seconds of any step: the loop, the loss, the optimiser's call."""
MULTIPLY_ADD = 2.4e-11
"""Seconds of a forward multiply-add with the two of its backward pass."""
OUTPUT: Mapping[str, float] = {"linear": 1e-9, "conv": 1.15e-8, "recurrent": 8e-9, "attention": 2e-8, "embedding": 0.0}
"""Seconds of a number that a layer of this kind puts out: activations, pooling, gates."""
RECURRENT_STEP = 8.5e-6
"""Seconds of a step in time of one matrix of a recurrent layer, beyond its multiply-adds."""
ATTENTION = 1.9e-3
"""Seconds of a matrix of an attention, beyond its multiply-adds: heads, softmax, dropout, and the normalisation around it."""
WEIGHT = 1.9e-9
"""Seconds of a weight in the optimiser's step."""
MASKED_WEIGHT = 1e-9
"""Seconds of a weight that a mask is laid on, where its layer runs dense."""
CLIPPED_WEIGHT = 8e-9
"""Seconds of a weight whose gradient's norm is clipped."""
FORWARD = 0.3
"""The part of a step that is its forward pass."""
LEAST = 0.15
"""What is left at least of a layer's multiply-adds in time, however few weights a sparse layer has."""

_BATCHES = 6
_ROWS = 8


@dataclass(frozen=True)
class LayerWork:
    """The linear maps of one layer in a training step: weights, seconds that shrink with the survivors, other seconds, and those (`fixed`)
    that a step takes whatever its batch.

    Below the density `crossover` they run sparse (0: never); `pruned` says whether masks cover them.
    """

    weights: int
    shrinking: float
    other: float
    fixed: float
    crossover: float
    pruned: bool

    def sparse(self, density: float, execution: str) -> bool:
        """Whether they run sparse."""
        return self.pruned and density < 1 and execution != "dense" and (density < self.crossover or execution == "sparse")

    def seconds(self, density: float, execution: str) -> float:
        """Seconds of a step. At its crossover a sparse layer takes as long as the dense one, below it less in proportion."""
        if not self.sparse(density, execution):
            return self.shrinking + self.other + self.fixed
        return self.shrinking * max(LEAST, density / max(self.crossover, density)) + self.other + self.fixed


@dataclass(frozen=True)
class StepWork:
    """What one training step of a network on a data set consists of. `products` are seconds that no mask touches."""

    layers: tuple[LayerWork, ...]
    products: float
    weights: int
    batch: int
    clipped: bool

    def seconds(self, density: float = 1.0, execution: str = "dense") -> float:
        """Seconds of a step on one core; with a mask of `density`, its layers executed as `execution` says."""
        touched, masked = float(self.weights), 0
        for layer in self.layers:
            if layer.sparse(density, execution):
                touched -= (1 - density) * layer.weights
            elif layer.pruned and density < 1:
                masked += layer.weights
        price = WEIGHT + CLIPPED_WEIGHT if self.clipped else WEIGHT
        work = sum(layer.seconds(density, execution) for layer in self.layers)
        return STEP + touched * price + masked * MASKED_WEIGHT + self.products + work

    def reading(self, steps: int, batch: int) -> float:
        """Seconds of forward passes over so many batches of `batch` examples."""
        each = self.products + sum(layer.shrinking + layer.other for layer in self.layers)
        return FORWARD * steps * (STEP + sum(layer.fixed for layer in self.layers) + batch * each / self.batch)


def step_work(
    model: nn.Module, split: Split, settings: Mapping[str, Any], prunable: Sequence[str] = (), crossovers: Crossovers | None = None
) -> StepWork:
    """The work of a training step of `model` on batches of `split`, the mean over a few batches spread over an epoch.

    `settings` is a checked `train` table, `prunable` the selectors of what masks cover. The model is called on some rows of each
    batch; nothing is trained.
    """
    table, batch = crossovers or shipped_crossovers(), int(settings["batch"])
    uses, products = _uses(model, split, batch)
    pruned = set(prunable_mask(model, prunable)) if prunable else set()
    layers: dict[str, LayerWork] = {}
    for entry in linear_maps(model):
        count, size = uses.get(entry.parameter, 0.0), prod(entry.shape)
        shrinking = 0.0 if entry.kind == "embedding" else count * size * MULTIPLY_ADD
        other = count * entry.shape[0] * OUTPUT[entry.kind]
        fixed = {"recurrent": RECURRENT_STEP * count / batch, "attention": ATTENTION}.get(entry.kind, 0.0)
        if entry.kind == "recurrent":  # the gates of the sparse layer are in one kernel with its product
            shrinking, other = shrinking + other, 0.0
        crossover = table.density(entry.kind, entry.shape[0], prod(entry.shape[1:]), batch) if entry.sparse else 0.0
        own = LayerWork(size, shrinking, other, fixed, crossover, entry.parameter in pruned)
        known = layers.get(entry.module)
        layers[entry.module] = own if known is None else _together(known, own)
    weights = sum(parameter.numel() for parameter in model.parameters())
    return StepWork(tuple(layers.values()), products * MULTIPLY_ADD, weights, batch, settings.get("clip") is not None)


def _together(first: LayerWork, second: LayerWork) -> LayerWork:
    """Two maps of one layer: they run sparse together or not at all."""
    return LayerWork(
        first.weights + second.weights,
        first.shrinking + second.shrinking,
        first.other + second.other,
        first.fixed + second.fixed,
        min(first.crossover, second.crossover),
        first.pruned or second.pruned,
    )


def _uses(model: nn.Module, split: Split, batch: int) -> tuple[dict[str, float], float]:
    """(parameter -> how often each weight is multiplied in a step, multiply-adds between activations): means over some batches."""
    steps = split.steps(batch)
    numbers = sorted({(2 * part + 1) * steps // (2 * _BATCHES) for part in range(_BATCHES)})
    seen: dict[tuple[Any, ...], tuple[dict[str, float], float]] = {}
    uses: dict[str, float] = {}
    products = 0.0
    for number in numbers:
        inputs, _ = next(iter(split.epoch(batch, 0, 0, number)))
        parts = inputs if isinstance(inputs, tuple) else (inputs,)
        rows, some = len(parts[0]), tuple(part[:_ROWS] for part in parts)
        shape = tuple(tuple(part.shape) for part in some)
        if shape not in seen:
            found, taken = cost(model, some), len(some[0])
            seen[shape] = {layer.parameter: layer.uses / taken for layer in found.layers}, found.products / taken
        own, own_products = seen[shape]
        products += own_products * rows / len(numbers)
        for name, count in own.items():
            uses[name] = uses.get(name, 0.0) + count * rows / len(numbers)
    return uses, products
