"""The library's door to pruning: `score` a network, `prune` it in one shot."""

from __future__ import annotations

from collections.abc import Iterable, Mapping

from torch import nn

from secateur.errors import PruningError
from secateur.linear_maps import DEFAULT_PRUNABLE, parameter_kinds, prunable_mask
from secateur.masks import Mask
from secateur.pruning.combinations import check
from secateur.pruning.drawing import draw_mask
from secateur.pruning.keeping import Named, checked_options, named
from secateur.pruning.scores import Batches, Loss, Scores
from secateur.registry import scores
from secateur.seeds import generator


def score(
    model: nn.Module,
    score: Named = "magnitude",
    *,
    batches: Batches | None = None,
    loss: Loss | None = None,
    prunable: Iterable[str] = DEFAULT_PRUNABLE,
    mask: Mask | None = None,
    seed: int = 0,
) -> Scores:
    """One number for each prunable weight: name -> tensor of the parameter's shape; higher is kept. The model stays as it is.

    `score`: a registered name, or a table of name and options. `batches`: any iterable of (inputs, targets); `loss(outputs, targets)` a
    scalar; both where the score needs them. `mask`: what is kept now, all of `prunable` unless given. `PruningError` for what is lacking.

    Example: `score(model, "grasp", batches=batches, loss=torch.nn.functional.cross_entropy)`.
    """
    name, options = named(score)
    mask = prunable_mask(model, prunable) if mask is None else mask
    check(score=name, kinds=kinds_of(model, mask))
    make = scores[name]
    values: Scores = make(model, mask, batches, loss, generator(seed), **checked_options(scores, name, options))
    return values


def prune(
    model: nn.Module,
    density: float | None = None,
    *,
    score: Named = "magnitude",
    scope: Named | None = None,
    unit: Named = "weight",
    batches: Batches | None = None,
    loss: Loss | None = None,
    prunable: Iterable[str] = DEFAULT_PRUNABLE,
    mask: Mask | None = None,
    rates: Mapping[str, float] | None = None,
    floor: int = 0,
    rounds: int = 1,
    seed: int = 0,
) -> Mask:
    """The mask that keeps the fraction `density` of the prunable weights, those of highest score. The model stays as it is.

    `scope` (global unless given), `unit`, `rates` and `floor` are as for `keep`; `prunable` as for `prunable_mask`; `mask` is what is kept
    now (all of `prunable` unless given). In `rounds` > 1 the network is scored again after each, at exponentially spaced densities. Unit nm
    needs no density. `PruningError` for what cannot be combined, with the reason.

    Example: `apply(prune(model, 0.1, score="snip", batches=batches, loss=loss), model)`.
    """
    mask = prunable_mask(model, prunable) if mask is None else mask
    if density is not None and not 0 <= density <= 1:
        raise PruningError(f"density {density} lies outside of [0, 1]")
    return draw_mask(
        model, mask, density, score=score, scope=scope, unit=unit, rates=rates, floor=floor, rounds=rounds,
        batches=batches, loss=loss, generator=generator(seed),
    )  # fmt: skip


def kinds_of(model: nn.Module, mask: Mask) -> frozenset[str]:
    """The kinds of the parameters that a mask covers."""
    kinds = parameter_kinds(model)
    return frozenset(kinds[name] for name in mask if name in kinds)
