"""The linearisation of a network that SynFlow measures: what each nonlinear piece is replaced by.

Tanaka et al. (2020) define R = 1^T |W_L| … |W_1| 1 for networks whose activations pass positive numbers on. Here every weight enters by
its magnitude, in double precision, and:

- activations (tanh, sigmoid, GELU, softmax, …) pass their input on, as ReLU does with what is positive; dropout is off;
- normalisation scales by its |gamma|, without statistics;
- a **product of flows becomes their sum**, so that each factor takes part and R stays linear in each layer: attention adds the query to the
  means over positions of keys and values; a matrix product of two activations (attention written out) adds the means of the rows and
  columns that it would multiply; a recurrent layer adds its gates; a gated linear unit adds its halves;
- a **recurrent layer** runs one step back: with S the sum of gates, h = S(W x) + S(U S(W x)) at every position, whatever the length;
- an **embedding** gives ones; where it is scored itself, every position gets the mean of all its rows: each word is there alike;
- a bias takes part (as |b|) only where it is scored itself; masked positions carry nothing.

Where one vector passes a linear layer, its scores |w| * dy x^T come with the backward pass, from weights as they are: `SingleVectors`.
"""

from __future__ import annotations

import functools
from collections.abc import Callable, Collection, Iterator, Mapping
from contextlib import contextmanager
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn
from torch.nn import functional as F
from torch.nn.utils.rnn import PackedSequence
from torch.overrides import TorchFunctionMode
from torch.utils._pytree import tree_map_only

from secateur import _kernels
from secateur.errors import PruningError
from secateur.linear_maps import described_layers


@contextmanager
def linearised(model: nn.Module, tensors: Mapping[str, Tensor], scored: Collection[str], singles: SingleVectors) -> Iterator[None]:
    """Within it, calls of `model` follow the linearisation. `tensors`: what stands in for its parameters and buffers; `scored`: names."""
    replaced: list[tuple[nn.Module, Any]] = []
    try:
        for _, module, maps in described_layers(model):
            recurrent = any(entry.kind == "recurrent" for entry in maps)
            make = _recurrent_flow if recurrent else _attention_flow if hasattr(module, "in_proj_weight") else None
            if make is not None:
                replaced.append((module, module.__dict__.get("forward")))
                object.__setattr__(module, "forward", make(module))
        with _LinearFunctions(tensors, scored, singles):
            yield
    finally:
        for module, forward in replaced:
            if forward is None:
                del module.__dict__["forward"]
            else:
                object.__setattr__(module, "forward", forward)


class SingleVectors:
    """Weights (outputs, inputs) of linear layers that one vector passes: no copy in double precision is made of them, and no gradient.

    What stands in for one holds no number; `linearised` passes vectors through the weight itself, and gives every other use of it its
    magnitudes in double precision. `anchor` is what to ask the gradient of, so that the backward pass leaves `scores`.
    """

    def __init__(self, weights: Mapping[str, Tensor]) -> None:
        nothing = torch.tensor(torch.nan, dtype=torch.float64)
        self.stand_ins = {name: nothing.expand(weight.shape) for name, weight in weights.items()}
        self.scores: dict[str, Tensor] = {}
        self.magnitudes: dict[str, Tensor] = {}
        self.finite = True  # all of the scores are
        self.anchor = torch.zeros((), dtype=torch.float64, requires_grad=True)
        self._weights = weights
        self._names = {id(its): name for name, its in self.stand_ins.items()}

    @staticmethod
    def takes(weight: Tensor) -> bool:
        """Whether it can be passed so."""
        return weight.device.type == "cpu" and weight.is_contiguous() and weight.dtype in (torch.float32, torch.float64)

    def passed(self, x: Tensor, weight: Tensor) -> Tensor | None:
        """|weight| x for what stands in for a weight, and one vector x; else None."""
        name = self._names.get(id(weight))
        if name is None or x.numel() != x.shape[-1] or x.device.type != "cpu" or x.dtype != torch.float64:
            return None
        return _Passed.apply(x, self.anchor, self._weights[name], functools.partial(self._add, name))  # type: ignore[no-any-return,no-untyped-call]

    def among(self, values: Any) -> bool:
        """Whether something that stands in for a weight is among values, however deep in tuples, lists and dicts."""
        if isinstance(values, tuple | list | dict):
            return any(self.among(its) for its in (values.values() if isinstance(values, dict) else values))
        return id(values) in self._names

    def seen(self, value: Any) -> Any:
        """What anything but a linear layer sees of a value: the magnitudes, of what stands in for a weight."""
        name = self._names.get(id(value))
        if name is None:
            return value
        if name not in self.magnitudes:
            self.magnitudes[name] = self._weights[name].to(torch.float64, copy=True).abs_().requires_grad_(True)
        return self.magnitudes[name]

    def _add(self, name: str, scores: Tensor, finite: bool) -> None:
        self.finite &= finite
        self.scores[name] = self.scores[name].add_(scores) if name in self.scores else scores


