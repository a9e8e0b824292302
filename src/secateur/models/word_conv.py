"""`WordConv`: a 1-D convolution over words that copies nothing and whose backward pass skips what the maximum discarded.

In a text CNN every filter's response is reduced to its maximum over time, so at most one position in each text and
filter has a gradient. The backward pass of a dense convolution multiplies all those zeros; this one gathers the positions that
count, when few do, and gives the same sums (up to rounding) in about a third of the time on a CPU.
"""

from __future__ import annotations

from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

_FEW = 1 / 8
"""A gradient with a smaller fraction of nonzeros is gathered: measured break-even lies near 1/6 at 50 to 100 channels."""


class WordConv(nn.Conv1d):
    """`nn.Conv1d` made for the transpose of (batch, length, channels), which torch's own would copy first.

    The same map with the same parameters: input (batch, channels, length), output (batch, filters, positions), any memory layout.
    """

    def _conv_forward(self, input: Tensor, weight: Tensor, bias: Tensor | None) -> Tensor:
        assert isinstance(self.padding, tuple)
        if self._gathers(input):
            return _gathered_conv(input, weight, bias)
        stride, padding, dilation = (1, self.stride[0]), (0, self.padding[0]), (1, self.dilation[0])
        return F.conv2d(input.unsqueeze(2), weight.unsqueeze(2), bias, stride, padding, dilation, self.groups).squeeze(2)

    def _gathers(self, input: Tensor) -> bool:
        plain = self.stride == (1,) and self.padding == (0,) and self.dilation == (1,) and self.groups == 1 and self.padding_mode == "zeros"
        supported = input.dim() == 3 and input.device.type == "cpu" and input.dtype in (torch.float32, torch.float64)
        return plain and supported and torch.is_grad_enabled() and not torch.compiler.is_compiling()


class _GatheredConv(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, input: Tensor, weight: Tensor, bias: Tensor | None) -> Tensor:
        ctx.save_for_backward(input, weight)
        ctx.has_bias = bias is not None
        return F.conv2d(input.unsqueeze(2), weight.unsqueeze(2), bias).squeeze(2)

    @staticmethod
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor | None, Tensor | None, Tensor | None]:
        input, weight = ctx.saved_tensors
        wanted = [ctx.needs_input_grad[0], ctx.needs_input_grad[1], ctx.has_bias and ctx.needs_input_grad[2]]
        rows = grad.transpose(1, 2).reshape(-1)
        at = rows.nonzero().view(-1)
        if torch.is_grad_enabled() or len(at) > _FEW * len(rows):
            sizes = [weight.shape[0]] if ctx.has_bias else None
            of_input, of_weight, of_bias = torch.ops.aten.convolution_backward(
                grad.unsqueeze(2), input.unsqueeze(2), weight.unsqueeze(2), sizes, [1, 1], [0, 0], [1, 1], False, [0, 0], 1, wanted
            )
            return (of_input.squeeze(2) if wanted[0] else None, of_weight.squeeze(2) if wanted[1] else None, of_bias if wanted[2] else None)
        window, values = at // len(weight), rows[at]
        filters = at - window * len(weight)
        windows, length = grad.shape[2], input.shape[2]
        positions = window + (window // windows) * (length - windows)
        return (
            _of_input(positions, filters, values, weight, input.shape) if wanted[0] else None,
            _of_weight(positions, filters, values, input, weight.shape) if wanted[1] else None,
            grad.new_zeros(len(weight)).index_add_(0, filters, values) if wanted[2] else None,
        )


def _gathered_conv(input: Tensor, weight: Tensor, bias: Tensor | None) -> Tensor:
    output: Tensor = _GatheredConv.apply(input, weight, bias)  # type: ignore[no-untyped-call]
    return output


def _of_input(positions: Tensor, filters: Tensor, values: Tensor, weight: Tensor, shape: torch.Size) -> Tensor:
    """Each nonzero adds its filter, scaled, to the words of its window: (batch, channels, length). `positions`, where
    windows start among all batch x length words, ascend."""
    batch, channels, length = shape
    bags = _offsets(positions, batch * length)
    gradient = weight.new_zeros(batch * length, channels)
    for place in range(weight.shape[2]):
        table = weight[:, :, place].contiguous()
        added = F.embedding_bag(filters, table, bags, mode="sum", per_sample_weights=values, include_last_offset=True)
        gradient[place:] += added[: batch * length - place]
    return gradient.view(batch, length, channels).transpose(1, 2)


def _of_weight(positions: Tensor, filters: Tensor, values: Tensor, input: Tensor, shape: torch.Size) -> Tensor:
    """Each nonzero adds the words of its window, scaled, to its filter: (filters, channels, width)."""
    words = input.transpose(1, 2).reshape(-1, shape[1])
    order = filters.argsort(stable=True)
    bags, positions, values = _offsets(filters, shape[0]), positions[order], values[order]
    return torch.stack(
        [
            F.embedding_bag(positions + place, words, bags, mode="sum", per_sample_weights=values, include_last_offset=True)
            for place in range(shape[2])
        ],
        2,
    )


def _offsets(keys: Tensor, groups: int) -> Tensor:
    """Where each of `groups` begins among ascending keys, and the end: (groups + 1,)."""
    offsets = keys.new_zeros(groups + 1)
    torch.cumsum(torch.bincount(keys, minlength=groups), 0, out=offsets[1:])
    return offsets
