"""`SparseTransposedLinear`: a linear layer whose weight lies as (inputs, outputs), over the surviving weights alone."""

from __future__ import annotations

import copy
from collections.abc import Mapping
from typing import Any, Self

import torch
from torch import Tensor, nn

from secateur.captures import outside_graphs
from secateur.errors import PruningError
from secateur.sparse.backward import applied, differentiable_once
from secateur.sparse.weight import SparseWeight


class _TransposedProduct(torch.autograd.Function):
    """y = x W over two axes: the kernels' gradients of z = W x, each in another's place."""

    @staticmethod
    def forward(ctx: Any, x: Tensor, values: Tensor, kernel: Any) -> Tensor:
        y, _, _ = kernel.linear_backward(values, None, x, None, True, False, False, False, torch.get_num_threads())
        ctx.save_for_backward(values, x if ctx.needs_input_grad[1] else None)
        ctx.kernel = kernel
        return y  # type: ignore[no-any-return]

    @staticmethod
    @differentiable_once
    def backward(ctx: Any, dy: Tensor) -> tuple[Tensor | None, ...]:
        values, x = ctx.saved_tensors
        threads = torch.get_num_threads()
        dy = dy.contiguous()
        dx = ctx.kernel.linear_forward(values, None, dy, False, False, threads) if ctx.needs_input_grad[0] else None
        dvalues = None
        if ctx.needs_input_grad[1]:
            _, dvalues, _ = ctx.kernel.linear_backward(values, dy, x, None, False, True, False, False, threads)
        return dx, dvalues, None


class SparseTransposedLinear(nn.Module):
    """y = x W + bias, of whose W, (inputs, outputs), only survivors are stored and computed. It stands for a module with parameters
    `weight` and `bias` that computes this."""

    bias: nn.Parameter | None

    def __init__(self, weight: SparseWeight, bias: Tensor | None, dense: nn.Module) -> None:
        """`dense`: the module, of which all but its parameters is kept for `to_dense`."""
        super().__init__()
        if len(weight.shape) != 2:
            raise PruningError(f"a linear layer's weight has two axes, not shape {weight.shape}")
        self.in_features, self.out_features = weight.shape
        self.weight = weight
        self.bias = bias if bias is None or isinstance(bias, nn.Parameter) else nn.Parameter(bias)
        shell = copy.copy(dense)
        shell._parameters = dict.fromkeys(dense._parameters)
        self._shell = (shell,)  # not a submodule

    @classmethod
    def in_place_of(cls, module: Any, weights: Mapping[str, SparseWeight]) -> Self:
        """As `sparse_counterpart` takes it, for a module with parameters `weight` (inputs, outputs) and `bias` (outputs) or None."""
        return cls(weights["weight"], module.bias, module)

    def sparse_weights(self) -> dict[str, SparseWeight]:
        """The sparse weights by the names that the dense layer gives them."""
        return {"weight": self.weight}

    def to_dense(self) -> nn.Module:
        """The module that this one stands for, zero where pruned."""
        dense = copy.copy(self._shell[0])
        dense._parameters = {"weight": nn.Parameter(self.weight.to_dense().detach()), "bias": None}
        if self.bias is not None:
            dense._parameters["bias"] = nn.Parameter(self.bias.detach().clone())
        return dense

    @outside_graphs
    def forward(self, x: Tensor) -> Tensor:
        """x (…, in_features) -> (…, out_features)."""
        if x.dim() == 0 or x.shape[-1] != self.in_features:
            raise PruningError(f"a sparse product of {self.in_features} inputs takes (…, {self.in_features}), not {tuple(x.shape)}")
        if self.weight.runs_on_kernels(x):
            y: Tensor = applied(_TransposedProduct, x.reshape(-1, self.in_features).contiguous(), *self.weight.operands())
            y = y.view(*x.shape[:-1], self.out_features)
        else:
            y = x @ self.weight.to_dense()
        return y if self.bias is None else y + self.bias

    def extra_repr(self) -> str:
        return f"in_features={self.in_features}, out_features={self.out_features}, bias={self.bias is not None}"
