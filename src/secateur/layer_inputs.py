"""What each linear map multiplies: the vectors that reach it, seen by hooks or recomputed where a layer hides them.

A recurrent layer hides the states between its steps and layers, an attention what enters its output projection; both are
run again piece by piece. Read by Wanda, SparseGPT and folding.
"""

from __future__ import annotations

import inspect
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from types import MethodType
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F
from torch.nn.utils.rnn import PackedSequence, pad_packed_sequence

from secateur.linear_maps import LinearMap

Visit = Callable[[LinearMap, Tensor], None]
"""(map, vectors (number, inputs)): once for each call of the map's layer; for an embedding the looked-up ids (number,)."""


def positional(module: nn.Module, args: tuple[Any, ...], kwargs: Mapping[str, Any]) -> tuple[Any, ...]:
    """A call's arguments by position, as `LinearMap.uses` takes them."""
    if not kwargs:
        return args
    bound = inspect.signature(module.forward).bind(*args, **kwargs)
    return bound.args


@contextmanager
def watched(model: nn.Module, maps: Sequence[LinearMap], visit: Visit) -> Iterator[None]:
    """Within it, each forward pass of `model` hands the inputs of each of `maps` to `visit`. Hooks are removed at the end."""
    by_module: dict[str, list[LinearMap]] = {}
    for entry in maps:
        by_module.setdefault(entry.module, []).append(entry)
    modules = dict(model.named_modules())
    handles = []
    replaced: list[Any] = []

    def watch(module: nn.Module, its: list[LinearMap]) -> None:
        local = {_local_name(entry): entry for entry in its}

        def hook(module: nn.Module, args: tuple[Any, ...], kwargs: dict[str, Any]) -> None:
            for name, vectors in inputs_of(module, local, positional(module, args, kwargs)).items():
                visit(local[name], vectors.detach())

        handles.append(module.register_forward_pre_hook(hook, with_kwargs=True))  # before: what a layer before wrote is still near

    def watch_layers(module: Any, its: list[LinearMap]) -> None:
        def forward(module: Any, input: Tensor | PackedSequence, hx: Any = None) -> Any:
            args = (input, hx)
            if not any(module is original for original in replaced):  # a copy that was made within
                return type(module).forward(module, *args)
            if isinstance(input, PackedSequence) or input.dim() != 3 or module.proj_size or torch.is_grad_enabled():
                output, found = type(module).forward(module, *args), _recurrent_inputs(module, args)
            else:
                found, output = _run_by_layers(module, args)
            for entry in its:
                visit(entry, found[_local_name(entry)])
            return output

        replaced.append(module)
        object.__setattr__(module, "forward", MethodType(forward, module))  # a method, so that a copy's runs the copy

    try:
        for name, its in by_module.items():
            module = modules[name]
            plain = type(module) in (nn.LSTM, nn.GRU, nn.RNN) and "forward" not in module.__dict__ and not module.training
            (watch_layers if plain else watch)(module, its)
        yield
    finally:
        for handle in handles:
            handle.remove()
        for module in replaced:
            del module.__dict__["forward"]
        replaced.clear()


def _local_name(entry: LinearMap) -> str:
    return entry.parameter.removeprefix(f"{entry.module}.") if entry.module else entry.parameter


def inputs_of(module: Any, maps: Mapping[str, LinearMap], args: tuple[Any, ...]) -> dict[str, Tensor]:
    """The vectors (number, inputs) that each of `maps` of one layer, by the name local to it, multiplies in a call with `args`."""
    kind = next(iter(maps.values())).kind
    if kind == "recurrent":
        found = _recurrent_inputs(module, args)
    elif kind == "attention" and hasattr(module, "in_proj_weight"):
        found = _attention_inputs(module, args)
    elif isinstance(args[0], Tensor) and not args[0].is_floating_point():
        return {name: args[0].reshape(-1) for name in maps}
    elif kind == "conv":
        found = {"weight": _patches(module, args[0])}
    else:
        return {name: args[0].reshape(-1, args[0].shape[-1]) for name in maps}
    return {name: found[name] for name in maps if name in found}


def _patches(module: Any, x: Tensor) -> Tensor:
    """(number, channels of a group * kernel): the patches that a convolution multiplies; with groups, those of all groups."""
    x = x if x.dim() == len(module.kernel_size) + 2 else x.unsqueeze(0)
    if module.padding_mode != "zeros" or isinstance(module.padding, str):
        mode = "constant" if module.padding_mode == "zeros" else module.padding_mode
        x = F.pad(x, module._reversed_padding_repeated_twice, mode=mode)
        padding: tuple[int, ...] = (0,) * len(module.kernel_size)
    else:
        padding = module.padding
    flat = (1, 1)[: 2 - len(module.kernel_size)]
    x = x if len(module.kernel_size) == 2 else x.unsqueeze(2)
    columns = F.unfold(
        x,
        (*flat, *module.kernel_size),
        dilation=(*flat, *module.dilation),
        padding=(*(0 for _ in flat), *padding),
        stride=(*flat, *module.stride),
    )
    per_group = columns.reshape(columns.shape[0] * module.groups, -1, columns.shape[-1])
    return per_group.transpose(1, 2).reshape(-1, per_group.shape[1])


def _attention_inputs(module: Any, args: tuple[Any, ...]) -> dict[str, Tensor]:
    query, key, value = args[:3]
    flat = {name: x.reshape(-1, x.shape[-1]) for name, x in (("q", query), ("k", key), ("v", value))}
    found = {"out_proj.weight": _contexts(module, args)}
    if module.in_proj_weight is None:
        return {**found, **{f"{name}_proj_weight": x for name, x in flat.items()}}
    same = query is key and key is value
    return {**found, "in_proj_weight": flat["q"] if same else torch.cat(list(flat.values()))}


