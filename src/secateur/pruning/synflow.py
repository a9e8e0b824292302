"""SynFlow (Tanaka et al. 2020): how much of the flow through the network passes each weight. It reads no data, but shapes."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn

from secateur.errors import PruningError
from secateur.linear_maps import linear_maps, parameter_kinds
from secateur.masks import Mask, zero_where
from secateur.pruning.flow import linearised
from secateur.pruning.gradients import device_of, evaluated, owned, placed
from secateur.pruning.scores import Batches, Loss, Scores
from secateur.registry import scores

_TOKENS = 8


@scores.register("synflow", needs_batches=True, needs_loss=False, signed=False)
def synflow(model: nn.Module, mask: Mask, batches: Batches | None, loss: Loss | None, generator: torch.Generator | None) -> Scores:
    """SynFlow (Tanaka et al. 2020): |w| * dR/d|w|, R the sum of outputs for an input of ones. Linearised as `flow` states, in double.

    Of `batches` only the shape of the first is read; without any it is guessed where the first layer is linear or an embedding. One
    round is not SynFlow: the paper takes 100, at exponential densities. Pruned weights pass nothing.
    """
    kinds = parameter_kinds(model)
    with evaluated(model, mask):
        tensors: dict[str, Tensor] = {}
        for name, parameter in model.named_parameters():
            magnitude = parameter.detach().to(torch.float64, copy=True).abs_()
            if name in mask:
                if mask.pattern(name).kept < parameter.numel():
                    zero_where(magnitude, mask.pattern(name).complement())
                magnitude.requires_grad_(True)
            elif kinds[name] == "bias" or "bias" in name.rpartition(".")[2]:
                magnitude = torch.zeros_like(magnitude)
            tensors[name] = magnitude
        for name, buffer in model.named_buffers():
            tensors[name] = buffer.double() if buffer.is_floating_point() else buffer
        scored = {name: tensors[name] for name in mask}
        inputs = placed(_ones(model, batches), device_of(model))
        with linearised(model, tensors, scored):
            outputs = torch.func.functional_call(model, tensors, inputs)
        flow = _first_tensor(outputs).sum()
        gradients = torch.autograd.grad(flow, list(scored.values()), allow_unused=True)
    found = {}
    for (name, magnitude), gradient in zip(scored.items(), gradients, strict=True):
        found[name] = torch.zeros_like(magnitude, requires_grad=False) if gradient is None else owned(gradient).mul_(magnitude.detach())
        # none is negative, so that the sum is finite where all are; unless it overflows
        if not torch.isfinite(found[name].sum()) and not torch.isfinite(found[name]).all():
            raise PruningError(f"score 'synflow' is not finite for {name!r}: the network holds something that has no linearisation")
    if not any(gradient is not None for gradient in gradients):
        raise PruningError("score 'synflow': the network's output depends on none of the weights to be scored")
    return found


def _ones(model: nn.Module, batches: Batches | None) -> tuple[Tensor, ...]:
    """One example of ones (token ids of 1; other vectors of integers, such as lengths and offsets, as they are)."""
    if batches is not None:
        first = next(iter(batches), None)
        if first is None:
            raise PruningError("score 'synflow' reads the shape of the first batch; there is none")
        inputs: Any = first[0] if isinstance(first[0], tuple | list) else (first[0],)
        if len({part.shape[0] for part in inputs}) == 1:
            inputs = tuple(part[:1] for part in inputs)
        return tuple(_as_ones(part) for part in inputs)
    entry = next(iter(linear_maps(model)), None)
    if entry is not None and entry.kind == "linear":
        return (torch.ones(1, entry.fan_in, dtype=torch.float64),)
    if entry is not None and entry.kind == "embedding":
        return (torch.ones(1, _TOKENS, dtype=torch.int64),)
    raise PruningError(
        "score 'synflow' cannot guess the shape of this network's input: give it batches, of which it reads the first one's shape"
    )


def _as_ones(part: Tensor) -> Tensor:
    if part.is_floating_point():
        return torch.ones_like(part, dtype=torch.float64)
    return torch.ones_like(part) if part.dim() > 1 else part


def _first_tensor(outputs: Any) -> Tensor:
    while isinstance(outputs, tuple | list):
        outputs = outputs[0]
    if not isinstance(outputs, Tensor):
        raise PruningError(f"score 'synflow' sums the network's output; this one returns {type(outputs).__name__}")
    return outputs
