"""SynFlow (Tanaka et al. 2020): how much of the flow through the network passes each weight. It reads no data, but shapes."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn

from secateur.errors import PruningError
from secateur.linear_maps import linear_maps
from secateur.masks import Mask, parameters_of, zero_where
from secateur.pruning.flow import SingleVectors, linearised
from secateur.pruning.gradients import device_of, in_eval_mode, owned, placed
from secateur.pruning.scores import Batches, Loss, Scores
from secateur.registry import scores

_TOKENS = 8


@scores.register("synflow", needs_batches=True, needs_loss=False, signed=False, version=2)
def synflow(model: nn.Module, mask: Mask, batches: Batches | None, loss: Loss | None, generator: torch.Generator | None) -> Scores:
    """SynFlow (Tanaka et al. 2020): |w| * dR/d|w|, R the sum of outputs for an input of ones. Linearised as `flow` states, in double.

    Of `batches` only the shape of the first is read; without any it is guessed where the first layer is linear or an embedding. One
    round is not SynFlow: the paper takes 100, at exponential densities. Pruned weights pass nothing.
    """
    found, finite = _scored(model, mask, batches, singly=True)
    if not finite:  # or so it seems: something may have read a weight unseen
        found, _ = _scored(model, mask, batches, singly=False)
    for name, value in found.items():
        if not finite and not torch.isfinite(value).all():
            raise PruningError(f"score 'synflow' is not finite for {name!r}: the network holds something that has no linearisation")
    return found


def _scored(model: nn.Module, mask: Mask, batches: Batches | None, singly: bool) -> tuple[Scores, bool]:
    """The scores, and whether all are finite; `singly`: with `SingleVectors`."""
    scored = parameters_of(model, mask)
    linear = {entry.parameter for entry in linear_maps(model) if singly and entry.kind == "linear"}
    with in_eval_mode(model), torch.enable_grad():
        passed = {name: weight.detach() for name, weight in scored.items() if name in linear and SingleVectors.takes(weight)}
        weights = {name: _unpruned(weight, mask, name) for name, weight in passed.items()}
        singles = SingleVectors(weights)
        tensors: dict[str, Tensor] = dict(singles.stand_ins)
        for name, parameter in model.named_parameters():
            if name in weights:
                continue
            if name in scored:
                tensors[name] = _unpruned(parameter.detach(), mask, name).to(torch.float64, copy=True).abs_().requires_grad_(True)
            elif "bias" in name.rpartition(".")[2]:
                tensors[name] = torch.zeros_like(parameter, dtype=torch.float64, requires_grad=False)
            else:
                tensors[name] = parameter.detach().to(torch.float64, copy=True).abs_()
        for name, buffer in model.named_buffers():
            tensors[name] = buffer.double() if buffer.is_floating_point() else buffer
        inputs = placed(_ones(model, batches), device_of(model))
        with linearised(model, tensors, mask, singles):
            outputs = torch.func.functional_call(model, tensors, inputs)
        flow = _first_tensor(outputs).sum()
        magnitudes = {**{name: tensors[name] for name in mask if name not in weights}, **singles.magnitudes}
        *gradients, _ = torch.autograd.grad(flow, [*magnitudes.values(), singles.anchor], allow_unused=True)
    found = dict(singles.scores)
    finite = singles.finite
    for (name, magnitude), gradient in zip(magnitudes.items(), gradients, strict=True):
        if gradient is not None:
            value = owned(gradient).mul_(magnitude.detach())
            found[name] = found[name].add_(value) if name in found else value
            # none is negative, so that the sum is finite where all are; unless it overflows
            finite &= bool(torch.isfinite(found[name].sum()))
    if not found:
        raise PruningError("score 'synflow': the network's output depends on none of the weights to be scored")
    for name in set(mask) - set(found):
        found[name] = torch.zeros_like(scored[name], dtype=torch.float64, requires_grad=False)
    return {name: found[name] for name in mask}, finite


def _unpruned(weights: Tensor, mask: Mask, name: str) -> Tensor:
    """`weights`, with zeros where they are pruned: a copy, if any are."""
    pattern = mask.pattern(name)
    if pattern.kept == weights.numel():
        return weights
    kept = weights.clone(memory_format=torch.contiguous_format)
    zero_where(kept, pattern.complement())
    return kept


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
