"""A recurrent layer over a whole sequence as one step of autograd, on activations that the kernels hold tiled by steps."""

from __future__ import annotations

from functools import lru_cache
from typing import Any, Literal, NamedTuple

import torch
from torch import Tensor

from secateur import _kernels
from secateur._kernels import new_tensor
from secateur.sparse.backward import applied, differentiable_once

Arrangement = Literal["steps", "batch", "feature", "packed"]


@lru_cache(maxsize=256)
def steps_of(counts: tuple[int, ...], twofold: bool) -> _kernels.Steps:
    """Where steps of so many examples lie in tiles of float32, or float64 where `twofold`."""
    return _kernels.Steps(list(counts), twofold)


class _IntoTiles(torch.autograd.Function):
    """An activation in one of torch's layouts -> (features, columns) in tiles."""

    @staticmethod
    def forward(ctx: Any, x: Tensor, steps: Any, arrangement: Arrangement) -> Tensor:
        ctx.steps, ctx.arrangement, ctx.shape = steps, arrangement, x.shape
        tiled = new_tensor(x, (x.shape[0 if arrangement == "feature" else -1], steps.columns))
        steps.into_tiles(arrangement, x.contiguous(), tiled, torch.get_num_threads())
        return tiled

    @staticmethod
    @differentiable_once
    def backward(ctx: Any, d_tiled: Tensor) -> tuple[Tensor | None, ...]:
        dx = new_tensor(d_tiled, ctx.shape)
        ctx.steps.out_of_tiles(ctx.arrangement, d_tiled.contiguous(), dx, torch.get_num_threads())
        return dx, None, None


class _OutOfTiles(torch.autograd.Function):
    """(features, columns) in tiles -> one of torch's layouts, of `shape`."""

    @staticmethod
    def forward(ctx: Any, tiled: Tensor, steps: Any, arrangement: Arrangement, shape: tuple[int, ...]) -> Tensor:
        ctx.steps, ctx.arrangement, ctx.shape = steps, arrangement, tiled.shape
        y = new_tensor(tiled, shape)
        steps.out_of_tiles(arrangement, tiled, y, torch.get_num_threads())
        return y

    @staticmethod
    @differentiable_once
    def backward(ctx: Any, dy: Tensor) -> tuple[Tensor | None, ...]:
        d_tiled = new_tensor(dy, ctx.shape)
        ctx.steps.into_tiles(ctx.arrangement, dy.contiguous(), d_tiled, torch.get_num_threads())
        return d_tiled, None, None, None


def into_tiles(x: Tensor, steps: _kernels.Steps, arrangement: Arrangement) -> Tensor:
    """An activation of any layout in tiles: (features, columns), in an order that only the kernels know."""
    tiled: Tensor = applied(_IntoTiles, x, steps, arrangement)
    return tiled


def out_of_tiles(tiled: Tensor, steps: _kernels.Steps, arrangement: Arrangement, shape: tuple[int, ...]) -> Tensor:
    """What `into_tiles` makes, back in a layout, as a tensor of `shape`."""
    y: Tensor = applied(_OutOfTiles, tiled, steps, arrangement, shape)
    return y