class _Passed(torch.autograd.Function):
    """y = |W| x for one vector; backwards dx = |W|^T dy, and |W| * dy x^T is handed on."""

    @staticmethod
    def forward(context: Any, x: Tensor, anchor: Tensor, weight: Tensor, hand_on: Callable[[Tensor, bool], None]) -> Tensor:
        y = x.new_empty(*x.shape[:-1], weight.shape[0])
        _kernels.flow_on(weight.numpy(), _vector(x), _vector(y), torch.get_num_threads())
        context.save_for_backward(x)
        context.weight, context.hand_on = weight, hand_on
        return y

    @staticmethod
    def backward(context: Any, dy: Tensor) -> tuple[Tensor, None, None, None]:
        (x,) = context.saved_tensors
        dx, scores = torch.empty_like(x, memory_format=torch.contiguous_format), dy.new_empty(context.weight.shape)
        threads = torch.get_num_threads()
        finite = _kernels.flow_back(context.weight.numpy(), _vector(x), _vector(dy), _vector(dx), scores.numpy(), threads)
        context.hand_on(scores, finite)
        return dx, None, None, None


def _vector(x: Tensor) -> NDArray[np.float64]:
    return x.detach().contiguous().view(-1).numpy()


def _recurrent_flow(module: Any) -> Callable[..., Any]:
    if not hasattr(module, "all_weights"):
        raise PruningError(f"score 'synflow' has no linearisation of {type(module).__name__}: exclude its parameters with '!' in prunable")

    def forward(inputs: Tensor | PackedSequence, state: Any = None) -> Any:
        x = inputs.data if isinstance(inputs, PackedSequence) else inputs
        last, cells = [], []
        for level in range(module.num_layers):
            outputs = []
            for way in ("", "_reverse")[: 2 if module.bidirectional else 1]:
                weight: dict[str, Any] = {
                    part: getattr(module, f"{part}_l{level}{way}", None)
                    for part in ("weight_ih", "weight_hh", "weight_hr", "bias_ih", "bias_hh")
                }
                seen = _summed(F.linear(x, weight["weight_ih"], weight["bias_ih"]), module.hidden_size)
                back = seen if weight["weight_hr"] is None else F.linear(seen, weight["weight_hr"])
                cell = seen + _summed(F.linear(back, weight["weight_hh"], weight["bias_hh"]), module.hidden_size)
                outputs.append(cell if weight["weight_hr"] is None else F.linear(cell, weight["weight_hr"]))
                cells.append(_at_the_end(cell, inputs, module))
                last.append(_at_the_end(outputs[-1], inputs, module))
            x = torch.cat(outputs, -1)
        hidden, cell_state = torch.stack(last), torch.stack(cells)
        whole = inputs._replace(data=x) if isinstance(inputs, PackedSequence) else x
        return whole, (hidden, cell_state) if module.mode == "LSTM" else hidden

    return forward


def _summed(gates: Tensor, size: int) -> Tensor:
    """(…, gates * size) -> (…, size): the sum of the gates."""
    return gates.reshape(*gates.shape[:-1], -1, size).sum(-2)


def _at_the_end(sequence: Tensor, inputs: Tensor | PackedSequence, module: Any) -> Tensor:
    """One position of each sequence: all positions carry the same kind of flow."""
    if isinstance(inputs, PackedSequence):
        return sequence[: int(inputs.batch_sizes[0])]
    if sequence.dim() == 2:
        return sequence[-1]
    return sequence[:, -1] if module.batch_first else sequence[-1]


def _attention_flow(module: Any) -> Callable[..., Any]:
    def forward(query: Tensor, key: Tensor, value: Tensor, *unused: Any, **more: Any) -> tuple[Tensor, None]:
        if module.in_proj_weight is not None:
            weights = module.in_proj_weight.chunk(3)
        else:
            weights = (module.q_proj_weight, module.k_proj_weight, module.v_proj_weight)
        biases = module.in_proj_bias.chunk(3) if module.in_proj_bias is not None else (None, None, None)
        q, k, v = (F.linear(x, weight, bias) for x, weight, bias in zip((query, key, value), weights, biases, strict=True))
        positions = 1 if module.batch_first and q.dim() == 3 else 0
        context = q + k.mean(positions, keepdim=True) + v.mean(positions, keepdim=True)
        return F.linear(context, module.out_proj.weight, module.out_proj.bias), None

    return forward


def _passed_on(x: Tensor, *unused: Any, **more: Any) -> Tensor:
    return x


def _scaled_last(x: Tensor, shape: Any, weight: Tensor | None = None, bias: Tensor | None = None, *unused: Any, **more: Any) -> Tensor:
    x = x if weight is None else x * weight
    return x if bias is None else x + bias


