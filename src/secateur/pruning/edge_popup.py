"""Edge-popup (Ramanujan et al. 2020): learn which weights of an untrained network to keep; the weights themselves never change."""

from __future__ import annotations

import math
from collections.abc import Iterator
from typing import Any

import torch
from torch import Tensor, nn

from secateur import _kernels
from secateur.errors import PruningError
from secateur.masks import Mask, Pattern, zero_where
from secateur.pruning.arithmetic import popup_step_
from secateur.pruning.choosing import highest
from secateur.pruning.gradients import device_of, evaluated, gradients_of, placed
from secateur.pruning.pools import as_array, rounded
from secateur.pruning.scores import Batches, Loss, Scores
from secateur.registry import scores
from secateur.seeds import generator as generator_for


@scores.register("edge-popup", needs_batches=True, needs_loss=True, signed=False)
def edge_popup(
    model: nn.Module,
    mask: Mask,
    batches: Batches | None,
    loss: Loss | None,
    generator: torch.Generator,
    *,
    density: float = 0.5,
    steps: int = 1000,
    lr: float = 0.1,
    momentum: float = 0.9,
    weight_decay: float = 1e-4,
) -> Scores:
    """Learned |score|: each layer uses its best `density` of weights, and scores descend the loss by straight-through gradients.

    SGD with a cosine schedule over `steps` batches, which are walked through again and again. `density` is of each layer, and the one to
    keep at, with scope layer. Scores start uniform in +-1 / sqrt(fan-in), as in the authors' code. Eval mode: no dropout.
    """
    if batches is None or loss is None:
        raise PruningError("score 'edge-popup' needs batches and a loss")
    if not 0 < density <= 1:
        raise PruningError(f"score 'edge-popup': density {density} lies outside of (0, 1]")
    seed = int(torch.randint(2**62, (), generator=generator))
    device = device_of(model)
    with evaluated(model, mask) as parameters:
        popup = {name: _start(parameter, generator_for(seed, name)) for name, parameter in parameters.items()}
        counts = {name: rounded(density * mask.pattern(name).prunable) for name in mask}
        used: dict[str, Tensor] = {}
        buffers = {name: torch.empty_like(its) for name, its in popup.items()}
        walk = _again_and_again(batches)
        for step in range(steps):
            inputs, targets = next(walk)
            rate = lr / 2 * (1 + math.cos(math.pi * step / steps))
            used = {name: chosen(its, mask.pattern(name), counts[name], parameters[name], used.get(name)) for name, its in popup.items()}
            inputs = placed(inputs, device)
            outputs = torch.func.functional_call(model, used, inputs if isinstance(inputs, tuple) else (inputs,))
            value = loss(outputs, placed(targets, device))
            for (name, score), slope in zip(popup.items(), gradients_of(value, list(used.values())), strict=True):
                popup_step_(
                    score, buffers[name], slope, parameters[name], rate=rate, momentum=momentum, decay=weight_decay, first=step == 0
                )
    return {name: score.abs_() for name, score in popup.items()}


@torch.no_grad()
def chosen(score: Tensor, prunable: Pattern, count: int, weight: Tensor, into: Tensor | None = None) -> Tensor:
    """`weight` at the `count` prunable places of largest |score|, zero elsewhere, in `into` if given; its gradient is asked for."""
    bits = highest(as_array(score), prunable.bits(), count, magnitude=True)
    used = torch.empty_like(weight, memory_format=torch.contiguous_format) if into is None else into
    if weight.device.type == "cpu" and weight.is_contiguous() and weight.dtype in (torch.float32, torch.float64):
        _kernels.copy_where(bits, weight.detach().view(-1).numpy(), used.detach().view(-1).numpy())
    else:
        zero_where(used.copy_(weight), prunable.with_bits(bits).complement())
    return used.requires_grad_(True)


def _start(parameter: Tensor, draw: torch.Generator) -> Tensor:
    fan_in = max(1, parameter[0].numel() if parameter.dim() > 1 else 1)
    bound = 1 / math.sqrt(fan_in)
    start = torch.empty(parameter.shape)
    for part in torch.split(start.view(-1), 1 << 16):  # so many stay near from operation to operation
        part.uniform_(generator=draw).mul_(2).sub_(1).mul_(bound)
    return start.to(parameter.device, parameter.dtype)


def _again_and_again(batches: Batches) -> Iterator[tuple[Any, Tensor]]:
    batches = list(batches) if iter(batches) is batches else batches
    while True:
        empty = True
        for batch in batches:
            empty = False
            yield batch
        if empty:
            raise PruningError("score 'edge-popup' needs at least one batch; there is none")
