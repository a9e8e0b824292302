"""`draw_mask`: score, then keep, in as many rounds as asked."""

from __future__ import annotations

from collections.abc import Mapping

import torch
from torch import nn

from secateur.linear_maps import linear_maps
from secateur.masks import Mask, apply
from secateur.pruning.keeping import Named, keep
from secateur.pruning.schedules import exponential_densities
from secateur.pruning.scores import Batches, Loss
from secateur.registry import scores


def draw_mask(
    model: nn.Module,
    mask: Mask,
    density: float,
    *,
    score: Named = "magnitude",
    scope: Named = "global",
    unit: Named = "weight",
    rates: Mapping[str, float] | None = None,
    floor: int = 0,
    rounds: int = 1,
    batches: Batches | None = None,
    loss: Loss | None = None,
    generator: torch.Generator,
) -> Mask:
    """The mask that keeps the best of what `mask` keeps, at `density`, in `rounds` rounds at exponentially spaced densities.

    Between rounds the pruned weights of `model` are zero, and afterwards they are as they were.
    """
    table = {"name": score} if isinstance(score, str) else dict(score)
    make = scores[str(table.pop("name"))]
    maps = linear_maps(model)
    before = {name: parameter.detach().clone() for name, parameter in model.named_parameters() if name in mask}
    try:
        for target in exponential_densities(mask.density, density, rounds):
            apply(mask, model)
            values = make(model, mask, batches, loss, generator, **table)
            mask = keep(values, mask, target, scope=scope, unit=unit, rates=rates, floor=floor, maps=maps)
    finally:
        with torch.no_grad():
            for name, parameter in model.named_parameters():
                if name in before:
                    parameter.copy_(before[name])
    return mask