def _scaled_channels(x: Tensor, *arguments: Any, weight: Tensor | None = None, bias: Tensor | None = None, **more: Any) -> Tensor:
    along = (1, -1, *(1,) * (x.dim() - 2))
    x = x if weight is None else x * weight.view(along)
    return x if bias is None else x + bias.view(along)


def _batch_norm(
    x: Tensor, mean: Any = None, var: Any = None, weight: Tensor | None = None, bias: Tensor | None = None, *unused: Any, **more: Any
) -> Tensor:
    return _scaled_channels(x, weight=weight, bias=bias)


def _group_norm(x: Tensor, groups: int, weight: Tensor | None = None, bias: Tensor | None = None, *unused: Any, **more: Any) -> Tensor:
    return _scaled_channels(x, weight=weight, bias=bias)


def _attended(query: Tensor, key: Tensor, value: Tensor, *unused: Any, **more: Any) -> Tensor:
    return query + key.mean(-2, keepdim=True) + value.mean(-2, keepdim=True)


def _halves(x: Tensor, dim: int = -1) -> Tensor:
    first, second = x.chunk(2, dim)
    return first + second


def _unmasked(x: Tensor, mask: Tensor, *unused: Any, **more: Any) -> Tensor:
    return x * ~mask


_ACTIVATIONS = [
    *("tanh", "sigmoid", "gelu", "silu", "elu", "selu", "celu", "leaky_relu", "softplus", "mish", "hardtanh", "hardswish", "hardsigmoid"),
    *("relu6", "logsigmoid", "softsign", "softmax", "log_softmax", "prelu", "dropout", "dropout1d", "dropout2d", "dropout3d"),
    *("alpha_dropout", "feature_dropout", "feature_alpha_dropout"),
]

_REPLACED: dict[Any, Callable[..., Tensor]] = {
    **{getattr(room, name): _passed_on for room in (torch, Tensor, F) for name in _ACTIVATIONS if hasattr(room, name)},
    **{getattr(room, name): _unmasked for room in (torch, Tensor) for name in ("masked_fill", "masked_fill_") if hasattr(room, name)},
    F.layer_norm: _scaled_last, torch.layer_norm: _scaled_last, F.rms_norm: _scaled_last,
    F.batch_norm: _batch_norm, torch.batch_norm: _batch_norm, F.instance_norm: _batch_norm, F.group_norm: _group_norm,
    F.scaled_dot_product_attention: _attended, F.glu: _halves,
}  # fmt: skip


_PRODUCTS = {torch.matmul, Tensor.matmul, Tensor.__matmul__, torch.bmm, Tensor.bmm}


class _LinearFunctions(TorchFunctionMode):
    """Replaces the functions that a forward pass calls."""

    def __init__(self, tensors: Mapping[str, Tensor], scored: Collection[str], singles: SingleVectors) -> None:
        super().__init__()
        self._singles = singles
        self._fixed = {id(tensor) for tensor in tensors.values()}
        self._scored = {id(tensors[name]) for name in scored}

    def __torch_function__(self, function: Any, types: Any, args: tuple[Any, ...] = (), kwargs: dict[str, Any] | None = None) -> Any:
        kwargs = kwargs or {}
        if function is F.linear and len(args) > 1 and (passed := self._singles.passed(args[0], args[1])) is not None:
            bias = args[2] if len(args) > 2 else kwargs.get("bias")
            return passed if bias is None else passed + bias
        if self._singles.among((args, kwargs)):
            args, kwargs = tree_map_only(Tensor, self._singles.seen, (args, kwargs))
            magnitudes = {id(its) for its in self._singles.magnitudes.values()}
            self._fixed |= magnitudes
            self._scored |= magnitudes
        if function is F.embedding or function is torch.embedding:
            table, tokens = (args[1], args[0]) if function is F.embedding else (args[0], args[1])
            return self._looked_up(table, tokens.shape)
        if function is F.embedding_bag:
            tokens, table, offsets = args[0], args[1], args[2] if len(args) > 2 else kwargs.get("offsets")
            return self._looked_up(table, tokens.shape[:1] if offsets is None else offsets.shape)
        if function in _PRODUCTS and not any(self._is_weight(factor) for factor in args[:2]):
            return args[0].mean(-1, keepdim=True) + args[1].mean(-2, keepdim=True)
        replacement = _REPLACED.get(function)
        return replacement(*args, **kwargs) if replacement is not None else function(*args, **kwargs)

    def _is_weight(self, factor: Tensor) -> bool:
        """Whether it is a parameter or buffer, or a view of one; whatever else is multiplied is an activation."""
        return id(factor) in self._fixed or id(factor._base) in self._fixed or factor.dim() < 2

    def _looked_up(self, table: Tensor, shape: tuple[int, ...]) -> Tensor:
        row = table.mean(0) if id(table) in self._scored else torch.ones_like(table[0])
        return row.expand(*shape, -1)
