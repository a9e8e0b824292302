"""Edge-popup (Ramanujan et al. 2020): learn which weights of an untrained network to keep; the weights themselves never change."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from typing import Any

import torch
from torch import Tensor, nn

from secateur import _kernels
from secateur.errors import PruningError
from secateur.masks import Mask, Pattern
from secateur.pruning.arithmetic import flat
from secateur.pruning.gradients import batch_losses, evaluated, gradients_of, owned
from secateur.pruning.pools import rounded
from secateur.pruning.scores import Batches, Loss, Scores
from secateur.pruning.subnetwork import Subnetwork
from secateur.registry import scores
from secateur.seeds import generator as generator_for


@scores.register("edge-popup", needs_batches=True, needs_loss=True, signed=False, version=2)
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
    with evaluated(model, mask) as parameters:
        subnetworks = {
            name: _begun(parameter, mask.pattern(name), density, generator_for(seed, name)) for name, parameter in parameters.items()
        }
        used = [its.used for its in subnetworks.values()]

        def learn() -> None:
            walk = _again_and_again(batches)
            for step in range(steps):
                rate = lr / 2 * (1 + math.cos(math.pi * step / steps))
                slopes = gradients_of(next(batch_losses(model, [next(walk)], loss, "edge-popup")), used)
                if step == 0:  # they become the buffers
                    slopes = [owned(slope, slopes[:place]) for place, slope in enumerate(slopes)]
                for its in subnetworks.values():
                    its.step(slopes.pop(0), rate=rate, momentum=momentum, decay=weight_decay, last=step == steps - 1)

        # once for all steps: to put the tensors in place takes a hundredth of a small network's step
        torch.func.functional_call(_Learning(model, learn), {f"model.{name}": its.used for name, its in subnetworks.items()}, ())
    return {name: its.scores if steps else its.scores.abs_() for name, its in subnetworks.items()}


class _Learning(nn.Module):
    """A model, and what to do with it while other tensors are in the place of its parameters."""

    def __init__(self, model: nn.Module, learn: Callable[[], None]) -> None:
        super().__init__()
        self.model, self._learn = model, learn

    def forward(self) -> None:
        self._learn()


def _begun(parameter: Tensor, kept: Pattern, density: float, draw: torch.Generator) -> Subnetwork:
    fan_in = max(1, parameter[0].numel() if parameter.dim() > 1 else 1)
    bound = 1 / math.sqrt(fan_in)
    start = torch.empty(parameter.shape)
    _kernels.uniform(flat(start), bound, int(torch.randint(2**62, (), generator=draw)))
    scores = start.to(parameter.device, parameter.dtype)
    return Subnetwork(parameter, scores, kept, rounded(density * kept.prunable), bound)


def _again_and_again(batches: Batches) -> Iterator[tuple[Any, Tensor]]:
    batches = list(batches) if iter(batches) is batches else batches
    while True:
        empty = True
        for batch in batches:
            empty = False
            yield batch
        if empty:
            raise PruningError("score 'edge-popup' needs at least one batch; there is none")
