"""Survivors that move: dynamic sparsity on layers that are never dense."""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
from torch import nn

from secateur.errors import PruningError
from secateur.masks import Mask, Pattern, random_pattern
from secateur.sparse.compression import mask_of, sparse_weights
from secateur.sparse.weight import SparseWeight


def evolve(model: nn.Module, optimizer: torch.optim.Optimizer | None = None, *, drop: float, seed: int) -> Mask:
    """One renewal of SET (Mocanu et al. 2018) on a model's sparse layers; returns the new mask.

    Each weight drops the fraction `drop` of its survivors, smallest |w| first (of equals the last), and grows as many at places drawn from
    (`seed`, its name) among those that are not kept; give each renewal a seed of its own. What grows starts at zero with zero
    optimiser state, and what is dropped and grown again stays as it was. Time and memory follow the survivors, however large
    the weight is. `PruningError` for a fraction outside of [0, 1].
    """
    if not 0 <= drop <= 1:
        raise PruningError(f"a drop fraction of {drop} lies outside of [0, 1]")
    for name, weight in sparse_weights(model).items():
        pattern, shape, rows = weight.pattern, weight.shape, weight.excluded_rows
        dropped = int(drop * pattern.kept + 0.5)
        magnitudes: np.ndarray[Any, Any] = weight.values.detach().abs().cpu().numpy()
        stays = np.argsort(-magnitudes, kind="stable")[: pattern.kept - dropped]
        kept = Pattern.from_indices(shape, np.sort(pattern.indices()[stays]), rows)
        grown = random_pattern(shape, dropped, seed, name, rows, without=kept)
        move_survivors(weight, Pattern.from_indices(shape, np.union1d(kept.indices(), grown.indices()), rows), optimizer)
    return mask_of(model)


def move_survivors(
    weight: SparseWeight, pattern: Pattern, optimizer: torch.optim.Optimizer | None = None, grown: torch.Tensor | None = None
) -> None:
    """Drop and grow in place: survivors that stay keep value and optimiser state, new ones start at zero with zero state.

    `grown` (a dense tensor of the weight's shape) gives new survivors other values. Each tensor of the optimiser's state that is
    shaped like the survivors moves with them.
    """
    old, new = weight.pattern.indices(), pattern.indices()
    found = torch.from_numpy(old.searchsorted(new))
    stays = torch.zeros(len(new), dtype=torch.bool)
    inside = found < len(old)
    stays[inside] = torch.tensor(old)[found[inside]] == torch.tensor(new)[inside]
    source = found[stays]

    def moved(vector: torch.Tensor, fill: torch.Tensor | None = None) -> torch.Tensor:
        result = vector.new_zeros(len(new)) if fill is None else fill.to(vector).clone()
        result[stays.to(vector.device)] = vector[source.to(vector.device)]
        return result

    survivors = weight.values.shape
    state: dict[str, Any] = optimizer.state.get(weight.values, {}) if optimizer is not None else {}
    for key, value in state.items():
        if isinstance(value, torch.Tensor) and value.shape == survivors and value.dim() == 1:
            state[key] = moved(value)
    fill = None if grown is None else grown.detach().reshape(-1)[torch.tensor(new).to(grown.device)]
    gradient = weight.values.grad
    values = moved(weight.values.detach(), fill)
    weight.move(pattern, values)
    weight.values.grad = None if gradient is None else moved(gradient)
