"""Which layers read which units of a layer, found by experiment on the network itself: a NaN goes where it is read.

A unit's output is set to NaN, and the input channels of later layers that turn NaN are those that read it. Units are told apart by the
binary digits of their numbers: two calls of the network a digit. Elementwise functions, pooling, flattening and concatenation keep
channels apart; whatever mixes them (normalisation over features, attention) shows as channels that read several units.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.utils.rnn import PackedSequence

from secateur.layer_inputs import positional
from secateur.linear_maps import described_layers

NOTHING = -1
SEVERAL = -2


@dataclass(frozen=True)
class Reader:
    """A layer that reads another's units. All tensors have shape (input channels,).

    `units`: the unit that each channel reads, NOTHING or SEVERAL; `alone`: whether it reads nothing else of the network; `values`: what it
    reads in the example, NaN where that differs from place to place.
    """

    module: str
    units: Tensor
    alone: Tensor
    values: Tensor


@dataclass(frozen=True)
class Readers:
    """All that reads a layer: layers, by name; and whether the network's output does so directly, past every linear map."""

    layers: dict[str, Reader]
    output: bool


def readers_of(model: nn.Module, producer: str, units: int, example: tuple[Any, ...]) -> Readers | None:
    """What reads the `units` output channels of the layer `producer` of `model` (in eval mode); None where it is called more than once."""
    probe = _Probe(model, producer, example)
    axis = 1 if hasattr(model.get_submodule(producer), "in_channels") else -1
    clean = probe.run(lambda output: output)
    if clean.calls != 1:
        return None
    seen: dict[str, list[Tensor]] = {}
    whole_output = False
    for digit in range(max(1, (units - 1).bit_length())):
        numbers = torch.arange(units)
        for chosen in ((numbers >> digit) & 1 == 1, (numbers >> digit) & 1 == 0):
            run = probe.run(partial(_poisoned, units=chosen, axis=axis))
            whole_output |= run.output
            for name, channels in run.nan.items():
                seen.setdefault(name, []).append(channels)
    others = probe.run(lambda output: output, others=True)
    layers = {}
    for name, patterns in seen.items():
        set_, unset = torch.stack(patterns[0::2]), torch.stack(patterns[1::2])
        weights = 2 ** torch.arange(len(set_)).unsqueeze(1)
        decoded = (set_ * weights).sum(0)
        decoded[~(set_ ^ unset).all(0)] = SEVERAL
        decoded[~(set_ | unset).any(0)] = NOTHING
        decoded[clean.disagreeing.get(name, torch.zeros_like(decoded, dtype=torch.bool))] = SEVERAL
        if (decoded != NOTHING).any():
            layers[name] = Reader(name, decoded, ~others.nan[name], clean.values[name])
    return Readers(layers, whole_output)


def channel_axis(module: nn.Module) -> int:
    """The axis of a layer's input along which channels lie: 1 for convolutions and batch normalisation, else the last."""
    return 1 if hasattr(module, "in_channels") or hasattr(module, "num_features") else -1


@dataclass
class _Run:
    nan: dict[str, Tensor]
    values: dict[str, Tensor]
    disagreeing: dict[str, Tensor]
    output: bool
    calls: int


