"""The one table of layer kinds: `linear_maps(model)` lists every linear map of any network.

Scores, scopes, units, initialisers, allocations, accounting, selectors, folding and `compress` read this table; no
other room asks `isinstance`. A layer of one's own joins it with `@describe(MyLayer)`.
"""

from __future__ import annotations

import sys
import warnings
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from fnmatch import fnmatchcase
from math import prod
from typing import Any, Literal, TypeVar, get_args

from torch import Tensor, nn

from secateur.errors import PruningError, UnknownName
from secateur.masks import Mask, Pattern

Kind = Literal["linear", "conv", "recurrent", "attention", "embedding"]
OtherKind = Literal["bias", "norm", "other"]
SELECTABLE: tuple[str, ...] = (*get_args(Kind), "bias", "norm")

DEFAULT_PRUNABLE: tuple[str, ...] = ("linear", "conv", "recurrent", "attention")


@dataclass(frozen=True)
class Block:
    """A named range of a linear map's outputs: a gate of a recurrent layer, the q, k or v of an attention."""

    name: str
    start: int
    stop: int


Uses = Callable[[tuple[Any, ...], Any], int]
"""(inputs of the module's forward, its output) for one example -> how often each weight is multiplied."""


@dataclass(frozen=True)
class LinearMap:
    """One linear map: a parameter of shape `shape` whose axis 0 are outputs and whose other axes are inputs.

    `transposed` marks a tensor whose axes 0 and 1 are (inputs, outputs) instead: an embedding, whose rows are inputs.
    """

    parameter: str
    module: str
    kind: Kind
    shape: tuple[int, ...]
    uses: Uses
    transposed: bool = False
    blocks: tuple[Block, ...] = ()
    heads: int = 1
    bias: str | None = None
    tied: tuple[str, ...] = ()
    excluded_rows: tuple[int, ...] = ()
    sparse: str | None = None

    @property
    def output_axis(self) -> int:
        """The axis of `shape` along which outputs lie."""
        return 1 if self.transposed else 0

    @property
    def input_axes(self) -> tuple[int, ...]:
        """The axes of `shape` along which inputs lie."""
        return tuple(axis for axis in range(len(self.shape)) if axis != self.output_axis)

    @property
    def fan_in(self) -> int:
        """Number of inputs of one output. An embedding's output has one: a row is looked up, not summed."""
        return 1 if self.kind == "embedding" else prod(self.shape[axis] for axis in self.input_axes)

    @property
    def fan_out(self) -> int:
        """Number of outputs that one input reaches."""
        return self.shape[self.output_axis] * prod(self.shape[2:])

    def pattern(self) -> Pattern:
        """The pattern that keeps every prunable weight of this map."""
        return Pattern.full(self.shape, self.excluded_rows)


M = TypeVar("M", bound=nn.Module)
_describers: dict[type[nn.Module] | str, Callable[[Any], Sequence[LinearMap]]] = {}


def dotted_name(layer: type[nn.Module]) -> str:
    """The name by which a class is known whose library may not be there: "package.module.Class"."""
    return f"{layer.__module__}.{layer.__qualname__}"


def describe(layer: type[M] | str) -> Callable[[Callable[[M], Sequence[LinearMap]]], Callable[[M], Sequence[LinearMap]]]:
    """Register how a layer, a class or its dotted name, is described: a function (module) -> its linear maps, parameter names local to it.

    It serves subclasses too. Names in `parameter` and `bias` become the model's; `module` and `tied` are filled in.
    """

    def decorate(describer: Callable[[M], Sequence[LinearMap]]) -> Callable[[M], Sequence[LinearMap]]:
        _describers[layer] = describer
        return describer

    return decorate


def linear_maps(model: nn.Module) -> list[LinearMap]:
    """Every linear map of `model`, in the order of its modules. A tensor shared by several modules is listed once, under
    the name that `named_parameters()` gives it; its other names stand in `tied`, and its kind is that of its first
    module that is no embedding (a tied output layer multiplies; a look-up does not)."""
    names_of: dict[int, list[str]] = {}
    for name, parameter in model.named_parameters(remove_duplicate=False):
        names_of.setdefault(id(parameter), []).append(name)
    found: dict[str, LinearMap] = {}
    for module_name, module, locals_ in described_layers(model):
        for local in locals_:
            names = names_of[id(module.get_parameter(local.parameter))]
            placed = replace(
                local,
                parameter=names[0],
                module=module_name,
                bias=_joined(module_name, local.bias) if local.bias else None,
                tied=tuple(names[1:]),
            )
            known = found.get(names[0])
            if known is None:
                found[names[0]] = placed
            else:
                found[names[0]] = _tied_maps(known, placed)
    return list(found.values())


