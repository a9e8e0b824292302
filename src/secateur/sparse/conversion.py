"""Which dense layers have a sparse counterpart, and how one becomes the other."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, Protocol, TypeVar

from torch import nn

from secateur.sparse.attention import SparseMultiheadAttention, sparse_weight_names
from secateur.sparse.convolution import SparseConv1d, _symmetric_padding
from secateur.sparse.embedding import SparseEmbedding
from secateur.sparse.linear import SparseLinear
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


_counterparts: dict[type[nn.Module], Counterpart] = {}


def sparse_counterpart(
    layer: type[M], weights: Callable[[M], tuple[str, ...]]
) -> Callable[[Callable[[M, Mapping[str, SparseWeight]], nn.Module]], Any]:
    """Register how `layer` becomes sparse: a function (module, {local name: sparse weight}) -> a module with the methods of `SparseLayer`.

    It serves exactly this class: a subclass may compute something else.
    """

    def decorate(make: Callable[[M, Mapping[str, SparseWeight]], nn.Module]) -> Callable[[M, Mapping[str, SparseWeight]], nn.Module]:
        _counterparts[layer] = Counterpart(weights, make)
        return make

    return decorate


def counterpart_of(module: nn.Module) -> Counterpart | None:
    """How `module` becomes sparse, or None."""
    return _counterparts.get(type(module))


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
