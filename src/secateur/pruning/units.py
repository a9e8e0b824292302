"""What is removed together. A unit turns scores of weights into pools of units that compete.

A unit's score reduces those of its kept weights: `mean` (units of any size are comparable), `sum`, `max`, or `norm` (root of the sum of
squares). Traits: `kinds` it is made of (None: any parameter); `spans_neurons` and `spans_gates`, for which those scopes make no sense;
`coupled`, where pruning a unit takes weights with it that belong to others.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from typing import Literal

import numpy as np
from numpy.typing import NDArray
from torch import Tensor

from secateur.errors import PruningError
from secateur.linear_maps import LinearMap
from secateur.masks import Mask, Pattern
from secateur.pruning.grouped import Member, grouped_pool
from secateur.pruning.pools import Flags, Pool, arrays_of, checked_scores
from secateur.registry import units

_PROJECTION = re.compile(r"(?:(.*)\.)?(?:in_proj_weight|[qkv]_proj_weight|[qkv]_proj\.weight|out_proj\.weight)")

Reduction = Literal["mean", "sum", "max", "norm"]
Numbers = NDArray[np.int64]


@units.register("weight", kinds=None, spans_neurons=False, spans_gates=False)
def weight(scores: Mapping[str, Tensor], mask: Mask, maps: Sequence[LinearMap]) -> list[Pool]:
    """Single weights: unstructured pruning, to the exact count."""
    entries = {entry.parameter: entry for entry in maps}
    arrays = arrays_of(scores, mask)  # whether they are finite is seen when they are compared
    return [_pool_of_weights(name, pattern, arrays[name], entries.get(name)) for name, pattern in mask.patterns.items()]


@units.register("nm", kinds=("linear", "conv", "recurrent", "attention"), spans_neurons=False, spans_gates=False, own_density=True)
def nm(scores: Mapping[str, Tensor], mask: Mask, maps: Sequence[LinearMap], *, n: int = 2, m: int = 4) -> list[Pool]:
    """N:M sparsity: `n` kept of each `m` consecutive inputs of an output (of a convolution: input channels at one kernel position).

    Written `"2:4"` for short. It fixes its own density, n / m; where the inputs are no multiple of m, the last group keeps n / m of its
    size, halves up.
    """
    if not 0 < n <= m:
        raise PruningError(f"unit 'nm': n = {n} and m = {m}; n of each m inputs are kept, with 0 < n <= m")
    entries = _entries(mask, maps, "nm")
    arrays = checked_scores(scores, mask)
    pools = []
    for name, pattern in mask.patterns.items():
        outputs, inputs = (pattern.shape[axis] for axis in (entries[name].output_axis, entries[name].input_axes[0]))
        places = int(np.prod(pattern.shape[2:], dtype=np.int64))
        groups_along = -(-inputs // m)
        channel = np.arange(inputs) // m
        number = (np.arange(outputs)[:, None, None] * groups_along + channel[None, :, None]) * places + np.arange(places)
        if entries[name].transposed:
            number = number.swapaxes(0, 1)
        size = np.minimum(m, inputs - m * np.arange(groups_along))
        quota = np.floor(size * n / m + 0.5).astype(np.int64)
        pool = _pool_of_weights(name, pattern, arrays[name], entries[name])
        pools.append(pool.with_groups(number.reshape(-1), np.tile(np.repeat(quota, places), outputs)))
    return pools


@units.register("block", kinds=("linear", "conv", "recurrent", "attention", "embedding"), spans_neurons=True, spans_gates=True)
def block(
    scores: Mapping[str, Tensor],
    mask: Mask,
    maps: Sequence[LinearMap],
    *,
    rows: int = 4,
    columns: int = 4,
    reduce: Reduction = "mean",
) -> list[Pool]:
    """Blocks of `rows` x `columns` of each matrix (a convolution's as outputs x (channels * kernel)); those at the edges are smaller."""
    if rows < 1 or columns < 1:
        raise PruningError(f"unit 'block': {rows} x {columns} is no block")
    _entries(mask, maps, "block")
    arrays = checked_scores(scores, mask)
    pools = []
    for name, pattern in mask.patterns.items():
        height, width = pattern.shape[0], int(np.prod(pattern.shape[1:], dtype=np.int64))
        ids = (np.arange(height) // rows)[:, None] * -(-width // columns) + np.arange(width) // columns
        pools.append(grouped_pool(name, pattern.shape, [Member(name, ids.reshape(pattern.shape))], arrays, mask, reduce))
    return pools


@units.register("row", kinds=("linear", "conv", "recurrent", "attention", "embedding"), spans_neurons=True, spans_gates=False)
def row(scores: Mapping[str, Tensor], mask: Mask, maps: Sequence[LinearMap], *, reduce: Reduction = "mean") -> list[Pool]:
    """Rows of a matrix: an output neuron, a filter, one gate of a hidden unit, a word's vector; with its bias where that is prunable."""
    return _rows(scores, mask, maps, "row", reduce)


@units.register("filter", kinds=("conv",), spans_neurons=True, spans_gates=False)
def filter_(scores: Mapping[str, Tensor], mask: Mask, maps: Sequence[LinearMap], *, reduce: Reduction = "mean") -> list[Pool]:
    """Filters: the output channels of convolutions, with their bias where that is prunable."""
    return _rows(scores, mask, maps, "filter", reduce)


@units.register("hidden", kinds=("recurrent",), spans_neurons=True, spans_gates=True, coupled=True)
def hidden(scores: Mapping[str, Tensor], mask: Mask, maps: Sequence[LinearMap], *, reduce: Reduction = "mean") -> list[Pool]:
    """Hidden units of recurrent layers: a row of every gate, a column of the recurrent weights, and what reads it in the same module.

    The row goes with its biases, where those are prunable; what reads it are columns of the next layer of a module with several.
    """
    entries = _entries(mask, maps, "hidden")
    arrays = checked_scores(scores, mask)
    layers: dict[tuple[str, int, str], dict[str, LinearMap]] = {}
    for entry in entries.values():
        found = re.fullmatch(r"weight_(ih|hh)_l(\d+)(_reverse)?", _local(entry))
        if found is None:
            raise PruningError(f"unit 'hidden': {entry.parameter!r} is a projection, whose size is not the number of hidden units")
        layers.setdefault((entry.module, int(found[2]), found[3] or ""), {})[found[1]] = entry
    pools = []
    for (module, level, way), parts in layers.items():
        if set(parts) != {"ih", "hh"}:
            lacking = "hh" if "ih" in parts else "ih"
            raise PruningError(f"unit 'hidden' removes whole units: weight_{lacking}_l{level}{way} of {module!r} must be prunable too")
        recurrent = parts["hh"]
        size = recurrent.shape[1]
        of_row = np.arange(recurrent.shape[0]) % size
        members = [Member(part.parameter, np.broadcast_to(of_row[:, None], part.shape)) for part in parts.values()]
        members += [Member(part.bias, of_row) for part in parts.values() if part.bias is not None and part.bias in mask]
        members.append(Member(recurrent.parameter, np.broadcast_to(np.arange(size), recurrent.shape), owned=False))
        for after in ("", "_reverse"):
            reader = layers.get((module, level + 1, after), {}).get("ih")
            if reader is not None:
                ids = np.full(reader.shape, -1)
                first = size if way else 0
                ids[:, first : first + size] = np.arange(size)
                members.append(Member(reader.parameter, ids, owned=False))
        pools.append(grouped_pool(parts["ih"].parameter, recurrent.shape, members, arrays, mask, reduce))
    _check_covered(pools, mask, "hidden")
    return pools


@units.register("head", kinds=("attention",), spans_neurons=True, spans_gates=True)
def head(scores: Mapping[str, Tensor], mask: Mask, maps: Sequence[LinearMap], *, reduce: Reduction = "mean") -> list[Pool]:
    """Attention heads: rows (and biases, where prunable) of the projections of queries, keys, values; columns of the output's."""
    entries = _entries(mask, maps, "head")
    arrays = checked_scores(scores, mask)
    attentions: dict[str, list[LinearMap]] = {}
    for entry in entries.values():
        found = _PROJECTION.fullmatch(entry.parameter)
        if found is None:
            raise PruningError(
                f"unit 'head': {entry.parameter!r} is named as no projection of an attention (q_proj, k_proj, v_proj, out_proj)"
            )
        attentions.setdefault(found[1] or "", []).append(entry)
    pools = []
    for attention, parts in attentions.items():
        out = next((part for part in parts if part.parameter.endswith("out_proj.weight")), None)
        if out is None or sum(part.shape[0] for part in parts) != 4 * out.shape[0]:
            raise PruningError(f"unit 'head' removes whole heads: all projections of {attention!r} must be prunable")
        width = out.shape[1] // out.heads
        members = [Member(out.parameter, np.broadcast_to(np.arange(out.shape[1]) // width, out.shape))]
        for part in parts:
            if part is not out:
                of_row = np.arange(part.shape[0]) % out.shape[1] // width
                members.append(Member(part.parameter, np.broadcast_to(of_row[:, None], part.shape)))
                if part.bias is not None and part.bias in mask:
                    members.append(Member(part.bias, of_row))
        pools.append(grouped_pool(out.parameter, out.shape, members, arrays, mask, reduce))
    _check_covered(pools, mask, "head")
    return pools


def _rows(scores: Mapping[str, Tensor], mask: Mask, maps: Sequence[LinearMap], unit: str, reduce: Reduction) -> list[Pool]:
    arrays = checked_scores(scores, mask)
    pools = []
    for name, entry in _entries(mask, maps, unit).items():
        axis = 0 if entry.kind == "embedding" else entry.output_axis
        ids = np.arange(entry.shape[axis])
        along = [-1 if each == axis else 1 for each in range(len(entry.shape))]
        members = [Member(name, np.broadcast_to(ids.reshape(along), entry.shape))]
        if entry.bias is not None and entry.bias in mask:
            members.append(Member(entry.bias, ids))
        gates = None
        if entry.blocks:
            gates = np.zeros(entry.shape[axis], dtype=np.int64)
            for number, its in enumerate(entry.blocks):
                gates[its.start : its.stop] = number
        pools.append(grouped_pool(name, entry.shape, members, arrays, mask, reduce, gates))
    _check_covered(pools, mask, unit)
    return pools


def _entries(mask: Mask, maps: Sequence[LinearMap], unit: str) -> dict[str, LinearMap]:
    """The linear maps of the mask's parameters, biases left out; `PruningError` where a unit is made of other kinds."""
    entries = {entry.parameter: entry for entry in maps}
    biases = {entry.bias for entry in maps}
    kinds = units.entry(unit).traits["kinds"]
    found = {}
    for name in mask:
        entry = entries.get(name)
        if entry is None and name in biases and unit not in ("nm", "block"):
            continue
        if entry is None or entry.kind not in kinds:
            what = "no linear map" if entry is None else f"of kind {entry.kind!r}"
            raise PruningError(f"unit {unit!r} is made of {', '.join(kinds)}; {name!r} is {what}: choose `prunable` to fit")
        found[name] = entry
    return found


def _check_covered(pools: Sequence[Pool], mask: Mask, unit: str) -> None:
    covered = {name for pool in pools for name in pool.spread(np.ones(pool.scores.size, dtype=np.bool_))}
    loose = sorted(set(mask) - covered)
    if loose:
        raise PruningError(f"unit {unit!r}: {', '.join(loose)} go with weights that are not prunable: choose `prunable` to fit")


def _local(entry: LinearMap) -> str:
    return entry.parameter.removeprefix(f"{entry.module}.") if entry.module else entry.parameter


def _pool_of_weights(name: str, pattern: Pattern, scores: NDArray[np.float64], entry: LinearMap | None) -> Pool:
    def spread(chosen: Flags) -> Mapping[str, Flags]:
        return {name: chosen.reshape(pattern.shape)}

    return Pool(name, pattern.shape, scores, spread, pattern=pattern, entry=entry)
