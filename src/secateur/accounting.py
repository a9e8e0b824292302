"""What a network costs: weights, multiply-adds for one example, bytes; dense, and with a mask.

A multiply-add is one weight times one number, added to a sum: of linear, convolutional, recurrent and attention layers, at every position
they are applied to (a convolution's padding and a recurrent layer's padded steps included), plus the products of activations with each
other in attention. A look-up in an embedding costs none. Biases, activations, normalisation and the gates' elementwise products are
not counted.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from math import prod
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F
from torch.overrides import TorchFunctionMode

from secateur.layer_inputs import positional
from secateur.linear_maps import described_layers, linear_maps
from secateur.masks import Mask, Pattern


@dataclass(frozen=True)
class LayerCost:
    """One linear map. `uses`: how often each weight is multiplied for the example; multiply-adds are weights * uses."""

    parameter: str
    kind: str
    weights: int
    prunable: int
    kept: int
    uses: int

    @property
    def dense_multiply_adds(self) -> int:
        """Multiply-adds of all weights."""
        return self.weights * self.uses

    @property
    def multiply_adds(self) -> int:
        """Multiply-adds of the kept weights."""
        return self.kept * self.uses


@dataclass(frozen=True)
class Cost:
    """The cost of a network for one example. `products` are multiply-adds of activations with each other, which no mask spares.

    `weights` counts every parameter once, tied ones too; `prunable` and `kept` are of the mask.
    """

    layers: tuple[LayerCost, ...]
    weights: int
    prunable: int
    kept: int
    products: int
    dense_bytes: int
    bytes: int

    @property
    def kept_weights(self) -> int:
        """Weights of the network that are not pruned, prunable or not."""
        return self.weights - self.prunable + self.kept

    @property
    def dense_multiply_adds(self) -> int:
        """Multiply-adds without a mask."""
        return self.products + sum(layer.dense_multiply_adds for layer in self.layers)

    @property
    def multiply_adds(self) -> int:
        """Multiply-adds of what is kept."""
        return self.products + sum(layer.multiply_adds for layer in self.layers)


def cost(model: nn.Module, example: Tensor | tuple[Tensor, ...], mask: Mask | None = None) -> Cost:
    """The cost of `model` for `example`, inputs of one example (a batch of one), dense and with `mask`.

    The model is called once, in eval mode, as model(*example); it stays as it was.

    Example: `cost(lenet, torch.zeros(1, 784)).dense_multiply_adds` is 266200.
    """
    uses, products = _measured(model, example)
    layers = []
    for entry in linear_maps(model):
        pattern = mask.pattern(entry.parameter) if mask is not None and entry.parameter in mask else None
        weights = prod(entry.shape)
        kept = weights if pattern is None else pattern.kept
        prunable = 0 if pattern is None else pattern.prunable
        layers.append(LayerCost(entry.parameter, entry.kind, weights, prunable, kept, uses.get(entry.parameter, 0)))
    dense_bytes, kept_bytes = stored_bytes(model, mask)
    return Cost(
        tuple(layers), sum(parameter.numel() for parameter in model.parameters()),
        0 if mask is None else mask.prunable, 0 if mask is None else mask.kept, products, dense_bytes, kept_bytes,
    )  # fmt: skip


def stored_bytes(model: nn.Module, mask: Mask | None = None) -> tuple[int, int]:
    """Bytes of parameters (tied ones once) and buffers: (dense, with `mask`).

    A masked parameter takes its survivors and a bitmap or 32-bit indices, whichever is smaller; or its dense bytes if they are fewer.
    """
    buffers = sum(buffer.numel() * buffer.element_size() for buffer in model.buffers())
    dense = kept = buffers
    for name, parameter in model.named_parameters():
        size = parameter.numel() * parameter.element_size()
        dense += size
        kept += size if mask is None or name not in mask else min(size, _sparse_bytes(mask.pattern(name), parameter.element_size()))
    return dense, kept


def _sparse_bytes(pattern: Pattern, element: int) -> int:
    return pattern.kept * element + min((pattern.size + 7) // 8, 4 * pattern.kept)


def _measured(model: nn.Module, example: Tensor | tuple[Tensor, ...]) -> tuple[dict[str, int], int]:
    """(parameter -> how often each weight is multiplied, products of activations) of one call, found by hooks."""
    names = {id(parameter): name for name, parameter in model.named_parameters()}
    uses: dict[str, int] = {}
    handles = []

    def watch(module: nn.Module, maps: Any) -> None:
        def hook(module: nn.Module, args: tuple[Any, ...], kwargs: Mapping[str, Any], output: Any) -> None:
            for entry in maps:
                name = names[id(module.get_parameter(entry.parameter))]
                uses[name] = uses.get(name, 0) + entry.uses(positional(module, args, kwargs), output)

        handles.append(module.register_forward_hook(hook, with_kwargs=True))

    modes = [(module, module.training) for module in model.modules()]
    counter = _Products({id(parameter) for parameter in model.parameters()})
    try:
        for _, module, maps in described_layers(model):
            watch(module, maps)
        model.eval()
        # With gradients on, torch's fused attention and transformer layers, which hide their products, are not used.
        with torch.enable_grad(), counter:
            model(*example) if isinstance(example, tuple) else model(example)
    finally:
        for handle in handles:
            handle.remove()
        for module, training in modes:
            module.training = training
    return uses, counter.total


_MATMULS = {torch.matmul, Tensor.matmul, Tensor.__matmul__, torch.bmm, Tensor.bmm, torch.baddbmm}


class _Products(TorchFunctionMode):
    """Counts multiply-adds between activations: attention's, fused or written out, and other matrix products without a parameter."""

    def __init__(self, parameters: set[int]) -> None:
        super().__init__()
        self._parameters = parameters
        self.total = 0

    def __torch_function__(self, function: Any, types: Any, args: tuple[Any, ...] = (), kwargs: dict[str, Any] | None = None) -> Any:
        kwargs = kwargs or {}
        if function is F.scaled_dot_product_attention:
            query, key, value = args[:3] if len(args) >= 3 else (kwargs["query"], kwargs["key"], kwargs["value"])
            self.total += prod(query.shape[:-1]) * key.shape[-2] * (query.shape[-1] + value.shape[-1])
        elif function is F.multi_head_attention_forward:
            query, key = args[:2]
            self.total += 2 * query.shape[0] * key.shape[0] * prod(query.shape[1:])
        elif function in _MATMULS:
            first, second = args[1:3] if function is torch.baddbmm else args[:2]
            if not any(self._is_weight(factor) for factor in (first, second)):
                result = function(*args, **kwargs)
                self.total += result.numel() * first.shape[-1]
                return result
        return function(*args, **kwargs)

    def _is_weight(self, factor: Tensor) -> bool:
        return id(factor) in self._parameters or id(factor._base) in self._parameters