def described_layers(model: nn.Module) -> Iterator[tuple[str, nn.Module, Sequence[LinearMap]]]:
    """(name, module, its linear maps with parameter names local to it) of each layer, tied or not. `PruningError` for a parameter that is
    computed from others. What lies inside a described layer is part of it."""
    covered: tuple[str, ...] = ()
    for name, module in model.named_modules():
        keys = (key for kind in type(module).__mro__ for key in (kind, dotted_name(kind)))
        describer = next((_describers[key] for key in keys if key in _describers), None)
        if describer is None or name.startswith(covered):
            continue
        covered += (f"{name}." if name else "",)
        maps = describer(module)
        for entry in maps:
            try:
                module.get_parameter(entry.parameter)
            except AttributeError:
                raise PruningError(
                    f"{_joined(name, entry.parameter)!r} is computed from other parameters (a parametrisation, a weight norm, "
                    "torch.nn.utils.prune): make it a plain parameter again first, with remove_parametrizations or prune.remove"
                ) from None
        yield name, module, maps


def parameter_kinds(model: nn.Module) -> dict[str, Kind | OtherKind]:
    """The kind of each named parameter: its linear map's, or `norm`, `bias`, `other`."""
    kinds: dict[str, Kind | OtherKind] = {entry.parameter: entry.kind for entry in linear_maps(model)}
    norms = tuple(
        name for name, module in model.named_modules() if type(module).__name__.lower().endswith(("norm", "norm1d", "norm2d", "norm3d"))
    )
    for name, _ in model.named_parameters():
        if name not in kinds:
            owner, _, leaf = name.rpartition(".")
            kinds[name] = "norm" if owner in norms else "bias" if "bias" in leaf else "other"
    return kinds


def prunable_mask(model: nn.Module, prunable: Iterable[str] = DEFAULT_PRUNABLE) -> Mask:
    """The mask that keeps every weight of the selected parameters.

    `prunable` holds kinds (`linear`, `conv`, `recurrent`, `attention`, `embedding`, `bias`, `norm`) and fnmatch patterns on
    parameter names; one that starts with `!` excludes what it matches. `PruningError` when a selector matches nothing
    or nothing is selected; `UnknownName` when a plain word is no kind. A warning names the matrices of layers that the table does not know,
    unless a selector takes them or excludes them: else they would stay dense without a word.
    """
    maps = {entry.parameter: entry for entry in linear_maps(model)}
    kinds = parameter_kinds(model)
    shapes = {name: tuple(parameter.shape) for name, parameter in model.named_parameters()}
    chosen: set[str] = set()
    excluded: set[str] = set()
    for selector in prunable:
        word = selector.removeprefix("!")
        names = {name for name in kinds if kinds[name] == word or fnmatchcase(name, word)}
        if not names and word not in SELECTABLE:
            if not any(mark in word for mark in "*?[."):
                raise UnknownName("selector", word, (*SELECTABLE, *kinds), "prunable")
            raise PruningError(f"prunable: {selector!r} matches no parameter; there are {', '.join(kinds)}")
        (excluded if selector.startswith("!") else chosen).update(names)
    if not chosen - excluded:
        raise PruningError(f"prunable: {list(prunable)} selects nothing; the model's parameters are of kinds {sorted(set(kinds.values()))}")
    unknown = [name for name in kinds if kinds[name] == "other" and sum(length > 1 for length in shapes[name]) > 1]
    left = [name for name in unknown if name not in chosen | excluded]
    if left:
        weights, named = sum(prod(shapes[name]) for name in left), ", ".join(left[:3]) + (", …" if len(left) > 3 else "")
        warnings.warn(
            f"{weights:,} weights are not pruned: {named} belong to layers that the table of linear maps does not know. Describe the layer "
            "(secateur.linear_maps.describe), or name the parameters in `prunable`, with a leading '!' to leave them out.",
            stacklevel=_level_outside(),
        )
    return Mask({name: maps[name].pattern() if name in maps else Pattern.full(shapes[name]) for name in kinds if name in chosen - excluded})


def _level_outside() -> int:
    """The `stacklevel` at which a warning of the caller points to the first line outside the package."""
    level, frame = 1, sys._getframe(1)
    while frame.f_back and frame.f_globals.get("__name__", "").partition(".")[0] == __name__.partition(".")[0]:
        level, frame = level + 1, frame.f_back
    return level


def _joined(module: str, name: str) -> str:
    return f"{module}.{name}" if module else name


def _tied_maps(first: LinearMap, second: LinearMap) -> LinearMap:
    """One entry for a tensor with two roles: the multiplying one's, with the excluded rows of both."""
    role = second if first.kind == "embedding" else first
    rows = tuple(sorted({*first.excluded_rows, *second.excluded_rows}))
    return replace(role, parameter=first.parameter, tied=first.tied, excluded_rows=rows)


def _positions(output: Any, features: int) -> int:
    """How many vectors of `features` numbers an output holds."""
    tensor = output[0] if isinstance(output, tuple) else output
    assert isinstance(tensor, Tensor)
    return tensor.numel() // features


