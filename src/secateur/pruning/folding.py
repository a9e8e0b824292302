"""`fold`: from a network with a structured mask to a genuinely smaller dense network with the same outputs."""

from __future__ import annotations

import copy
import math
from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor, nn

from secateur.errors import PruningError
from secateur.linear_maps import described_layers
from secateur.masks import Mask, apply
from secateur.pruning.folded_attention import fold_heads
from secateur.pruning.folded_recurrent import live_units, shrink_recurrent
from secateur.pruning.reading import NOTHING, Readers, readers_of


def fold(model: nn.Module, mask: Mask, example: Tensor | tuple[Any, ...]) -> nn.Module:
    """A copy of `model` without the neurons, filters, hidden units and heads that `mask` prunes: dense, smaller, with the same outputs.

    `example`: inputs of a few examples, with which the network is called, to see which layer reads which (`reading`) and to check the end.
    A neuron or filter goes when its whole row is pruned; what its bias made of it is added to the biases of its readers. A hidden unit
    goes when its rows are pruned and its biases are zero, or nothing reads it; a recurrent module keeps as many units in each layer and
    direction as the fullest needs. A head goes when its columns of the output projection are pruned. What is read by something that
    mixes channels, or by the network's output, stays; so do tied layers and one unit of each. Single pruned weights stay as zeros.

    Outputs are those of the masked network in eval mode, up to rounding; `PruningError` if they are not. Sizes that the network's own code
    writes out (`x.view(-1, 320)`) make that happen.
    """
    inputs = example if isinstance(example, tuple) else (example,)
    folded = copy.deepcopy(model)
    modes = {name: module.training for name, module in folded.named_modules()}
    folded.eval()
    apply(mask, folded)
    with torch.no_grad():
        expected = folded(*inputs)
        fold_heads(folded, mask)
        for name in [name for name, _, _ in described_layers(folded)]:
            module = folded.get_submodule(name)
            if hasattr(module, "all_weights"):
                _fold_recurrent(folded, name, mask, inputs)
            elif _has_rows(module):
                _fold_rows(folded, name, inputs)
        try:
            outputs = folded(*inputs)
        except RuntimeError as error:
            raise PruningError(f"the network cannot be folded: its own code fixes a size ({error})") from error
    _check_same(outputs, expected)
    for name, module in folded.named_modules():
        module.training = modes.get(name, model.training)
    return folded


def _has_rows(module: Any) -> bool:
    """Whether a layer is one matrix or one set of filters without groups, which lists its sizes itself."""
    return hasattr(module, "out_features") or (hasattr(module, "out_channels") and getattr(module, "groups", 1) == 1)


def _fold_rows(model: nn.Module, name: str, inputs: tuple[Any, ...]) -> None:
    """Remove the neurons or filters of one layer whose weights are all zero, where their readers allow it."""
    module: Any = model.get_submodule(name)
    dead = (module.weight.flatten(1) == 0).all(1)
    if not dead.any() or dead.numel() == 1 or _is_tied(model, module):
        return
    readers = readers_of(model, name, len(dead), inputs)
    if readers is None or readers.output or not readers.layers:
        return
    kept = ~(dead & _removable(model, readers, len(dead)))
    kept[0] |= not kept.any()
    if kept.all():
        return
    _cut_readers(model, readers, kept)
    module.weight = _rows_of(module.weight, kept)
    if module.bias is not None:
        module.bias = _rows_of(module.bias, kept)
    setattr(module, "out_features" if hasattr(module, "out_features") else "out_channels", int(kept.sum()))


def _fold_recurrent(model: nn.Module, name: str, mask: Mask, inputs: tuple[Any, ...]) -> None:
    """Remove hidden units of one recurrent module, as many from each layer and direction."""
    module: Any = model.get_submodule(name)
    directions = 2 if module.bidirectional else 1
    if module.proj_size:
        return
    readers = readers_of(model, name, directions * module.hidden_size, inputs)
    if readers is None or readers.output or not readers.layers:
        return
    removable = _removable(model, readers, directions * module.hidden_size).view(directions, -1)
    live = live_units(module, f"{name}." if name else "", mask, removable)
    size = max(1, int(live.sum(-1).max()))
    if size == module.hidden_size:
        return
    kept = torch.zeros_like(live)
    for level in range(live.shape[0]):
        for way in range(directions):
            order = torch.argsort(live[level, way].int(), descending=True, stable=True)[:size]
            kept[level, way, order] = True
    _cut_readers(model, readers, kept[-1].flatten())
    _replace(model, name, shrink_recurrent(module, kept))


