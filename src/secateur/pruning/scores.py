"""Scores that read the weights alone. A score is one number a weight: higher is kept.

Traits: `needs_batches`, `needs_loss`; `signed` (may be negative: no squares or averages of magnitudes); `in_loop` (grows while training);
`version` of its code, raised when its results change: it belongs to the keys of nodes that use it. None: the first.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Any, Literal

import torch
from torch import Tensor, nn

from secateur.linear_maps import linear_maps
from secateur.masks import Mask, parameters_of
from secateur.registry import scores
from secateur.seeds import generator as generator_for

Batches = Iterable[tuple[Any, Tensor]]
Loss = Callable[[Any, Tensor], Tensor]
Scores = dict[str, Tensor]


@scores.register("magnitude", needs_batches=False, needs_loss=False, signed=False)
def magnitude(model: nn.Module, mask: Mask, batches: Batches | None, loss: Loss | None, generator: torch.Generator | None) -> Scores:
    """|w|. Under scope global it compares weights of different fan-in, and can empty a layer, depending on the initialiser."""
    return {name: parameter.detach().abs() for name, parameter in parameters_of(model, mask).items()}


@scores.register("normalised-magnitude", needs_batches=False, needs_loss=False, signed=False)
def normalised_magnitude(
    model: nn.Module,
    mask: Mask,
    batches: Batches | None,
    loss: Loss | None,
    generator: torch.Generator | None,
    *,
    by: Literal["rms", "norm", "max", "fan-in"] = "rms",
) -> Scores:
    """|w| made comparable between layers: divided by the layer's root mean square, 2-norm or maximum, or times sqrt(fan-in).

    Over the kept weights of the layer. `norm` favours small layers; `fan-in` undoes initialisers whose variance is 1 / fan-in. A parameter
    that is no linear map has a fan-in of 1.
    """
    fans = {entry.parameter: entry.fan_in for entry in linear_maps(model)}
    values = {}
    for name, parameter in parameters_of(model, mask).items():
        weights = parameter.detach().abs().double()
        kept = weights[mask[name].to(weights.device)]
        if by == "fan-in":
            values[name] = weights * fans.get(name, 1) ** 0.5
        else:
            scale = {"rms": kept.square().mean().sqrt(), "norm": kept.norm(), "max": kept.max() if len(kept) else kept.sum()}[by]
            values[name] = weights / scale if scale > 0 else weights
    return values


@scores.register("random", needs_batches=False, needs_loss=False, signed=False)
def random(model: nn.Module, mask: Mask, batches: Batches | None, loss: Loss | None, generator: torch.Generator) -> Scores:
    """Uniform in [0, 1), drawn for each parameter by its name: independent of the other parameters and of their order."""
    seed = int(torch.randint(2**62, (), generator=generator))
    return {
        name: torch.rand(parameter.shape, generator=generator_for(seed, name), dtype=torch.float64)
        for name, parameter in parameters_of(model, mask).items()
    }
