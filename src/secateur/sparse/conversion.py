"""Which dense layers have a sparse counterpart, and how one becomes the other."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, Protocol, TypeVar

from torch import nn

from secateur.linear_maps import Kind, LinearMap, describe, dotted_name
from secateur.sparse.attention import SparseMultiheadAttention, sparse_weight_names
from secateur.sparse.convolution import SparseConv1d, _symmetric_padding
from secateur.sparse.embedding import SparseEmbedding
from secateur.sparse.linear import SparseLinear
from secateur.sparse.transposed import SparseTransposedLinear
from secateur.sparse.weight import SparseWeight


class SparseLayer(Protocol):
    """What `compress` puts in a dense layer's place."""

    def sparse_weights(self) -> dict[str, SparseWeight]:
        """The sparse weights by the names that the dense layer gives them."""
        ...

    def to_dense(self) -> nn.Module:
        """The dense layer."""
        ...


M = TypeVar("M", bound=nn.Module)


@dataclass(frozen=True)
class Counterpart:
    """`weights(module)` names the weights that become sparse (`PruningError` where the layer cannot); `make` builds it of them."""

    weights: Callable[[Any], tuple[str, ...]]
    make: Callable[[Any, Mapping[str, SparseWeight]], nn.Module]


_counterparts: dict[type[nn.Module] | str, Counterpart] = {}


def sparse_counterpart(
    layer: type[M] | str, weights: Callable[[M], tuple[str, ...]]
) -> Callable[[Callable[[M, Mapping[str, SparseWeight]], nn.Module]], Any]:
    """Register how `layer`, a class or its dotted name, becomes sparse.

    By a function (module, {local name: sparse weight}) -> a module with the methods of `SparseLayer`. It serves exactly this class: a
    subclass may compute something else.
    """

    def decorate(make: Callable[[M, Mapping[str, SparseWeight]], nn.Module]) -> Callable[[M, Mapping[str, SparseWeight]], nn.Module]:
        _counterparts[layer] = Counterpart(weights, make)
        return make

    return decorate


def counterpart_of(module: nn.Module) -> Counterpart | None:
    """How `module` becomes sparse, or None."""
    return _counterparts.get(type(module)) or _counterparts.get(dotted_name(type(module)))


def _weight_alone(module: nn.Module) -> tuple[str, ...]:
    return ("weight",)


def _checked_convolution(module: nn.Conv1d) -> tuple[str, ...]:
    _symmetric_padding(module)
    return ("weight",)


def _checked_embedding(module: nn.Embedding) -> tuple[str, ...]:
    SparseEmbedding.check(module)
    return ("weight",)


@sparse_counterpart(nn.Linear, _weight_alone)
def _linear(module: nn.Linear, weights: Mapping[str, SparseWeight]) -> nn.Module:
    return SparseLinear(weights["weight"], module.bias)


sparse_counterpart("transformers.pytorch_utils.Conv1D", _weight_alone)(SparseTransposedLinear.in_place_of)


@sparse_counterpart(nn.Conv1d, _checked_convolution)
def _convolution(module: nn.Conv1d, weights: Mapping[str, SparseWeight]) -> nn.Module:
    padding = _symmetric_padding(module)
    return SparseConv1d(weights["weight"], module.bias, stride=module.stride[0], padding=padding, dilation=module.dilation[0])


@sparse_counterpart(nn.Embedding, _checked_embedding)
def _embedding(module: nn.Embedding, weights: Mapping[str, SparseWeight]) -> nn.Module:
    return SparseEmbedding(weights["weight"], module.padding_idx)


@sparse_counterpart(nn.MultiheadAttention, sparse_weight_names)
def _attention(module: nn.MultiheadAttention, weights: Mapping[str, SparseWeight]) -> nn.Module:
    return SparseMultiheadAttention.from_weights(module, dict(weights))


def _map(
    kind: Kind, weight: SparseWeight, name: str, bias: str | None, outputs: Callable[[Any], int], transposed: bool = False
) -> LinearMap:
    return LinearMap(
        f"{name}.values", "", kind, weight.shape, uses=lambda inputs, output: outputs(output), bias=bias, transposed=transposed,
        excluded_rows=weight.excluded_rows,
    )  # fmt: skip


@describe(SparseLinear)
def _linear_map(module: SparseLinear) -> list[LinearMap]:
    bias = "bias" if module.bias is not None else None
    return [_map("linear", module.weight, "weight", bias, lambda output: output.numel() // module.out_features)]


@describe(SparseTransposedLinear)
def _transposed_map(module: SparseTransposedLinear) -> list[LinearMap]:
    bias = "bias" if module.bias is not None else None
    return [_map("linear", module.weight, "weight", bias, lambda output: output.numel() // module.out_features, transposed=True)]


@describe(SparseConv1d)
def _convolution_map(module: SparseConv1d) -> list[LinearMap]:
    bias = "bias" if module.bias is not None else None
    return [_map("conv", module.weight, "weight", bias, lambda output: output.numel() // module.out_channels)]


@describe(SparseEmbedding)
def _embedding_map(module: SparseEmbedding) -> list[LinearMap]:
    return [_map("embedding", module.weight, "weight", None, lambda output: 0, transposed=True)]


@describe(SparseMultiheadAttention)
def _attention_maps(module: SparseMultiheadAttention) -> list[LinearMap]:
    def positions(output: Any) -> int:
        return int(output[0].numel()) // module.embed_dim

    in_bias = "in_proj_bias" if module.in_proj_bias is not None else None
    out_bias = "out_proj_bias" if module.out_proj_bias is not None else None
    return [
        _map("attention", module.in_proj, "in_proj", in_bias, positions),
        _map("attention", module.out_proj, "out_proj", out_bias, positions),
    ]
