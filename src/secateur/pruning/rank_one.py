"""Squares of single examples' gradients, summed over a batch by one pass of the whole batch.

A linear layer that an example passes once as one vector x has the gradient dy x^T for it, of rank one; the sum of squares over a batch is
(dy**2)^T (x**2). That holds where examples do not meet, which the graph of the forward pass shows: a chain of linear layers and functions
of single numbers.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn
from torch.autograd.graph import GradientEdge

from secateur.linear_maps import linear_maps
from secateur.pruning.gradients import device_of, outputs_of, placed
from secateur.pruning.scores import Loss

_OF_SINGLE_NUMBERS = (
    *("Relu", "LeakyRelu", "Elu", "Gelu", "Silu", "Mish", "Tanh", "Sigmoid", "LogSigmoid"),
    *("Softplus", "Hardtanh", "Hardsigmoid", "Hardswish"),
)
_PASSED = {"ViewBackward0", *(f"{name}Backward0" for name in _OF_SINGLE_NUMBERS)}


class _Layer(NamedTuple):
    """One layer of the chain, in a forward pass: its node of the graph, its parameters and what it multiplied, (batch, inputs)."""

    node: Any
    weight: Tensor
    bias: Tensor | None
    inputs: Tensor


def may_be_chain(model: nn.Module) -> bool:
    """Whether it is worth while to pass a batch forward and to look: all the network's linear maps are linear layers."""
    return all(entry.kind == "linear" for entry in linear_maps(model))


def squares_of_examples(
    model: nn.Module, parameters: Mapping[str, nn.Parameter], inputs: Any, targets: Tensor, loss: Loss
) -> list[Tensor] | None:
    """The sums over the batch of squares of each example's gradient, one a parameter; None where the graph does not show that this is so.

    An example's loss is that of its outputs and target alone, each with an axis 0 of length 1.
    """
    inputs, targets = placed(inputs, device_of(model)), placed(targets, device_of(model))
    if not isinstance(inputs, Tensor) or inputs.dim() == 0 or inputs.is_inference() or not 0 < len(inputs) == len(targets):
        return None
    before = inputs._version
    outputs = outputs_of(model, inputs)
    layers = _chain(outputs, inputs) if inputs._version == before else None
    used = [its for layer in layers or () for its in (layer.weight, layer.bias) if its is not None]
    if layers is None or any(sum(its is other for other in used) != 1 for its in parameters.values()):
        return None
    ends = outputs.detach().requires_grad_(True)
    total = torch.stack([loss(*one) for one in zip(torch.split(ends, 1), torch.split(targets, 1), strict=True)]).sum()
    if not total.requires_grad:
        return None
    slope, *others = torch.autograd.grad(total, [ends, *parameters.values()], allow_unused=True)
    if slope is None or any(other is not None for other in others):  # the loss reads weights by itself
        return None
    steps = torch.autograd.grad(outputs, [GradientEdge(layer.node, 0) for layer in layers], slope)
    found: dict[int, Tensor] = {}
    for layer, step in zip(layers, steps, strict=True):
        squares = step.square()
        found[id(layer.weight)] = squares.T @ layer.inputs.square()
        if layer.bias is not None:
            found[id(layer.bias)] = squares.sum(0)
    return [found[id(parameter)] for parameter in parameters.values()]


def _chain(outputs: Any, inputs: Tensor) -> list[_Layer] | None:
    """The layers from the outputs back to the inputs, or None where the graph holds anything else, or its vectors are not the examples."""
    count = len(inputs)
    if not isinstance(outputs, Tensor) or outputs.dim() == 0 or len(outputs) != count:
        return None
    layers: list[_Layer] = []
    node: Any = outputs.grad_fn
    while node is not None:
        kind = node.name()
        if kind in ("AddmmBackward0", "MmBackward0"):
            *bias, (before, _), (turned, _) = node.next_functions
            weight, added = _weight_of(turned), _leaf_of(bias[0][0]) if bias else None
            x = node._saved_mat1 if bias else node._saved_self
            if weight is None or x is None or x.shape != (count, weight.shape[1]) or x.dtype not in (torch.float32, torch.float64):
                return None
            if bias and (added is None or added.shape != weight.shape[:1] or node._saved_alpha != 1 or node._saved_beta != 1):
                return None
            layers.append(_Layer(node, weight, added, x))
        elif kind in _PASSED:
            ((before, _),) = node.next_functions
        else:
            return None
        node = before
    # What the first layer read must be the batch itself: how it came about the graph does not say.
    first = layers[-1].inputs if layers else None
    if first is None or first.data_ptr() != inputs.data_ptr() or first.numel() != inputs.numel():
        return None
    return layers if first.is_contiguous() and inputs.is_contiguous() else None


def _leaf_of(node: Any) -> Tensor | None:
    """The tensor whose gradient a node gathers."""
    return getattr(node, "variable", None)


def _weight_of(node: Any) -> Tensor | None:
    """W, of the node of W^T."""
    return _leaf_of(node.next_functions[0][0]) if node is not None and node.name() == "TBackward0" else None