def _contexts(module: Any, args: tuple[Any, ...]) -> Tensor:
    """What enters the output projection: the call again, with that projection replaced by the identity."""
    names = list(inspect.signature(module.forward).parameters)
    call = dict(zip(names, args, strict=False))
    call["need_weights"] = False
    identity = torch.eye(module.embed_dim, dtype=args[0].dtype, device=args[0].device)
    seen = {"out_proj.weight": identity}
    if module.out_proj.bias is not None:
        seen["out_proj.bias"] = torch.zeros_like(module.out_proj.bias)
    hooks = module._forward_pre_hooks, module._forward_hooks  # they have seen this call, or will
    try:
        module._forward_pre_hooks, module._forward_hooks = type(hooks[0])(), type(hooks[1])()
        output = torch.func.functional_call(module, seen, (), call)[0]
    finally:
        module._forward_pre_hooks, module._forward_hooks = hooks
    assert isinstance(output, Tensor)
    return output.reshape(-1, output.shape[-1])


_RUN = {"LSTM": torch.lstm, "GRU": torch.gru, "RNN_TANH": torch.rnn_tanh, "RNN_RELU": torch.rnn_relu}


def _recurrent_inputs(module: Any, args: tuple[Any, ...]) -> dict[str, Tensor]:
    """Each layer is run alone, from the states that the call gave; inputs of `weight_hh` are the states one step before."""
    return _run_by_layers(module, args)[0]


def _run_by_layers(module: Any, args: tuple[Any, ...]) -> tuple[dict[str, Tensor], Any]:
    """The vectors that each weight multiplies, and what the call returns (for a batch that is not packed)."""
    x, state = args[0], args[1] if len(args) > 1 else None
    if isinstance(x, PackedSequence):
        x, lengths = pad_packed_sequence(x)
    else:
        x = x.unsqueeze(1) if x.dim() == 2 else x.transpose(0, 1) if module.batch_first else x
        lengths = torch.full((x.shape[1],), x.shape[0])
        state = _batched(state) if args[0].dim() == 2 else state
    valid = (torch.arange(x.shape[0]).unsqueeze(1) < lengths.unsqueeze(0)).to(x.device)
    whole = bool(valid.all())

    def flat(vectors: Tensor) -> Tensor:
        return vectors.reshape(-1, vectors.shape[-1]) if whole else vectors[valid]

    last: list[tuple[Tensor, ...]] = []
    ways = ("", "_reverse") if module.bidirectional else ("",)
    found: dict[str, Tensor] = {}
    for level in range(module.num_layers):
        outputs = []
        for number, way in enumerate(ways):
            place = level * len(ways) + number
            first = _first_state(module, state, place, x)
            backwards = way == "_reverse"
            run_on = _reversed(x, lengths) if backwards else x
            names = [f"{part}_l{level}{way}" for part in ("weight_ih", "weight_hh", "bias_ih", "bias_hh", "weight_hr")]
            weights = [getattr(module, name) for name in names if hasattr(module, name)]
            given = first if module.mode == "LSTM" else first[0]
            after, *states = _RUN[module.mode](run_on, given, weights, module.bias, 1, 0.0, False, False, False)  # type: ignore[operator]
            last.append(tuple(states))
            before = torch.cat([first[0], after[:-1]])
            found[names[0]], found[names[1]] = flat(x), flat(before)
            if hasattr(module, names[4]):
                found[names[4]] = flat(_unprojected(module, names, run_on, before))
            outputs.append(_reversed(after, lengths) if backwards else after)
        x = outputs[0] if len(outputs) == 1 else torch.cat(outputs, -1)
    ends = tuple(torch.cat(parts) for parts in zip(*last, strict=True))
    return found, (x.transpose(0, 1) if module.batch_first else x, ends if module.mode == "LSTM" else ends[0])


def _batched(state: Any) -> Any:
    if state is None:
        return None
    return tuple(part.unsqueeze(1) for part in state) if isinstance(state, tuple) else state.unsqueeze(1)


def _first_state(module: Any, state: Any, place: int, x: Tensor) -> list[Tensor]:
    """[h] or [h, c] of one layer and direction before the first step: (1, batch, size) each."""
    if state is not None:
        return [part[place : place + 1].contiguous() for part in (state if isinstance(state, tuple) else (state,))]
    hidden = x.new_zeros(1, x.shape[1], module.proj_size or module.hidden_size)
    return [hidden, x.new_zeros(1, x.shape[1], module.hidden_size)] if module.mode == "LSTM" else [hidden]


def _reversed(x: Tensor, lengths: Tensor) -> Tensor:
    """Each sequence of (time, batch, features) backwards, its padding left at the end."""
    times = torch.arange(x.shape[0]).unsqueeze(1)
    order = torch.where(times < lengths, lengths - 1 - times, times).to(x.device)
    return x.gather(0, order.unsqueeze(-1).expand_as(x))


def _unprojected(module: Any, names: list[str], x: Tensor, before: Tensor) -> Tensor:
    """The states that an LSTM with projections projects: its cell, run again on the states before each step."""
    bias = [getattr(module, name) if module.bias else None for name in names[2:4]]
    gates = F.linear(x, getattr(module, names[0]), bias[0]) + F.linear(before, getattr(module, names[1]), bias[1])
    entering, forget, new, leaving = gates.chunk(4, -1)
    cell = torch.zeros_like(entering[0])
    states = []
    for time in range(x.shape[0]):
        cell = forget[time].sigmoid() * cell + entering[time].sigmoid() * new[time].tanh()
        states.append(leaving[time].sigmoid() * cell.tanh())
    return torch.stack(states)
