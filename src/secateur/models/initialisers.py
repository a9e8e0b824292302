"""Initialisers: they overwrite every parameter of a network with values drawn from one generator.

Each reads `linear_maps`, so that fans are those of one gate or one attention projection, never of a stacked matrix.
Unless an initialiser says otherwise: biases are zero, normalisation starts as the identity, hidden-to-hidden matrices are
orthogonal gate by gate, an embedding counts as a map of fan-in 1 (a row is looked up, not summed), padding rows are zero.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from typing import TypeVar

import torch
from torch import Tensor, nn

from secateur.linear_maps import LinearMap, linear_maps, parameter_kinds
from secateur.registry import initialisers

M = TypeVar("M", bound=nn.Module)
Fill = Callable[[Tensor, int, int], Tensor]
"""(a block's weights, its fan-in, its fan-out), filled in place."""


def initialised(make: Callable[[], M], init: str, generator: torch.Generator, **options: float) -> M:
    """The module that `make` builds, with every parameter drawn by the initialiser `init`; no global random state is consumed."""
    with torch.device("meta"):
        model = make()
    model.to_empty(device="cpu")
    initialisers[init](model, generator, **options)
    return model


def start_from_vectors(embedding: nn.Embedding | nn.EmbeddingBag, vectors: Tensor | None) -> None:
    """Overwrite the embedding with pretrained `vectors` (vocabulary, dimension), if there are any; the padding row stays zero."""
    if vectors is not None:
        with torch.no_grad():
            embedding.weight.copy_(vectors)
            if embedding.padding_idx is not None:
                embedding.weight[embedding.padding_idx] = 0


@initialisers.register("xavier-uniform")
@torch.no_grad()
def xavier_uniform(model: nn.Module, generator: torch.Generator) -> None:
    """Uniform in ±sqrt(6 / (fan_in + fan_out)) (Glorot & Bengio 2010)."""
    _by_block(model, generator, lambda w, fan_in, fan_out: _uniform(w, math.sqrt(6 / (fan_in + fan_out)), generator))


@initialisers.register("xavier-normal")
@torch.no_grad()
def xavier_normal(model: nn.Module, generator: torch.Generator) -> None:
    """Normal with variance 2 / (fan_in + fan_out) (Glorot & Bengio 2010): the initialiser of Frankle & Carbin."""
    _by_block(model, generator, lambda w, fan_in, fan_out: w.normal_(0, math.sqrt(2 / (fan_in + fan_out)), generator=generator))


@initialisers.register("kaiming-uniform")
@torch.no_grad()
def kaiming_uniform(model: nn.Module, generator: torch.Generator) -> None:
    """Uniform in ±sqrt(6 / fan_in), for ReLU (He et al. 2015)."""
    _by_block(model, generator, lambda w, fan_in, fan_out: _uniform(w, math.sqrt(6 / fan_in), generator))


@initialisers.register("kaiming-normal")
@torch.no_grad()
def kaiming_normal(model: nn.Module, generator: torch.Generator) -> None:
    """Normal with variance 2 / fan_in, for ReLU (He et al. 2015)."""
    _by_block(model, generator, lambda w, fan_in, fan_out: w.normal_(0, math.sqrt(2 / fan_in), generator=generator))


@initialisers.register("uniform")
@torch.no_grad()
def uniform(model: nn.Module, generator: torch.Generator, *, scale: float = 0.1) -> None:
    """Every weight and bias uniform in ±scale, recurrent ones too; normalisation as the identity (Zaremba et al. 2014)."""
    maps = {entry.parameter: entry for entry in linear_maps(model)}
    kinds = parameter_kinds(model)
    for name, parameter in model.named_parameters():
        if kinds[name] == "norm":
            _constant(name, parameter)
        else:
            _uniform(parameter, scale, generator)
        if name in maps:
            _clear_padding(parameter, maps[name])


@initialisers.register("keras")
@torch.no_grad()
def keras(model: nn.Module, generator: torch.Generator) -> None:
    """Keras' defaults: Glorot-uniform and orthogonal over *stacked* gates, embeddings uniform in ±0.05, LSTM forget bias 1."""
    for name, parameter in _constants(model):
        _constant(name, parameter)
    for entry in linear_maps(model):
        weight = model.get_parameter(entry.parameter)
        if entry.kind == "embedding":
            _uniform(weight, 0.05, generator)
        elif _is_hidden_to_hidden(entry):
            nn.init.orthogonal_(weight, generator=generator)
        else:
            _uniform(weight, math.sqrt(6 / (entry.fan_in + entry.fan_out)), generator)
        _clear_padding(weight, entry)
        forget = next((block for block in entry.blocks if block.name == "forget"), None)
        if forget is not None and entry.bias is not None and not _is_hidden_to_hidden(entry):
            model.get_parameter(entry.bias)[forget.start : forget.stop] = 1


@initialisers.register("torch")
@torch.no_grad()
def torch_defaults(model: nn.Module, generator: torch.Generator) -> None:
    """PyTorch's defaults: uniform in ±1/sqrt(fan_in) (in recurrent layers ±1/sqrt(hidden size)), biases too; embeddings N(0, 1)."""
    for name, parameter in _constants(model):
        _constant(name, parameter)
    for entry in linear_maps(model):
        weight = model.get_parameter(entry.parameter)
        bias = model.get_parameter(entry.bias) if entry.bias is not None else None
        if entry.kind == "embedding":
            weight.normal_(generator=generator)
        elif entry.kind == "attention" and entry.blocks:
            _uniform(weight, math.sqrt(6 / (entry.fan_in + entry.fan_out)), generator)
        else:
            bound = 1 / math.sqrt(_hidden_size(entry) if entry.kind == "recurrent" else entry.fan_in)
            _uniform(weight, bound, generator)
            if bias is not None and entry.kind != "attention":
                _uniform(bias, bound, generator)
        _clear_padding(weight, entry)


def _by_block(model: nn.Module, generator: torch.Generator, fill: Fill) -> None:
    for name, parameter in _constants(model):
        _constant(name, parameter)
    for entry in linear_maps(model):
        weight = model.get_parameter(entry.parameter)
        if entry.kind == "embedding":
            fill(weight, 1, entry.fan_out)
        else:
            reach = math.prod(entry.shape[2:])
            for block in _blocks(weight, entry):
                if _is_hidden_to_hidden(entry):
                    nn.init.orthogonal_(block, generator=generator)
                else:
                    fill(block, entry.fan_in, block.shape[0] * reach)
        _clear_padding(weight, entry)


def _blocks(weight: Tensor, entry: LinearMap) -> list[Tensor]:
    return [weight[block.start : block.stop] for block in entry.blocks] or [weight]


def _is_hidden_to_hidden(entry: LinearMap) -> bool:
    return entry.kind == "recurrent" and "weight_hh" in entry.parameter


def _hidden_size(entry: LinearMap) -> int:
    return entry.blocks[0].stop - entry.blocks[0].start if entry.blocks else entry.shape[0]


def _constants(model: nn.Module) -> Iterator[tuple[str, nn.Parameter]]:
    """The parameters that no linear map multiplies: biases and normalisation."""
    kinds = parameter_kinds(model)
    return ((name, parameter) for name, parameter in model.named_parameters() if kinds[name] in ("bias", "norm"))


def _constant(name: str, parameter: Tensor) -> None:
    parameter.fill_(0 if "bias" in name.rpartition(".")[2] else 1)


def _uniform(weight: Tensor, bound: float, generator: torch.Generator) -> Tensor:
    return weight.uniform_(-bound, bound, generator=generator)


def _clear_padding(weight: Tensor, entry: LinearMap) -> None:
    for row in entry.excluded_rows:
        weight[row] = 0
