"""`SparseLSTM`, `SparseGRU` and `SparseRNN`: torch's recurrent layers over the surviving weights alone.

A whole sequence of one layer and direction is one call of the kernels, forward as well as back through time; between the
stacked layers activations stay tiled by steps, as the kernels read them, and are transposed at the two ends of the stack alone.
"""

from __future__ import annotations

import math
from abc import abstractmethod
from collections.abc import Callable, Mapping
from typing import Any, ClassVar, Literal, Self, TypeAlias

import torch
from torch import Tensor, nn
from torch.nn.utils.rnn import PackedSequence

from secateur import _kernels
from secateur.captures import outside_graphs
from secateur.dropout import Dropout
from secateur.errors import PruningError, UnknownName
from secateur.linear_maps import Block, LinearMap, describe, recurrent_steps
from secateur.masks import Pattern
from secateur.seeds import generator
from secateur.sparse.backward import applied
from secateur.sparse.conversion import sparse_counterpart
from secateur.sparse.through_time import Arrangement, RecurrentLayer, Sequence, into_tiles, out_of_tiles, steps_of
from secateur.sparse.weight import SparseWeight

Layout = Literal["batch", "feature"]
State: TypeAlias = Tensor | tuple[Tensor, Tensor]


class SparseRecurrent(nn.Module):
    """What the three kinds of recurrent layers share; use `SparseLSTM`, `SparseGRU` or `SparseRNN`.

    Each weight matrix is a `SparseWeight` under the name that torch gives it (`weight_ih_l0`, `weight_hh_l0_reverse`, …), so
    the survivors of the first are the parameter `weight_ih_l0.values`; biases are parameters under torch's names. `dropout` is
    Secateur's own, applied to the outputs of each layer but the last. With `layout="feature"` input and output are
    (features, steps, batch).
    """

    _gates: ClassVar[int]
    _dense: ClassVar[type[nn.RNNBase]]

    def __init__(
        self,
        weights: Mapping[str, SparseWeight],
        biases: Mapping[str, Tensor],
        *,
        batch_first: bool = False,
        dropout: float = 0.0,
        layout: Layout = "batch",
    ) -> None:
        super().__init__()
        if layout not in ("batch", "feature") or (layout == "feature" and batch_first):
            raise PruningError(f"layout is 'batch', or 'feature' without batch_first; not {layout!r} with batch_first={batch_first}")
        if "weight_ih_l0" not in weights or "weight_hh_l0" not in weights:
            raise PruningError(f"a recurrent layer has weights weight_ih_l0, weight_hh_l0, …; not {', '.join(weights) or 'none'}")
        self.bidirectional = "weight_ih_l0_reverse" in weights
        self.hidden_size = weights["weight_hh_l0"].shape[1]
        self.input_size = weights["weight_ih_l0"].shape[1]
        self.num_layers = len(weights) // (4 if self.bidirectional else 2)
        self.bias = bool(biases)
        self.batch_first = batch_first
        self.layout: Layout = layout
        shapes = _shapes(self._gates, self.input_size, self.hidden_size, self.num_layers, self.bidirectional)
        given = {name: weight.shape for name, weight in weights.items()}
        if given != shapes:
            raise PruningError(f"weights have shapes {given}; {type(self).__name__} needs {shapes}")
        bias_shapes = {name.replace("weight", "bias"): (shape[0],) for name, shape in shapes.items()} if biases else {}
        given_biases = {name: tuple(bias.shape) for name, bias in biases.items()}
        if given_biases != bias_shapes:
            raise PruningError(f"biases have shapes {given_biases}; {type(self).__name__} needs {bias_shapes}")
        for name in shapes:
            self.add_module(name, weights[name])
        for name in bias_shapes:
            bias = biases[name]
            self.register_parameter(name, bias if isinstance(bias, nn.Parameter) else nn.Parameter(bias.detach().clone()))
        self.between_layers = Dropout(dropout)
        self._kernels: dict[str, tuple[Any, Any, _kernels.Recurrence]] = {}

    @classmethod
    def from_dense(cls, dense: nn.RNNBase, masks: Mapping[str, Tensor | Pattern], *, layout: Layout = "batch") -> Self:
        """The layer `dense` with the weights that `masks` (parameter name -> bool tensor of its shape, or pattern) keeps; a weight
        without a mask is kept whole. Biases are copied. `UnknownName` for a mask of what is no weight of the layer; `PruningError`
        for projections."""
        if not isinstance(dense, cls._dense):
            raise PruningError(f"{cls.__name__} comes from nn.{cls._dense.__name__}, not from {type(dense).__name__}")
        names = _weight_names(dense)
        for name in masks:
            if name not in names:
                raise UnknownName("weight", name, names, f"masks of {cls.__name__}")
        kept = {name: masks[name] if name in masks else Pattern.full(tuple(dense.get_parameter(name).shape)) for name in names}
        weights = {name: SparseWeight.from_dense(dense.get_parameter(name), kept[name]) for name in names}
        biases = {name: bias.detach().clone() for name, bias in _biases(dense).items()}
        return cls.from_weights(dense, weights, biases, layout=layout)

    @classmethod
    def from_weights(
        cls, dense: nn.RNNBase, weights: Mapping[str, SparseWeight], biases: Mapping[str, Tensor], *, layout: Layout = "batch"
    ) -> Self:
        """The layer with the options of `dense`, and these weights and biases. `PruningError` for batch_first with `layout="feature"`."""
        sparse = cls(weights, biases, batch_first=dense.batch_first, dropout=float(dense.dropout), layout=layout, **cls._options(dense))
        return sparse.train(dense.training)

    @classmethod
    def random(
        cls,
        input_size: int,
        hidden_size: int,
        num_layers: int = 1,
        *,
        density: float,
        seed: int,
        bias: bool = True,
        batch_first: bool = False,
        dropout: float = 0.0,
        bidirectional: bool = False,
        layout: Layout = "batch",
        **options: Any,
    ) -> Self:
        """A new layer that was never dense: each matrix keeps floor(density * size + 0.5) weights at random places, uniform within
        the bounds that give a sum over a row's survivors the variance of torch's initial layer. `options` as those of the class."""
        bound = 1.0 / math.sqrt(max(hidden_size * density, 1.0))
        shapes = _shapes(cls._gates, input_size, hidden_size, num_layers, bidirectional)
        weights = {name: SparseWeight.random(shape, density, bound, seed, name) for name, shape in shapes.items()}
        names = [name.replace("weight", "bias") for name in shapes] if bias else []
        limit = 1.0 / math.sqrt(hidden_size)
        biases = {name: torch.rand(cls._gates * hidden_size, generator=generator(seed, name)) * (2 * limit) - limit for name in names}
        return cls(weights, biases, batch_first=batch_first, dropout=dropout, layout=layout, **options)

    def to_dense(self) -> nn.RNNBase:
        """The same layer as torch's, zero where pruned. Its dropout draws from torch's own generator."""
        values = self.weight("weight_ih_l0").values
        make: Callable[..., nn.RNNBase] = self._dense
        dense = make(
            self.input_size,
            self.hidden_size,
            self.num_layers,
            bias=self.bias,
            batch_first=self.batch_first,
            dropout=self.dropout,
            bidirectional=self.bidirectional,
            device=values.device,
            dtype=values.dtype,
            **self._own_options(),
        )
        with torch.no_grad():
            for name, parameter in dense.named_parameters():
                parameter.copy_(self.weight(name).to_dense() if name.startswith("weight") else self.get_parameter(name))
        return dense.train(self.training)

    @property
    def dropout(self) -> float:
        """The rate of dropout between layers."""
        return self.between_layers.p

    def sparse_weights(self) -> dict[str, SparseWeight]:
        """The sparse weights by the names that torch's layer gives them."""
        return {name: self.weight(name) for layer in range(self.num_layers) for name in self._names(layer)}

    def weight(self, name: str) -> SparseWeight:
        """The survivors of the weight that torch calls `name`."""
        found = getattr(self, name)
        assert isinstance(found, SparseWeight)
        return found

    @outside_graphs
    def forward(self, x: Tensor | PackedSequence, hx: Any = None) -> Any:
        """As torch's layer: x (steps, batch, input), (batch, steps, input) with batch_first, (steps, input) without a batch, a packed
        sequence, or (input, steps, batch) with `layout="feature"`; hx the initial state (layers * directions, batch, hidden), zero
        where None. Returns (output, last state). `PruningError` when shapes do not fit."""
        if isinstance(x, PackedSequence):
            if self.layout == "feature":
                raise PruningError("a packed sequence is (examples, features); layout='feature' takes none")
            counts = tuple(x.batch_sizes.tolist())
            states = [
                state if x.sorted_indices is None else state.index_select(1, x.sorted_indices) for state in self._states(hx, counts[0])
            ]
            data, last = self._stack(x.data, Sequence(counts, "packed", x.batch_sizes), states)
            if x.unsorted_indices is not None:
                last = [state.index_select(1, x.unsorted_indices) for state in last]
            return PackedSequence(data, x.batch_sizes, x.sorted_indices, x.unsorted_indices), self._given_back(last)
        if x.dim() == 2 and self.layout == "batch":
            axis = 0 if self.batch_first else 1
            states = [state.unsqueeze(1) for state in self._parts(hx)]
            output, last = self.forward(x.unsqueeze(axis), self._given_back(states) if states else None)
            return output.squeeze(axis), self._given_back([state.squeeze(1) for state in self._parts(last)])
        if x.dim() != 3 or x.shape[0 if self.layout == "feature" else 2] != self.input_size or 0 in x.shape:
            wanted = (
                "(input, steps, batch)"
                if self.layout == "feature"
                else "(batch, steps, input)"
                if self.batch_first
                else "(steps, batch, input)"
            )
            raise PruningError(f"{type(self).__name__} of input size {self.input_size} takes {wanted}, not {tuple(x.shape)}")
        arrangement: Arrangement = "feature" if self.layout == "feature" else "batch" if self.batch_first else "steps"
        steps, batch = {"feature": (x.shape[1], x.shape[2]), "batch": (x.shape[1], x.shape[0]), "steps": (x.shape[0], x.shape[1])}[
            arrangement
        ]
        output, last = self._stack(x, Sequence((batch,) * steps, arrangement, None), self._states(hx, batch))
        return output, self._given_back(last)

    def extra_repr(self) -> str:
        parts = f"{self.input_size}, {self.hidden_size}, num_layers={self.num_layers}, bias={self.bias}, batch_first={self.batch_first}"
        return f"{parts}, bidirectional={self.bidirectional}, layout={self.layout!r}"

    # ---- one stack

    def _stack(self, x: Tensor, sequence: Sequence, states: list[Tensor]) -> tuple[Tensor, list[Tensor]]:
        if x.dim() != len(sequence.shape(1)) or x.shape != sequence.shape(self.input_size):
            raise PruningError(f"{type(self).__name__} of input size {self.input_size} does not take data of shape {tuple(x.shape)}")
        runs = all(self.weight(name).runs_on_kernels(x, *states) for name in self._names(0))
        run = self._on_kernels if runs else self._made_dense
        return run(x, sequence, states)

    def _on_kernels(self, x: Tensor, sequence: Sequence, states: list[Tensor]) -> tuple[Tensor, list[Tensor]]:
        steps = steps_of(sequence.counts, x.dtype is torch.float64)
        directions = 2 if self.bidirectional else 1
        width = directions * self.hidden_size
        logical: Arrangement = "steps" if sequence.arrangement == "feature" else sequence.arrangement
        y = into_tiles(x, steps, sequence.arrangement)
        last: list[list[Tensor]] = []
        for layer in range(self.num_layers):
            if layer and self.training and self.dropout > 0:
                whole = sequence._replace(arrangement=logical).shape(width)
                y = into_tiles(self.between_layers(out_of_tiles(y, steps, logical, whole)), steps, logical)
            first: list[Tensor | None] = [state[directions * layer : directions * (layer + 1)].contiguous() for state in states]
            first += [None] * (2 - len(first))
            parameters: list[Tensor | None] = []
            for name_input, name_recurrent in self._pairs(layer):
                parameters += [
                    self.weight(name_input).values,
                    self.weight(name_recurrent).values,
                    self._bias(name_input),
                    self._bias(name_recurrent),
                ]
            kernels = [self._kernel(*pair) for pair in self._pairs(layer)]
            y, *after = applied(
                RecurrentLayer, y, *first, steps, kernels, self.hidden_size, sequence.counts[0], self._gates == 4, torch.is_grad_enabled(),
                *parameters,
            )  # fmt: skip
            last.append([state for state in after if state is not None])
        return out_of_tiles(y, steps, sequence.arrangement, sequence.shape(width)), [torch.cat(parts) for parts in zip(*last, strict=True)]

    def _made_dense(self, x: Tensor, sequence: Sequence, states: list[Tensor]) -> tuple[Tensor, list[Tensor]]:
        """Where the kernels do not run (another device or dtype): torch's own layer on weights made dense for it."""
        directions = 2 if self.bidirectional else 1
        if not states:
            zero = x.new_zeros(self.num_layers * directions, sequence.counts[0], self.hidden_size)
            states = [zero] * (2 if self._gates == 4 else 1)
        y = x.permute(1, 2, 0) if sequence.arrangement == "feature" else x
        batch_first = sequence.arrangement == "batch"
        run = getattr(torch._VF, self._mode())
        last: list[list[Tensor]] = []
        for layer in range(self.num_layers):
            if layer:
                y = self.between_layers(y)
            weights: list[Tensor] = []
            for pair in self._pairs(layer):
                weights += [self.weight(name).to_dense() for name in pair]
                weights += [bias for bias in map(self._bias, pair) if bias is not None]
            parts = [state[directions * layer : directions * (layer + 1)].to(y.dtype).contiguous() for state in states]
            first: Any = parts if self._gates == 4 else parts[0]
            end = (self.bias, 1, 0.0, self.training, self.bidirectional)
            if sequence.batch_sizes is not None:
                y, *after = run(y, sequence.batch_sizes, first, weights, *end)
            else:
                y, *after = run(y, first, weights, *end, batch_first)
            last.append(after)
        y = y.permute(2, 0, 1) if sequence.arrangement == "feature" else y
        return y, [torch.cat(parts) for parts in zip(*last, strict=True)]

    def _pairs(self, layer: int) -> list[tuple[str, str]]:
        ends = ("", "_reverse") if self.bidirectional else ("",)
        return [(f"weight_ih_l{layer}{end}", f"weight_hh_l{layer}{end}") for end in ends]

    def _names(self, layer: int) -> list[str]:
        return [name for pair in self._pairs(layer) for name in pair]

    def _bias(self, weight: str) -> Tensor | None:
        # Not get_parameter: torch.func.functional_call puts plain tensors in place of parameters.
        return getattr(self, weight.replace("weight", "bias")) if self.bias else None

    def _kernel(self, name_input: str, name_recurrent: str) -> _kernels.Recurrence:
        """The kernels' view of one direction; built anew when survivors have moved."""
        patterns = self.weight(name_input).kernel, self.weight(name_recurrent).kernel
        known = self._kernels.get(name_input)
        if known is None or known[0] is not patterns[0] or known[1] is not patterns[1]:
            known = (*patterns, _kernels.Recurrence(self._cell(), *patterns))
            self._kernels[name_input] = known
        return known[2]

    # ---- states

    def _parts(self, hx: Any) -> list[Tensor]:
        """The tensors of a state: hidden, and an LSTM's cell; none for None."""
        if hx is None:
            return []
        if self._gates == 4:
            if not isinstance(hx, tuple | list) or len(hx) != 2:
                raise PruningError("the state of an LSTM is a pair (hidden, cell)")
            return list(hx)
        if not isinstance(hx, Tensor):
            raise PruningError(f"the state of {type(self).__name__} is one tensor")
        return [hx]

    def _states(self, hx: Any, batch: int) -> list[Tensor]:
        states = self._parts(hx)
        wanted = (self.num_layers * (2 if self.bidirectional else 1), batch, self.hidden_size)
        for state in states:
            if tuple(state.shape) != wanted:
                raise PruningError(f"the state of {type(self).__name__} has shape {wanted} here, not {tuple(state.shape)}")
        return states

    def _given_back(self, states: list[Tensor]) -> State:
        return (states[0], states[1]) if self._gates == 4 else states[0]

    # ---- what the kinds differ in

    @abstractmethod
    def _cell(self) -> str:
        """The kernels' name of the cell."""

    def _mode(self) -> str:
        return self._cell()

    @staticmethod
    def _options(dense: nn.RNNBase) -> dict[str, Any]:
        return {}

    def _own_options(self) -> dict[str, Any]:
        return {}

    def __getstate__(self) -> dict[str, Any]:
        return {**self.__dict__, "_kernels": {}}