class RecurrentLayer(torch.autograd.Function):
    """One layer, both directions where it has two: tiled x -> (tiled y, last hidden state, last cell state or None).

    `saves`: whether a backward pass may come (under `no_grad` autograd asks for one all the same). `parameters`: for each direction the
    values of the input's and the recurrent matrix and their biases (or None).
    """

    @staticmethod
    def forward(
        ctx: Any, x: Tensor, h_first: Tensor | None, c_first: Tensor | None, steps: Any, kernels: Any, hidden: int, batch: int, lstm: bool,
        saves: bool, *parameters: Tensor | None,
    ) -> tuple[Tensor, Tensor, Tensor | None]:  # fmt: skip
        ctx.set_materialize_grads(False)
        saves = saves and any(ctx.needs_input_grad)
        directions = len(kernels)
        y = new_tensor(x, (directions * hidden, steps.columns))
        h_last = new_tensor(x, (directions, batch, hidden))
        c_last = new_tensor(x, (directions, batch, hidden)) if lstm else None
        saved: list[Tensor | None] = []
        for direction, kernel in enumerate(kernels):
            gates = new_tensor(x, (kernel.saved_rows, steps.columns)) if saves else None
            before_h = new_tensor(x, (hidden, steps.columns)) if saves else None
            before_c = new_tensor(x, (hidden, steps.columns)) if saves and lstm else None
            values_input, values_recurrent, bias_input, bias_recurrent = parameters[4 * direction : 4 * direction + 4]
            kernel.forward(
                steps, direction == 1, values_input, values_recurrent, bias_input, bias_recurrent, x, _part(h_first, direction),
                _part(c_first, direction), gates, before_h, before_c, y, direction * hidden, h_last[direction], _part(c_last, direction),
                torch.get_num_threads(),
            )  # fmt: skip
            saved += [values_input, values_recurrent, gates, before_h, before_c]
        if saves:
            ctx.save_for_backward(x, *saved)
            ctx.steps, ctx.kernels, ctx.state_shape, ctx.lstm = steps, kernels, h_last.shape, lstm
        return y, h_last, c_last

    @staticmethod
    @differentiable_once
    def backward(ctx: Any, dy: Tensor | None, dh_last: Tensor | None, dc_last: Tensor | None) -> tuple[Tensor | None, ...]:
        x, *saved = ctx.saved_tensors
        directions, _, hidden = ctx.state_shape
        dy = None if dy is None else dy.contiguous()
        dh_last = None if dh_last is None else dh_last.contiguous()
        dc_last = None if dc_last is None else dc_last.contiguous()
        dx = new_tensor(x, x.shape) if ctx.needs_input_grad[0] else None
        dh_first = new_tensor(x, ctx.state_shape) if ctx.needs_input_grad[1] else None
        dc_first = new_tensor(x, ctx.state_shape) if ctx.needs_input_grad[2] else None
        gradients: list[Tensor | None] = []
        for direction, kernel in enumerate(ctx.kernels):
            values_input, values_recurrent, gates, before_h, before_c = saved[5 * direction : 5 * direction + 5]
            needs = ctx.needs_input_grad[9 + 4 * direction : 13 + 4 * direction]
            rows = kernel.rows
            d_input = new_tensor(x, values_input.shape) if needs[0] else None
            d_recurrent = new_tensor(x, values_recurrent.shape) if needs[1] else None
            d_bias_input = new_tensor(x, (rows,)) if needs[2] else None
            d_bias_recurrent = new_tensor(x, (rows,)) if needs[3] else None
            kernel.backward(
                ctx.steps, direction == 1, values_input, values_recurrent, x, gates, before_h, before_c, dy, directions * hidden,
                direction * hidden, _part(dh_last, direction), _part(dc_last, direction), dx, direction == 1, d_input, d_recurrent,
                d_bias_input, d_bias_recurrent, _part(dh_first, direction), _part(dc_first, direction), torch.get_num_threads(),
            )  # fmt: skip
            gradients += [d_input, d_recurrent, d_bias_input, d_bias_recurrent]
        return dx, dh_first, dc_first, None, None, None, None, None, None, *gradients


def _part(state: Tensor | None, direction: int) -> Tensor | None:
    return None if state is None else state[direction]


class Sequence(NamedTuple):
    """How the examples of an input lie: its steps' sizes, and what differs between the layouts."""

    counts: tuple[int, ...]
    arrangement: Arrangement
    batch_sizes: Tensor | None

    def shape(self, features: int) -> tuple[int, ...]:
        """The shape of an activation of this sequence."""
        steps, batch = len(self.counts), self.counts[0]
        if self.arrangement == "packed":
            return (sum(self.counts), features)
        return {"steps": (steps, batch, features), "batch": (batch, steps, features), "feature": (features, steps, batch)}[self.arrangement]
