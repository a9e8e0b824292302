"""`SparseSequential`: `nn.Sequential` whose sparse linear layers, one after another, run as one."""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import Tensor, nn

from secateur import _kernels
from secateur.captures import outside_graphs
from secateur.dropout import Dropout
from secateur.sparse.linear import SparseLinear, sparse_linear


class _Link(NamedTuple):
    """A sparse layer, and whether a ReLU ends it."""

    layer: SparseLinear
    relu: bool


_Described = tuple[_kernels.Pattern, Tensor, Tensor | None, bool]  # as `chain_forward` takes a layer


class SparseSequential(nn.Sequential):
    """`nn.Sequential` that runs neighbouring `SparseLinear` layers, the ReLU after each taken along, in one call of the kernels.

    Activations stay feature-major between them: only the first input and the last output are transposed. With gradients each layer is a
    call of its own, with its ReLU. Children, their names and the state are those of the `nn.Sequential` whose place this takes under
    `compress`. A child with hooks, a feature-major one or one of another class is called as it is. Dropout at rest is passed over.
    """

    def forward(self, x: Tensor) -> Tensor:
        """What the children make of x (…, inputs), one after another: (…, outputs)."""
        links: list[_Link] = []
        for module in self:
            if _hooked(module):
                x = module(_through(links, x))
                links = []
            elif type(module) is SparseLinear and module.layout == "batch":
                links.append(_Link(module, module.activation == "relu"))
            elif links and type(module) is nn.ReLU:
                links[-1] = _Link(links[-1].layer, True)
            elif not (isinstance(module, nn.Dropout | Dropout) and not module.training):
                x = module(_through(links, x))
                links = []
        return _through(links, x)


def _hooked(module: nn.Module) -> bool:
    return bool(module._forward_hooks or module._forward_pre_hooks or module._backward_hooks or module._backward_pre_hooks)


def _through(links: list[_Link], x: Tensor) -> Tensor:
    return _run(links, x) if links else x


@outside_graphs
def _run(links: list[_Link], x: Tensor) -> Tensor:
    """Layers one after another, in one call where that can be."""
    described = _described(links, x) if len(links) > 1 and not torch.is_grad_enabled() else None
    if described is not None:
        flat = x if x.dim() == 2 else x.reshape(-1, x.shape[-1])
        y = _kernels.chain_forward(described, flat.contiguous(), torch.get_num_threads())
        return y if x.dim() == 2 else y.view(*x.shape[:-1], y.shape[1])
    for layer, relu in links:
        x = sparse_linear(x, layer.weight, layer.bias, activation="relu" if relu else "none")
    return x


def _described(links: list[_Link], x: Tensor) -> list[_Described] | None:
    """The run as the kernels take it; None where they do not, or a layer does not take what the one before it gives."""
    if x.dim() == 0 or not links[0].layer.weight.runs_on_kernels(x):
        return None
    described: list[_Described] = []
    width, dtype = x.shape[-1], x.dtype
    for layer, relu in links:
        weight = layer.weight
        values = weight.values
        if layer.in_features != width or values.dtype is not dtype or not values.is_cpu:
            return None
        described.append((weight.kernel, values, layer.bias, relu))
        width = layer.out_features
    return described