@describe(nn.Linear)
def _linear(module: nn.Linear) -> list[LinearMap]:
    return [
        LinearMap(
            "weight", "", "linear", tuple(module.weight.shape),
            uses=lambda inputs, output: _positions(output, module.out_features),
            bias="bias" if module.bias is not None else None, sparse="SparseLinear",
        )
    ]  # fmt: skip


@describe("transformers.pytorch_utils.Conv1D")
def _transposed_linear(module: Any) -> list[LinearMap]:
    """A linear layer with its weight as (inputs, outputs): GPT-2's."""
    return [
        LinearMap(
            "weight", "", "linear", tuple(module.weight.shape),
            uses=lambda inputs, output: _positions(output, module.weight.shape[1]),
            transposed=True, bias="bias", sparse="SparseTransposedLinear",
        )
    ]  # fmt: skip


def _conv(module: nn.Conv1d | nn.Conv2d) -> list[LinearMap]:
    sparse = "SparseConv1d" if isinstance(module, nn.Conv1d) and module.groups == 1 else None
    return [
        LinearMap(
            "weight", "", "conv", tuple(module.weight.shape),
            uses=lambda inputs, output: _positions(output, module.out_channels),
            bias="bias" if module.bias is not None else None, sparse=sparse,
        )
    ]  # fmt: skip


describe(nn.Conv1d)(_conv)
describe(nn.Conv2d)(_conv)


def _embedding(module: nn.Embedding | nn.EmbeddingBag) -> list[LinearMap]:
    rows = () if module.padding_idx is None else (module.padding_idx % module.num_embeddings,)
    return [
        LinearMap(
            "weight", "", "embedding", tuple(module.weight.shape), uses=lambda inputs, output: 0,
            transposed=True, excluded_rows=rows, sparse="SparseEmbedding" if isinstance(module, nn.Embedding) else None,
        )
    ]  # fmt: skip


describe(nn.Embedding)(_embedding)
describe(nn.EmbeddingBag)(_embedding)

_GATES = {"LSTM": ("input", "forget", "cell", "output"), "GRU": ("reset", "update", "new")}


@describe(nn.RNNBase)
def _recurrent(module: nn.RNNBase) -> list[LinearMap]:
    gates = _GATES.get(module.mode, ("hidden",))
    size = module.hidden_size
    blocks = tuple(Block(gate, i * size, (i + 1) * size) for i, gate in enumerate(gates))
    directions = 2 if module.bidirectional else 1
    maps = []
    for name in module._flat_weights_names:
        if name.startswith("weight_"):
            projection = name.startswith("weight_hr")
            maps.append(
                LinearMap(
                    name, "", "recurrent", tuple(getattr(module, name).shape),
                    uses=lambda inputs, output: recurrent_steps(output, directions * (module.proj_size or size)),
                    blocks=() if projection else blocks,
                    bias=name.replace("weight_", "bias_") if module.bias and not projection else None,
                    sparse=None if module.proj_size else f"Sparse{module.mode.partition('_')[0]}",
                )
            )  # fmt: skip
    return maps


def recurrent_steps(output: Any, features: int) -> int:
    """How many vectors of `features` numbers the output of a recurrent layer holds, packed or not."""
    sequence = output[0] if isinstance(output, tuple) else output
    if isinstance(sequence, nn.utils.rnn.PackedSequence):
        return int(sequence.data.shape[0])
    return _positions(sequence, features)


@describe(nn.MultiheadAttention)
def _attention(module: nn.MultiheadAttention) -> list[LinearMap]:
    width = module.embed_dim

    def query_positions(inputs: tuple[Any, ...], output: Any) -> int:
        return _positions(inputs[0], width)

    def key_positions(inputs: tuple[Any, ...], output: Any) -> int:
        return _positions(inputs[1], module.kdim or width)

    out = LinearMap(
        "out_proj.weight", "", "attention", tuple(module.out_proj.weight.shape), uses=query_positions,
        heads=module.num_heads, bias="out_proj.bias" if module.out_proj.bias is not None else None, sparse="SparseLinear",
    )  # fmt: skip
    bias = "in_proj_bias" if module.in_proj_bias is not None else None
    if module.in_proj_weight is not None:
        # Self-attention multiplies each third of the packed weight once a position; in cross-attention q and k, v differ
        # in length, and `uses` gives the mean of the three.
        packed = LinearMap(
            "in_proj_weight", "", "attention", tuple(module.in_proj_weight.shape),
            uses=lambda inputs, output: (query_positions(inputs, output) + 2 * key_positions(inputs, output)) // 3,
            blocks=tuple(Block(name, i * width, (i + 1) * width) for i, name in enumerate(("q", "k", "v"))),
            heads=module.num_heads, bias=bias, sparse="SparseLinear",
        )  # fmt: skip
        return [packed, out]
    separate = [
        LinearMap(
            f"{name}_proj_weight",
            "",
            "attention",
            tuple(module.get_parameter(f"{name}_proj_weight").shape),
            uses=uses,
            heads=module.num_heads,
        )
        for name, uses in (("q", query_positions), ("k", key_positions), ("v", key_positions))
    ]
    return [*separate, out]
