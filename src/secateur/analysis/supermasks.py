"""Supermasks (Zhou et al. 2019): masks that make an untrained network good.

Criteria rank weights by where they began and where they ended; actions say what becomes of weights inside and outside of the mask. Pure
functions. A learned criterion is the score `edge-popup`.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Literal, get_args

import torch
from torch import Tensor

from secateur.errors import UnknownName
from secateur.masks import Mask

Tensors = Mapping[str, Tensor]
Criterion = Literal[
    "large_final", "small_final", "large_init", "small_init", "large_init_large_final", "small_init_small_final", "magnitude_increase",
    "movement", "large_final_same_sign", "large_final_diff_sign", "magnitude_increase_same_sign", "magnitude_increase_diff_sign",
]  # fmt: skip
Mask1Action = Literal["rewind", "signed-constant", "final"]
Mask0Action = Literal["zero", "init", "zero-if-shrunk"]


def criterion(name: Criterion, initial: Tensors, final: Tensors, mask: Mask) -> dict[str, Tensor]:
    """Scores for `keep`, from weights before and after training; higher is kept. Zhou et al., figure 3, with i = initial and f = final:

    | criterion | score |
    |---|---|
    | `large_final`, `small_final`, `large_init`, `small_init` | abs f, -abs f, abs i, -abs i |
    | `large_init_large_final` | min(a * abs f, abs i), where a makes the means of both equal over the layer |
    | `small_init_small_final` | -max(a * abs f, abs i) |
    | `magnitude_increase` | abs f - abs i |
    | `movement` | abs(f - i) |
    | `large_final_same_sign`, `…_diff_sign` | abs f where the signs agree (differ), below all others elsewhere |
    | `magnitude_increase_same_sign`, `…_diff_sign` | likewise for abs f - abs i |
    """
    if name not in get_args(Criterion):
        raise UnknownName("mask criterion", str(name), get_args(Criterion))
    return {parameter: _CRITERIA[name](initial[parameter].detach(), final[parameter].detach()) for parameter in mask}


def mask_1_action(name: Mask1Action, initial: Tensors, final: Tensors, mask: Mask) -> dict[str, Tensor]:
    """What kept weights become: their initial values, the sign of those times the layer's initial deviation, or their final values.

    Other parameters and weights outside of the mask have initial values.
    """
    if name not in get_args(Mask1Action):
        raise UnknownName("mask-1 action", str(name), get_args(Mask1Action))
    weights = {parameter: weight.detach().clone() for parameter, weight in initial.items()}
    for parameter in mask:
        kept, weight = mask[parameter].to(weights[parameter].device), weights[parameter]
        if name == "signed-constant":
            weights[parameter] = torch.where(kept, torch.copysign(weight.std(correction=0).expand_as(weight), weight), weight)
        elif name == "final":
            weights[parameter] = torch.where(kept, final[parameter].detach(), weight)
    return weights


def mask_0_action(name: Mask0Action, weights: Tensors, initial: Tensors, final: Tensors, mask: Mask) -> dict[str, Tensor]:
    """What weights outside of the mask become in `weights`: zero, their initial values, or zero only if training shrank them, else initial.

    A freeze at other values than zero is not pruning: such a network is evaluated or trained without the mask.
    """
    if name not in get_args(Mask0Action):
        raise UnknownName("mask-0 action", str(name), get_args(Mask0Action))
    changed = {parameter: weight.detach().clone() for parameter, weight in weights.items()}
    for parameter in mask:
        start, end = initial[parameter].detach(), final[parameter].detach()
        outside = {"zero": torch.zeros_like(start), "init": start, "zero-if-shrunk": torch.where(end.abs() < start.abs(), 0.0, start)}[name]
        changed[parameter] = torch.where(mask[parameter].to(start.device), changed[parameter], outside)
    return changed


def _aligned(initial: Tensor, final: Tensor) -> Tensor:
    """abs(final) scaled to the mean of abs(initial)."""
    mean = final.abs().mean()
    return final.abs() * (initial.abs().mean() / mean) if mean > 0 else final.abs()


def _where(chosen: Tensor, scores: Tensor) -> Tensor:
    """`scores` where chosen; elsewhere the same order, below all of them."""
    spread = scores.max() - scores.min() + 1 if scores.numel() else 0
    return torch.where(chosen, scores, scores - spread)


def _agree(initial: Tensor, final: Tensor) -> Tensor:
    return torch.sign(initial) == torch.sign(final)


_CRITERIA: dict[str, Callable[[Tensor, Tensor], Tensor]] = {
    "large_final": lambda i, f: f.abs(),
    "small_final": lambda i, f: -f.abs(),
    "large_init": lambda i, f: i.abs(),
    "small_init": lambda i, f: -i.abs(),
    "large_init_large_final": lambda i, f: torch.minimum(_aligned(i, f), i.abs()),
    "small_init_small_final": lambda i, f: -torch.maximum(_aligned(i, f), i.abs()),
    "magnitude_increase": lambda i, f: f.abs() - i.abs(),
    "movement": lambda i, f: (f - i).abs(),
    "large_final_same_sign": lambda i, f: _where(_agree(i, f), f.abs()),
    "large_final_diff_sign": lambda i, f: _where(~_agree(i, f), f.abs()),
    "magnitude_increase_same_sign": lambda i, f: _where(_agree(i, f), f.abs() - i.abs()),
    "magnitude_increase_diff_sign": lambda i, f: _where(~_agree(i, f), f.abs() - i.abs()),
}
