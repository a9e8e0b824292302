"""Scores: one number a weight, higher is kept. Here those that read no data."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Any

import torch
from torch import Tensor, nn

from secateur.masks import Mask, parameters_of
from secateur.registry import scores
from secateur.seeds import generator as generator_for

Batches = Iterable[tuple[Any, Tensor]]
Loss = Callable[[Any, Tensor], Tensor]
Scores = dict[str, Tensor]


@scores.register("magnitude", needs_batches=False, signed=False)
def magnitude(model: nn.Module, mask: Mask, batches: Batches | None, loss: Loss | None, generator: torch.Generator | None) -> Scores:
    """|w|. Under scope global it compares weights of different fan-in, and can empty a layer, depending on the initialiser."""
    return {name: parameter.detach().abs() for name, parameter in parameters_of(model, mask).items()}


@scores.register("random", needs_batches=False, signed=False)
def random(model: nn.Module, mask: Mask, batches: Batches | None, loss: Loss | None, generator: torch.Generator) -> Scores:
    """Uniform in [0, 1), drawn for each parameter by its name: independent of the other parameters and of their order."""
    seed = int(torch.randint(2**62, (), generator=generator))
    return {
        name: torch.rand(parameter.shape, generator=generator_for(seed, name), dtype=torch.float64)
        for name, parameter in parameters_of(model, mask).items()
    }
