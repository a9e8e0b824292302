"""`SparseConv1d`: `nn.Conv1d` over the surviving weights alone, as a sparse product of shifted views of the input."""

from __future__ import annotations

import math
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from secateur._kernels import new_tensor
from secateur.captures import outside_graphs
from secateur.errors import PruningError
from secateur.masks import Pattern
from secateur.seeds import generator
from secateur.sparse.backward import applied, differentiable_once
from secateur.sparse.linear import Activation
from secateur.sparse.weight import SparseWeight


class _Convolution(torch.autograd.Function):
    @staticmethod
    def forward(
        ctx: Any, x: Tensor, values: Tensor, bias: Tensor | None, kernel: Any, window: tuple[int, int, int, int], positions: int,
        relu: bool, saves: bool,
    ) -> Tensor:  # fmt: skip
        y = new_tensor(x, (x.shape[0], kernel.rows, positions))
        packed = new_tensor(x, (kernel.conv_packed_size(x, *window),)) if saves and ctx.needs_input_grad[1] else None
        kernel.conv_forward(values, bias, x, y, packed, *window, relu, torch.get_num_threads())
        ctx.save_for_backward(values, packed, y if relu else None)
        ctx.kernel, ctx.window, ctx.input_shape = kernel, window, x.shape
        return y

    @staticmethod
    @differentiable_once
    def backward(ctx: Any, dy: Tensor) -> tuple[Tensor | None, ...]:
        values, packed, y = ctx.saved_tensors
        needs_x, needs_values, needs_bias = ctx.needs_input_grad[:3]
        dy = dy.contiguous()
        dx = new_tensor(dy, ctx.input_shape) if needs_x else None
        dvalues = new_tensor(dy, values.shape) if needs_values else None
        dbias = new_tensor(dy, (ctx.kernel.rows,)) if needs_bias else None
        ctx.kernel.conv_backward(values, packed, ctx.input_shape[2], dy, y, dx, dvalues, dbias, *ctx.window, torch.get_num_threads())
        return dx, dvalues, dbias, None, None, None, None, None


class SparseConv1d(nn.Module):
    """`nn.Conv1d` (one group, zero padding) of which only survivors are stored and computed. `activation="relu"` is fused."""

    def __init__(
        self,
        weight: SparseWeight,
        bias: Tensor | None = None,
        *,
        stride: int = 1,
        padding: int = 0,
        dilation: int = 1,
        activation: Activation = "none",
    ) -> None:
        super().__init__()
        if len(weight.shape) != 3:
            raise PruningError(f"a 1-D convolution's weight has three axes, not shape {weight.shape}")
        if stride < 1 or padding < 0 or dilation < 1:
            raise PruningError(f"stride and dilation are positive, padding is not negative; not {stride}, {dilation}, {padding}")
        if activation not in ("none", "relu"):
            raise PruningError(f"activation is 'none' or 'relu', not {activation!r}")
        self.out_channels, self.in_channels, self.kernel_size = weight.shape
        self.weight = weight
        self.bias = bias if bias is None or isinstance(bias, nn.Parameter) else nn.Parameter(bias)
        self.stride, self.padding, self.dilation = stride, padding, dilation
        self.activation: Activation = activation

    @classmethod
    def from_dense(cls, conv: nn.Conv1d, kept: Tensor | Pattern, *, activation: Activation = "none") -> SparseConv1d:
        """The layer `conv` with the weights that `kept` (out, in, kernel) keeps; `PruningError` for several groups."""
        padding = _symmetric_padding(conv)
        bias = None if conv.bias is None else conv.bias.detach().clone()
        return cls(
            SparseWeight.from_dense(conv.weight, kept), bias,
            stride=conv.stride[0], padding=padding, dilation=conv.dilation[0], activation=activation,
        )  # fmt: skip

    @classmethod
    def random(
        cls,
        in_channels: int,
        out_channels: int,
        kernel_size: int,
        *,
        density: float,
        seed: int,
        stride: int = 1,
        padding: int = 0,
        dilation: int = 1,
        bias: bool = True,
    ) -> SparseConv1d:
        """A new layer that was never dense; values as in `SparseLinear.random`."""
        bound = 1.0 / math.sqrt(max(in_channels * kernel_size * density, 1.0))
        weight = SparseWeight.random((out_channels, in_channels, kernel_size), density, bound, seed)
        offsets = torch.rand(out_channels, generator=generator(seed, "bias")) * (2 * bound) - bound if bias else None
        return cls(weight, offsets, stride=stride, padding=padding, dilation=dilation)

    def sparse_weights(self) -> dict[str, SparseWeight]:
        """The sparse weights by the names that the dense layer gives them."""
        return {"weight": self.weight}

    def to_dense(self) -> nn.Conv1d:
        """The same layer as `nn.Conv1d`, zero where pruned. A fused activation stays behind."""
        dense = nn.Conv1d(
            self.in_channels, self.out_channels, self.kernel_size, self.stride, self.padding, self.dilation,
            bias=self.bias is not None, device=self.weight.values.device, dtype=self.weight.values.dtype,
        )  # fmt: skip
        with torch.no_grad():
            dense.weight.copy_(self.weight.to_dense())
            if self.bias is not None and dense.bias is not None:
                dense.bias.copy_(self.bias)
        return dense

    @outside_graphs
    def forward(self, x: Tensor) -> Tensor:
        """x (batch, in_channels, length) or (in_channels, length) -> (batch, out_channels, positions), or without the batch."""
        if x.dim() not in (2, 3) or x.shape[-2] != self.in_channels:
            raise PruningError(
                f"a convolution of {self.in_channels} channels takes (batch, {self.in_channels}, length), not {tuple(x.shape)}"
            )
        positions = (x.shape[-1] + 2 * self.padding - self.dilation * (self.kernel_size - 1) - 1) // self.stride + 1
        if positions < 1:
            raise PruningError(f"an input of length {x.shape[-1]} is shorter than the kernel")
        if not self.weight.runs_on_kernels(x):
            y = F.conv1d(x, self.weight.to_dense(), self.bias, self.stride, self.padding, self.dilation)
            return F.relu(y) if self.activation == "relu" else y
        batched = x if x.dim() == 3 else x.unsqueeze(0)
        window = (self.kernel_size, self.stride, self.padding, self.dilation)
        product: Tensor = applied(
            _Convolution, batched.contiguous(), self.weight.values, self.bias, self.weight.kernel, window, positions,
            self.activation == "relu", torch.is_grad_enabled(),
        )  # fmt: skip
        return product if x.dim() == 3 else product.squeeze(0)

    def extra_repr(self) -> str:
        return (
            f"{self.in_channels}, {self.out_channels}, kernel_size={self.kernel_size}, stride={self.stride}, padding={self.padding}, "
            f"dilation={self.dilation}, bias={self.bias is not None}"
        )


def _symmetric_padding(conv: nn.Conv1d) -> int:
    """The zeros on each side; `PruningError` where the layer is none that `SparseConv1d` computes."""
    if conv.groups != 1 or (conv.padding_mode != "zeros" and conv.padding != (0,)):
        raise PruningError(f"SparseConv1d has one group and pads with zeros, not {conv.groups} groups and {conv.padding_mode!r}")
    if isinstance(conv.padding, str):
        total = 0 if conv.padding == "valid" else conv.dilation[0] * (conv.kernel_size[0] - 1)
        if total % 2:
            raise PruningError(f"padding={conv.padding!r} is uneven for a kernel of {conv.kernel_size[0]}: pad the input first")
        return total // 2
    return int(conv.padding[0])