def _removable(model: nn.Module, readers: Readers, units: int) -> Tensor:
    """Which units every reader can do without: it reads them by channels of their own, and they are constant or multiplied by zeros."""
    fine = torch.ones(units, dtype=torch.bool)
    for name, reader in readers.layers.items():
        module: Any = model.get_submodule(name)
        if (reader.units < NOTHING).any():
            return torch.zeros(units, dtype=torch.bool)
        read = reader.units >= 0
        if hasattr(module, "num_features"):
            good = reader.alone
        elif _reads_by_columns(module) and not _is_tied(model, module):
            ignored = (_columns(module) == 0).all(0)
            constant = ~reader.values.isnan()
            padded = any(_amounts(getattr(module, "padding", 0))) or getattr(module, "padding_mode", "zeros") != "zeros"
            good = reader.alone & (ignored | constant & (~torch.tensor(padded) | (reader.values == 0)))
        else:
            good = torch.zeros_like(read)
        bad = reader.units[read & ~good]
        fine[bad] = False
    return fine


def _is_tied(model: nn.Module, module: Any) -> bool:
    """Whether a layer's weight has another name too."""
    weight = getattr(module, "weight", None)
    return sum(parameter is weight for _, parameter in model.named_parameters(remove_duplicate=False)) > 1


def _amounts(padding: Any) -> tuple[Any, ...]:
    return padding if isinstance(padding, tuple) else (padding,)


def _reads_by_columns(module: Any) -> bool:
    """Whether its input channels can be cut: linear layers, convolutions without groups, recurrent layers."""
    return _has_rows(module) or hasattr(module, "all_weights")


def _columns(module: Any) -> Tensor:
    """What multiplies each input channel: (anything, channels)."""
    if hasattr(module, "all_weights"):
        first = [value for key, value in module.named_parameters() if key.startswith("weight_ih_l0")]
        return torch.cat([weight.detach() for weight in first])
    weight: Tensor = module.weight.detach()
    return weight.movedim(1, -1).flatten(0, -2)


def _cut_readers(model: nn.Module, readers: Readers, kept: Tensor) -> None:
    """Take the columns of removed units out of every reader; what constant units added goes into its bias."""
    for name, reader in readers.layers.items():
        module: Any = model.get_submodule(name)
        stays = torch.where(reader.units >= 0, kept[reader.units.clamp(min=0)], torch.ones_like(reader.alone))
        if stays.all():
            continue
        if hasattr(module, "num_features"):
            _cut_channels(module, stays)
            continue
        added = torch.where(stays, 0.0, reader.values.nan_to_num(0.0))
        if hasattr(module, "all_weights"):
            _cut_inputs(name, module, stays, added)
            continue
        constant = (module.weight.movedim(1, -1) * added).flatten(1).sum(1)
        if constant.any():
            module.bias = nn.Parameter(constant if module.bias is None else module.bias.detach() + constant)
        module.weight = _rows_of(module.weight.transpose(0, 1), stays, lambda cut: cut.transpose(0, 1).contiguous())
        setattr(module, "in_features" if hasattr(module, "in_features") else "in_channels", int(stays.sum()))


def _cut_inputs(name: str, module: Any, stays: Tensor, added: Tensor) -> None:
    if added.any() and not module.bias:
        raise PruningError(f"{name!r} has no bias to take up what pruned units add to it")
    for way in ("", "_reverse")[: 2 if module.bidirectional else 1]:
        weight = module.get_parameter(f"weight_ih_l0{way}")
        if module.bias:
            module.get_parameter(f"bias_ih_l0{way}").add_(weight @ added)
        setattr(module, f"weight_ih_l0{way}", nn.Parameter(weight.detach()[:, stays].clone(), weight.requires_grad))
    module.input_size = int(stays.sum())
    module.flatten_parameters()


def _cut_channels(module: Any, stays: Tensor) -> None:
    """Batch or instance normalisation with fewer channels."""
    for name in ("weight", "bias"):
        if getattr(module, name) is not None:
            setattr(module, name, _rows_of(getattr(module, name), stays))
    for name in ("running_mean", "running_var"):
        if getattr(module, name) is not None:
            setattr(module, name, getattr(module, name)[stays].clone())
    module.num_features = int(stays.sum())


def _rows_of(parameter: Tensor, kept: Tensor, change: Callable[[Tensor], Tensor] = Tensor.clone) -> nn.Parameter:
    return nn.Parameter(change(parameter.detach()[kept]), parameter.requires_grad)


def _replace(model: nn.Module, name: str, module: nn.Module) -> None:
    owner, _, leaf = name.rpartition(".")
    if not leaf:
        raise PruningError("a recurrent or attention module that is the whole network cannot be replaced: put it into a module of your own")
    setattr(model.get_submodule(owner), leaf, module)


def _check_same(found: Any, expected: Any) -> None:
    if isinstance(expected, tuple | list):
        for one, other in zip(found, expected, strict=True):
            _check_same(one, other)
    elif isinstance(expected, Tensor) and expected.is_floating_point():
        scale = float(expected.abs().max()) if expected.numel() else 0.0
        tolerance = 1e-4 if expected.dtype.itemsize <= 4 else 1e-9
        if found.shape != expected.shape or not math.isfinite(scale) or float((found - expected).abs().max()) > tolerance * (1.0 + scale):
            raise PruningError("the folded network's outputs differ from the masked network's: its own code depends on the sizes of layers")
