"""`SparseLinear`: `nn.Linear` over the surviving weights alone."""

from __future__ import annotations

import math
from typing import Any, Literal, cast

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from secateur.captures import outside_graphs
from secateur.errors import PruningError
from secateur.masks import Pattern
from secateur.seeds import generator
from secateur.sparse.backward import applied, differentiable_once
from secateur.sparse.weight import SparseWeight, held

Layout = Literal["batch", "feature"]
Activation = Literal["none", "relu"]


class _Product(torch.autograd.Function):
    """y = W x + bias over two axes, by the kernels; the whole layer and the whole backward pass are one call each."""

    @staticmethod
    def forward(ctx: Any, x: Tensor, values: Tensor, bias: Tensor | None, kernel: Any, feature_major: bool, relu: bool) -> Tensor:
        y: Tensor = kernel.linear_forward(values, bias, x, feature_major, relu, torch.get_num_threads())
        ctx.save_for_backward(values, x if ctx.needs_input_grad[1] else None, y if relu else None)
        ctx.kernel = kernel
        ctx.feature_major = feature_major
        return y

    @staticmethod
    @differentiable_once
    def backward(ctx: Any, dy: Tensor) -> tuple[Tensor | None, ...]:
        values, x, y = ctx.saved_tensors
        needs = ctx.needs_input_grad[:3]  # x, values, bias
        if not dy.is_contiguous():
            dy = dy.contiguous()
        gradients = ctx.kernel.linear_backward(values, x, dy, y, *needs, ctx.feature_major, torch.get_num_threads())
        return *gradients, None, None, None


@outside_graphs
def sparse_linear(
    x: Tensor,
    weight: SparseWeight,
    bias: Tensor | None = None,
    *,
    layout: Layout = "batch",
    activation: Activation = "none",
    rows: tuple[int, int] | None = None,
) -> Tensor:
    """x (…, inputs) -> (…, outputs), or with `layout="feature"` x (inputs, batch) -> (outputs, batch).

    `rows` = (first, last) takes these outputs alone.

    `weight` has shape (outputs, inputs). On the CPU in float32 and float64 cost follows the
    survivors; elsewhere the weight is made dense for the product, which on a GPU is the faster way at the densities of pruned networks.
    """
    inputs, shape = weight.width, x.shape
    axes, feature_major = len(shape), layout == "feature"
    if axes == 0 or (feature_major and axes != 2) or shape[0 if feature_major else -1] != inputs:
        wanted = f"({inputs}, batch)" if feature_major else f"(…, {inputs})"
        raise PruningError(f"a sparse product of {inputs} inputs takes {wanted}, not {tuple(shape)}")
    first, last = rows or (0, weight.rows)
    if not weight.runs_on_kernels(x):
        dense = weight.to_dense().view(weight.rows, inputs)[first:last]
        y = F.linear(x.t(), dense, bias).t() if feature_major else F.linear(x, dense, bias)
        return F.relu(y) if activation == "relu" else y
    values, kernel = weight.operands() if rows is None else weight.slice(first, last)
    flat = x if axes == 2 else x.reshape(-1, inputs)
    if not flat.is_contiguous():
        flat = flat.contiguous()
    relu = activation == "relu"
    product: Tensor
    if torch.is_grad_enabled():
        product = applied(_Product, flat, values, bias, kernel, feature_major, relu)
    else:
        product = kernel.linear_forward(values, bias, flat, feature_major, relu, torch.get_num_threads())
    return product if axes == 2 else product.view(*shape[:-1], last - first)


class SparseLinear(nn.Module):
    """`nn.Linear` of which only survivors are stored and computed.

    `layout="feature"` takes and gives (features, batch), in which neighbouring sparse layers need no
    transposes; `activation="relu"` is fused.
    """

    def __init__(
        self, weight: SparseWeight, bias: Tensor | None = None, *, layout: Layout = "batch", activation: Activation = "none"
    ) -> None:
        super().__init__()
        if len(weight.shape) != 2:
            raise PruningError(f"a linear layer's weight has two axes, not shape {weight.shape}")
        if layout not in ("batch", "feature") or activation not in ("none", "relu"):
            raise PruningError(f"layout is 'batch' or 'feature' and activation 'none' or 'relu', not {layout!r} and {activation!r}")
        self.out_features, self.in_features = weight.shape
        self.add_module("weight", weight)
        self.register_parameter("bias", bias if bias is None or isinstance(bias, nn.Parameter) else nn.Parameter(bias))
        self.layout: Layout = layout
        self.activation: Activation = activation

    @property
    def weight(self) -> SparseWeight:
        """The surviving weights, of shape (outputs, inputs)."""
        return cast(SparseWeight, held(self._modules, "weight"))

    @property
    def bias(self) -> nn.Parameter | None:
        """(outputs), or None."""
        return held(self._parameters, "bias")

    @classmethod
    def from_dense(
        cls, linear: nn.Linear, kept: Tensor | Pattern, *, layout: Layout = "batch", activation: Activation = "none"
    ) -> SparseLinear:
        """The layer `linear` with the weights that `kept` (out, in) keeps. Its bias is copied."""
        bias = None if linear.bias is None else linear.bias.detach().clone()
        return cls(SparseWeight.from_dense(linear.weight, kept), bias, layout=layout, activation=activation)

    def sparse_weights(self) -> dict[str, SparseWeight]:
        """The sparse weights by the names that the dense layer gives them."""
        return {"weight": self.weight}

    @classmethod
    def random(
        cls,
        in_features: int,
        out_features: int,
        *,
        density: float,
        seed: int,
        bias: bool = True,
        layout: Layout = "batch",
        activation: Activation = "none",
    ) -> SparseLinear:
        """A new layer that was never dense: survivors uniform within the bounds that give a row of them the variance of `nn.Linear`'s."""
        bound = 1.0 / math.sqrt(max(in_features * density, 1.0))
        weight = SparseWeight.random((out_features, in_features), density, bound, seed)
        offsets = torch.rand(out_features, generator=generator(seed, "bias")) * (2 * bound) - bound if bias else None
        return cls(weight, offsets, layout=layout, activation=activation)

    def to_dense(self) -> nn.Linear:
        """The same layer as `nn.Linear`, zero where pruned. A fused activation stays behind."""
        dense = nn.Linear(
            self.in_features,
            self.out_features,
            bias=self.bias is not None,
            device=self.weight.values.device,
            dtype=self.weight.values.dtype,
        )
        with torch.no_grad():
            dense.weight.copy_(self.weight.to_dense())
            if self.bias is not None:
                dense.bias.copy_(self.bias)
        return dense

    def forward(self, x: Tensor) -> Tensor:
        """x (…, in_features) -> (…, out_features); feature-major: (in_features, batch) -> (out_features, batch)."""
        weight: Any = self._modules["weight"]
        return sparse_linear(x, weight, self._parameters["bias"], layout=self.layout, activation=self.activation)

    def extra_repr(self) -> str:
        return f"in_features={self.in_features}, out_features={self.out_features}, bias={self.bias is not None}, layout={self.layout!r}"
