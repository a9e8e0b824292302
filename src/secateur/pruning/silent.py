"""Weights that multiply nothing but zeros: the columns of later layers that read pruned units."""

from __future__ import annotations

import copy
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from secateur.linear_maps import described_layers
from secateur.masks import Mask, apply
from secateur.pruning.reading import readers_of


def without_silent_columns(model: nn.Module, mask: Mask, example: Tensor | tuple[Any, ...]) -> Mask:
    """`mask` without the weights that read only units which are always zero once `mask` is applied: outputs stay as they are.

    Such a unit is a neuron, filter or hidden unit with no kept weight whose bias says nothing (a negative one before a ReLU, or none). Only
    parameters that the mask covers lose weights. `example`: inputs of a few examples, with which the network is called.
    """
    inputs = example if isinstance(example, tuple) else (example,)
    probe = copy.deepcopy(model).eval()
    apply(mask, probe)
    for name, module, _ in list(described_layers(probe)):
        units = _dead_units(module)
        if units is None or not units.any():
            continue
        readers = readers_of(probe, name, len(units), inputs)
        if readers is None:
            continue
        for reader in readers.layers.values():
            silent = (reader.units >= 0) & reader.alone & (reader.values == 0) & units[reader.units.clamp(min=0)]
            mask = _without_columns(probe, mask, reader.module, silent)
        apply(mask, probe)
    return mask


def _dead_units(module: Any) -> Tensor | None:
    """Which outputs of a layer no weight reaches; None for layers whose outputs are not units of their own."""
    if hasattr(module, "all_weights"):
        if module.proj_size:
            return None
        ways = []
        for way in ("", "_reverse")[: 2 if module.bidirectional else 1]:
            names = [f"{part}_l{module.num_layers - 1}{way}" for part in ("weight_ih", "weight_hh")]
            rows = torch.cat([module.get_parameter(name).detach() for name in names], 1)
            ways.append((rows.view(-1, module.hidden_size, rows.shape[1]) == 0).all(2).all(0))
        return torch.cat(ways)
    if hasattr(module, "out_features") or (hasattr(module, "out_channels") and module.groups == 1):
        dead: Tensor = (module.weight.detach().flatten(1) == 0).all(1)
        return dead
    return None


def _without_columns(model: nn.Module, mask: Mask, reader: str, silent: Tensor) -> Mask:
    """`mask` without the columns `silent` of what a layer multiplies its input by."""
    module: Any = model.get_submodule(reader)
    names = {id(parameter): name for name, parameter in model.named_parameters()}
    if hasattr(module, "all_weights"):
        local = [name for name, _ in module.named_parameters() if name.startswith("weight_ih_l0")]
    elif hasattr(module, "in_features") or (hasattr(module, "in_channels") and module.groups == 1):
        local = ["weight"]
    else:
        return mask
    columns = np.flatnonzero(silent.numpy())
    patterns = dict(mask.patterns)
    for name in (names[id(module.get_parameter(one))] for one in local):
        if name in patterns and columns.size:
            flags = patterns[name].flags()
            flags[:, columns] = False
            patterns[name] = patterns[name].with_kept(flags)
    return Mask(patterns)