class SparseLSTM(SparseRecurrent):
    """`nn.LSTM` (Hochreiter & Schmidhuber 1997) of which only survivors are stored and computed; gates input, forget, cell, output."""

    _gates = 4
    _dense = nn.LSTM

    def _cell(self) -> str:
        return "lstm"


class SparseGRU(SparseRecurrent):
    """`nn.GRU` (Cho et al. 2014) of which only survivors are stored and computed; gates reset, update, new."""

    _gates = 3
    _dense = nn.GRU

    def _cell(self) -> str:
        return "gru"


class SparseRNN(SparseRecurrent):
    """`nn.RNN` (Elman 1990) of which only survivors are stored and computed, with `nonlinearity` "tanh" or "relu"."""

    _gates = 1
    _dense = nn.RNN

    def __init__(
        self,
        weights: Mapping[str, SparseWeight],
        biases: Mapping[str, Tensor],
        *,
        nonlinearity: Literal["tanh", "relu"] = "tanh",
        batch_first: bool = False,
        dropout: float = 0.0,
        layout: Layout = "batch",
    ) -> None:
        super().__init__(weights, biases, batch_first=batch_first, dropout=dropout, layout=layout)
        if nonlinearity not in ("tanh", "relu"):
            raise PruningError(f"nonlinearity is 'tanh' or 'relu', not {nonlinearity!r}")
        self.nonlinearity: Literal["tanh", "relu"] = nonlinearity

    def _cell(self) -> str:
        return self.nonlinearity

    def _mode(self) -> str:
        return f"rnn_{self.nonlinearity}"

    @staticmethod
    def _options(dense: nn.RNNBase) -> dict[str, Any]:
        assert isinstance(dense, nn.RNN)
        return {"nonlinearity": dense.nonlinearity}

    def _own_options(self) -> dict[str, Any]:
        return {"nonlinearity": self.nonlinearity}


