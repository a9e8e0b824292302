"""`draw_mask`: score, then keep, in as many rounds as asked."""

from __future__ import annotations

from collections.abc import Mapping

import torch
from torch import nn

from secateur.errors import PruningError
from secateur.linear_maps import linear_maps, parameter_kinds
from secateur.masks import Mask, apply, parameters_of
from secateur.pruning.combinations import check
from secateur.pruning.keeping import Named, checked_options, keep, named
from secateur.pruning.schedules import exponential_densities
from secateur.pruning.scores import Batches, Loss
from secateur.registry import scores


def draw_mask(
    model: nn.Module,
    mask: Mask,
    density: float | None,
    *,
    score: Named = "magnitude",
    scope: Named | None = None,
    unit: Named = "weight",
    rates: Mapping[str, float] | None = None,
    floor: int = 0,
    rounds: int = 1,
    batches: Batches | None = None,
    loss: Loss | None = None,
    generator: torch.Generator,
    applied: bool = False,
) -> Mask:
    """The mask that keeps the best of what `mask` keeps, at `density`, in `rounds` rounds at exponentially spaced densities.

    While scoring, the pruned weights of `model` are zero; afterwards they are as they were. `applied` says that what `mask` prunes is zero
    already. `PruningError` for what cannot be combined.
    """
    name, options = named(score)
    unit_name, scope_name = named(unit)[0], None if scope is None else named(scope)[0]
    kinds = parameter_kinds(model)
    check(
        score=name, scope=scope_name, unit=unit_name, kinds={kinds[its] for its in mask if its in kinds}, rates=bool(rates), rounds=rounds
    )
    make, options = scores[name], dict(checked_options(scores, name, options))
    maps = linear_maps(model)
    if density is None and rounds > 1:
        raise PruningError("several rounds need a density to reach")
    if batches is not None and iter(batches) is batches:
        batches = list(batches)
    targets = [density] if density is None else exponential_densities(mask.density, density, rounds)
    parameters = {
        its: parameter
        for its, parameter in parameters_of(model, mask).items()
        if rounds > 1 or (not applied and mask.pattern(its).kept < mask.pattern(its).prunable)
    }
    before = {its: parameter.detach().clone() for its, parameter in parameters.items()}
    try:
        for target in targets:
            if parameters:
                apply(mask, model)
            values = make(model, mask, batches, loss, generator, **options)
            mask = keep(values, mask, target, scope=scope, unit=unit, rates=rates, floor=floor, maps=maps)
    finally:
        with torch.no_grad():
            for its, parameter in parameters.items():
                parameter.copy_(before[its])
    return mask