class _Probe:
    """Calls a network with one layer's output changed, and reports what reaches each layer."""

    def __init__(self, model: nn.Module, producer: str, example: tuple[Any, ...]) -> None:
        self._model, self._producer, self._example = model, producer, example
        modules = dict(model.named_modules())
        self._maps = {name: module for name, module, _ in described_layers(model)}
        self._listeners = {
            **self._maps,
            **{name: module for name, module in modules.items() if hasattr(module, "num_features") and name not in self._maps},
        }
        self._recorded: list[Any] = []

    @torch.no_grad()
    def run(self, change: Callable[[Any], Any], others: bool = False) -> _Run:
        """One call. With `others`, all linear maps but the producer give NaN, as does the input; the producer what it gave before."""
        found = _Run({}, {}, {}, False, 0)
        with self._hooked(change, others, found):
            inputs = tuple(_all_nan(part) for part in self._example) if others else self._example
            output = self._model(*inputs)
        found.output = any(bool(part.isnan().any()) for part in _tensors(output))
        return found

    @contextmanager
    def _hooked(self, change: Callable[[Any], Any], others: bool, found: _Run) -> Iterator[None]:
        handles = []
        recording = not self._recorded

        def produced(module: nn.Module, args: Any, output: Any) -> Any:
            found.calls += 1
            if recording:
                self._recorded.append(output)
            return change(self._recorded[0] if others else output)

        def silenced(module: nn.Module, args: Any, output: Any) -> Any:
            return _all_nan(output)

        def listen(name: str, cut: bool) -> Callable[..., Any]:
            def hook(module: nn.Module, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
                args = positional(module, args, kwargs)
                read = [vectors for part in args[: _inputs(module)] if (vectors := _floats(part)) is not None]
                if not read:
                    return None
                flat = torch.cat([part.movedim(channel_axis(module), -1).reshape(-1, part.shape[channel_axis(module)]) for part in read])
                nan, values = flat.isnan().any(0), _constant(flat)
                if name in found.nan:
                    same = (found.values[name] == values) | (found.values[name].isnan() & values.isnan())
                    before = found.disagreeing.get(name, torch.zeros_like(nan))
                    found.disagreeing[name] = before | (found.nan[name] != nan) | ~same
                    nan = nan | found.nan[name]
                found.nan[name], found.values[name] = nan, values
                if not cut:
                    return None
                return tuple(_without_nan(part) for part in args), {}

            return hook

        modules = dict(self._model.named_modules())
        try:
            for name, module in self._listeners.items():
                if name != self._producer:
                    handles.append(module.register_forward_pre_hook(listen(name, cut=name in self._maps and not others), with_kwargs=True))
                    if others and name in self._maps:
                        handles.append(module.register_forward_hook(silenced))
            handles.append(modules[self._producer].register_forward_hook(produced))
            yield
        finally:
            for handle in handles:
                handle.remove()


def _inputs(module: nn.Module) -> int:
    """How many of a layer's arguments it multiplies: query, key and value of an attention, else the first."""
    return 3 if hasattr(module, "num_heads") else 1


def _constant(flat: Tensor) -> Tensor:
    """The value of each column of (places, channels), NaN where places differ."""
    return torch.where((flat == flat[:1]).all(0), flat[0], torch.full_like(flat[0], math.nan))


def _tensors(value: Any) -> Iterator[Tensor]:
    if isinstance(value, Tensor):
        if value.is_floating_point():
            yield value
    elif isinstance(value, tuple | list):
        for part in value:
            yield from _tensors(part)


def _all_nan(value: Any) -> Any:
    if isinstance(value, PackedSequence):
        return value._replace(data=_all_nan(value.data))
    if isinstance(value, Tensor):
        return torch.full_like(value, math.nan) if value.is_floating_point() else value
    return tuple(_all_nan(part) for part in value) if isinstance(value, tuple | list) else value


def _poisoned(output: Any, units: Tensor, axis: int) -> Any:
    """`output` with NaN at the chosen units, along `axis`; a recurrent layer's (sequence, last states) in both."""
    if isinstance(output, PackedSequence):
        return output._replace(data=_poisoned(output.data, units, -1))
    if isinstance(output, tuple):
        return _poisoned(output[0], units, axis), _poisoned_state(output[1], units)
    poisoned = output.clone()
    poisoned.movedim(axis, -1)[..., units] = math.nan
    return poisoned


def _poisoned_state(state: Any, units: Tensor) -> Any:
    """Last states (layers * directions, …, size) with NaN at chosen units of the top layer, its directions side by side."""
    if isinstance(state, tuple):
        return tuple(_poisoned_state(part, units) for part in state)
    poisoned = state.clone()
    if state.shape[-1] and len(units) % state.shape[-1] == 0:
        directions = units.reshape(-1, state.shape[-1])
        for number, chosen in enumerate(directions):
            poisoned[len(poisoned) - len(directions) + number][..., chosen] = math.nan
    return poisoned


def _floats(part: Any) -> Tensor | None:
    """The vectors of an argument, if it holds any."""
    part = part.data if isinstance(part, PackedSequence) else part
    return part if isinstance(part, Tensor) and part.is_floating_point() else None


def _without_nan(part: Any) -> Any:
    if isinstance(part, PackedSequence):
        return part._replace(data=part.data.nan_to_num(0.0))
    return part.nan_to_num(0.0) if isinstance(part, Tensor) and part.is_floating_point() else part