def _shapes(gates: int, inputs: int, hidden: int, layers: int, bidirectional: bool) -> dict[str, tuple[int, int]]:
    """Names and shapes of the weight matrices, in torch's order."""
    ends = ("", "_reverse") if bidirectional else ("",)
    return {
        f"weight_{kind}_l{layer}{end}": (gates * hidden, hidden if kind == "hh" else inputs if layer == 0 else len(ends) * hidden)
        for layer in range(layers)
        for end in ends
        for kind in ("ih", "hh")
    }


def _weight_names(dense: nn.RNNBase) -> tuple[str, ...]:
    if dense.proj_size:
        raise PruningError("recurrent layers with projections (proj_size) have no sparse counterpart")
    return tuple(name for name, _ in dense.named_parameters() if name.startswith("weight"))


def _biases(dense: nn.RNNBase) -> dict[str, nn.Parameter]:
    return {name: bias for name, bias in dense.named_parameters() if name.startswith("bias")}


@sparse_counterpart(nn.LSTM, _weight_names)
def _lstm(module: nn.LSTM, weights: Mapping[str, SparseWeight]) -> nn.Module:
    return SparseLSTM.from_weights(module, weights, _biases(module))


@sparse_counterpart(nn.GRU, _weight_names)
def _gru(module: nn.GRU, weights: Mapping[str, SparseWeight]) -> nn.Module:
    return SparseGRU.from_weights(module, weights, _biases(module))


@sparse_counterpart(nn.RNN, _weight_names)
def _rnn(module: nn.RNN, weights: Mapping[str, SparseWeight]) -> nn.Module:
    return SparseRNN.from_weights(module, weights, _biases(module))


_GATE_NAMES = {4: ("input", "forget", "cell", "output"), 3: ("reset", "update", "new"), 1: ("hidden",)}


@describe(SparseRecurrent)
def _recurrent_maps(module: SparseRecurrent) -> list[LinearMap]:
    size = module.hidden_size
    blocks = tuple(Block(gate, i * size, (i + 1) * size) for i, gate in enumerate(_GATE_NAMES[module._gates]))
    width = size * (2 if module.bidirectional else 1)
    return [
        LinearMap(
            f"{name}.values", "", "recurrent", weight.shape, uses=lambda inputs, output: recurrent_steps(output, width), blocks=blocks,
            bias=name.replace("weight", "bias") if module.bias else None, excluded_rows=weight.excluded_rows,
        )
        for name, weight in module.sparse_weights().items()
    ]  # fmt: skip
