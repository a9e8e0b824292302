"""Signs against magnitudes: what of a ticket's initial weights matters? Ablations of weights under a mask. Pure functions."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Literal, get_args

import torch
from torch import Tensor

from secateur.errors import UnknownName
from secateur.masks import Mask
from secateur.seeds import generator as generator_for

Tensors = Mapping[str, Tensor]
Ablation = Literal["signs", "constant", "magnitudes", "shuffled", "shuffled-magnitudes"]


def ablated(weights: Tensors, mask: Mask, ablation: Ablation, seed: int) -> dict[str, Tensor]:
    """`weights` with those that `mask` keeps changed, layer by layer; the others, and parameters outside of the mask, as they are.

    | ablation | a kept weight becomes |
    |---|---|
    | `signs` | its sign times the layer's root mean square over kept weights (Zhou et al. 2019: "signed constant") |
    | `constant` | that constant, without its sign |
    | `magnitudes` | its magnitude with a random sign |
    | `shuffled` | another kept weight of the layer: signs and magnitudes move together (Frankle & Carbin 2019) |
    | `shuffled-magnitudes` | its sign with the magnitude of another |
    """
    if ablation not in get_args(Ablation):
        raise UnknownName("ablation", str(ablation), get_args(Ablation))
    changed = {name: weight.detach().clone() for name, weight in weights.items()}
    for name in mask:
        kept = mask[name].to(changed[name].device)
        changed[name][kept] = _ABLATIONS[ablation](changed[name][kept], generator_for(seed, name))
    return changed


def with_signs_of(weights: Tensors, signs: Tensors, mask: Mask) -> dict[str, Tensor]:
    """`weights` (newly drawn ones) with the signs of `signs` (the initial ones) wherever `mask` keeps: "reinit, same sign"."""
    changed = {name: weight.detach().clone() for name, weight in weights.items()}
    for name in mask:
        kept = mask[name].to(changed[name].device)
        changed[name] = torch.where(kept, torch.copysign(changed[name], signs[name]), changed[name])
    return changed


def same_sign(first: Tensors, second: Tensors, mask: Mask) -> dict[str, float]:
    """For each parameter the fraction of kept weights whose sign is the same in both (NaN where none is kept)."""
    found = {}
    for name in mask:
        kept = mask[name]
        one, other = first[name].detach().cpu()[kept], second[name].detach().cpu()[kept]
        found[name] = float((torch.sign(one) == torch.sign(other)).double().mean())
    return found


def _constant(kept: Tensor) -> Tensor:
    return kept.square().mean().sqrt().expand_as(kept)


def _order(kept: Tensor, draw: torch.Generator) -> Tensor:
    return torch.randperm(len(kept), generator=draw).to(kept.device)


def _random_signs(kept: Tensor, draw: torch.Generator) -> Tensor:
    return kept.abs() * (torch.randint(2, (len(kept),), generator=draw) * 2 - 1).to(kept)


_ABLATIONS: dict[Ablation, Callable[[Tensor, torch.Generator], Tensor]] = {
    "signs": lambda kept, draw: torch.copysign(_constant(kept), kept),
    "constant": lambda kept, draw: _constant(kept),
    "magnitudes": _random_signs,
    "shuffled": lambda kept, draw: kept[_order(kept, draw)],
    "shuffled-magnitudes": lambda kept, draw: torch.copysign(kept[_order(kept, draw)], kept),
}
