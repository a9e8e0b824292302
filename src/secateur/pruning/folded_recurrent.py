"""Recurrent modules with fewer hidden units."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn

from secateur.masks import Mask

_CELL_GATE = {"LSTM": 2, "GRU": 2}
"""The gate whose zero pre-activation keeps a unit's state at zero, where it starts: the LSTM's cell gate, the GRU's new gate."""


def live_units(module: Any, prefix: str, mask: Mask, removable: Tensor) -> Tensor:
    """Which hidden units must stay: (layers, directions, size) bool. `removable` (directions, size): of the top layer, by its readers.

    A unit can go when all its rows are pruned and either its state stays zero (zero biases) or all that reads it is zero.
    """
    directions = removable.shape[0]
    live = torch.ones(module.num_layers, directions, module.hidden_size, dtype=torch.bool)
    for level in range(module.num_layers):
        for way in range(directions):
            names = {part: f"{part}_l{level}{'_reverse' if way else ''}" for part in ("weight_ih", "weight_hh", "bias_ih", "bias_hh")}
            weights = torch.cat([module.get_parameter(names[part]) for part in ("weight_ih", "weight_hh")], 1)
            if not all(f"{prefix}{names[part]}" in mask for part in ("weight_ih", "weight_hh")):
                continue
            dead = (weights.view(-1, module.hidden_size, weights.shape[1]) == 0).all(2).all(0)
            still = torch.ones_like(dead)
            if module.bias:
                gate = _CELL_GATE.get(module.mode, 0)
                biases = [module.get_parameter(names[part]).view(-1, module.hidden_size) for part in ("bias_ih", "bias_hh")]
                still = (biases[0][gate] == 0) & (biases[1][gate] == 0)
            unread = (module.get_parameter(names["weight_hh"]) == 0).all(0)
            if level + 1 < module.num_layers:
                for after in ("", "_reverse")[:directions]:
                    columns = module.get_parameter(f"weight_ih_l{level + 1}{after}")
                    first = way * module.hidden_size
                    unread &= (columns[:, first : first + module.hidden_size] == 0).all(0)
                goes = dead & (still | unread)
            else:
                goes = dead & (still | unread) & removable[way]
            live[level, way] = ~goes
    return live


def shrink_recurrent(module: Any, kept: Tensor) -> nn.Module:
    """A module with the units `kept`, (layers, directions, size) bool with equal counts, and the same parameters for them."""
    layers, directions, size = kept.shape
    count = int(kept[0, 0].sum())
    options = {"nonlinearity": module.nonlinearity} if module.mode.startswith("RNN") else {}
    smaller: Any = type(module)(
        module.input_size, count, layers, bias=module.bias, batch_first=module.batch_first, dropout=module.dropout,
        bidirectional=directions == 2, device=module.weight_ih_l0.device, dtype=module.weight_ih_l0.dtype, **options,
    )  # fmt: skip
    with torch.no_grad():
        for level in range(layers):
            below = kept[level - 1].flatten() if level else torch.ones(module.input_size, dtype=torch.bool)
            for way in range(directions):
                suffix = f"_l{level}{'_reverse' if way else ''}"
                units = kept[level, way]
                rows = units.repeat(module.get_parameter(f"weight_hh{suffix}").shape[0] // size)
                smaller.get_parameter(f"weight_ih{suffix}").copy_(module.get_parameter(f"weight_ih{suffix}")[rows][:, below])
                smaller.get_parameter(f"weight_hh{suffix}").copy_(module.get_parameter(f"weight_hh{suffix}")[rows][:, units])
                for part in ("bias_ih", "bias_hh") if module.bias else ():
                    smaller.get_parameter(f"{part}{suffix}").copy_(module.get_parameter(f"{part}{suffix}")[rows])
    for name, parameter in smaller.named_parameters():
        parameter.requires_grad_(module.get_parameter(name).requires_grad)
    assert isinstance(smaller, nn.Module)
    return smaller.train(module.training)
