"""Masks: which weights of each prunable parameter are kept. Plain, immutable data.

A mask maps a parameter's name to a `Pattern`, which holds packed bits or sorted indices, whichever is smaller, so
that a network too big to exist dense has a mask that fits. `mask[name]` gives a bool tensor on demand.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Iterable, Iterator, Mapping
from functools import cached_property
from math import prod
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from secateur import _kernels
from secateur.canonical import canonical_json
from secateur.errors import PruningError
from secateur.seeds import generator

_FORMAT = 1


class Pattern:
    """The kept positions of one parameter: packed bits, or sorted flat indices where those take fewer bytes.

    `excluded_rows` are rows along the first axis that are never prunable and never kept (an embedding's padding
    row): they count neither as kept nor as pruned.
    """

    __slots__ = ("_bits", "_indices", "excluded_rows", "kept", "shape")

    def __init__(
        self,
        shape: tuple[int, ...],
        kept: int,
        bits: NDArray[np.uint8] | None,
        indices: NDArray[np.int64] | None,
        excluded_rows: tuple[int, ...] = (),
    ) -> None:
        self.shape = shape
        self.kept = kept
        self.excluded_rows = excluded_rows
        self._bits = bits
        self._indices = indices
        for array in (bits, indices):
            if array is not None:
                array.setflags(write=False)

    @classmethod
    def from_tensor(cls, kept: Tensor, excluded_rows: tuple[int, ...] = ()) -> Pattern:
        """The pattern of a bool tensor; `PruningError` when it keeps an excluded row."""
        if kept.dtype is not torch.bool:
            raise PruningError(f"a mask is a bool tensor, not {kept.dtype}")
        flags = kept.detach().cpu().numpy()
        shape = tuple(kept.shape)
        excluded_rows = _checked_rows(shape, excluded_rows)
        if any(flags[row].any() for row in excluded_rows):
            raise PruningError(f"rows {list(excluded_rows)} are not prunable (a padding row), but the mask keeps weights of them")
        flags = np.ascontiguousarray(flags).reshape(-1)
        count = int(np.count_nonzero(flags))
        if _indices_are_smaller(count, flags.size):
            return cls(shape, count, None, np.flatnonzero(flags).astype(np.int64), excluded_rows)
        return cls(shape, count, np.packbits(flags), None, excluded_rows)

    @classmethod
    def from_indices(cls, shape: tuple[int, ...], indices: NDArray[np.integer[Any]], excluded_rows: tuple[int, ...] = ()) -> Pattern:
        """The pattern that keeps the flat positions `indices` (distinct, ascending); the tensor is never made dense if few are kept."""
        positions: NDArray[np.int64] = np.array(indices, dtype=np.int64)
        size = prod(shape)
        excluded_rows = _checked_rows(shape, excluded_rows)
        if positions.size and (positions[0] < 0 or positions[-1] >= size or (np.diff(positions) <= 0).any()):
            raise PruningError(f"kept positions must be ascending, distinct and below {size}")
        if excluded_rows and np.isin(positions // (size // shape[0]), excluded_rows).any():
            raise PruningError(f"rows {list(excluded_rows)} are not prunable (a padding row), but the mask keeps weights of them")
        if _indices_are_smaller(positions.size, size):
            return cls(shape, int(positions.size), None, positions, excluded_rows)
        flags = np.zeros(size, dtype=bool)
        flags[positions] = True
        return cls(shape, int(positions.size), np.packbits(flags), None, excluded_rows)

    @classmethod
    def from_bits(cls, shape: tuple[int, ...], bits: NDArray[np.uint8], excluded_rows: tuple[int, ...] = ()) -> Pattern:
        """The pattern of packed bits (as by `numpy.packbits`, those beyond the last weight clear), which it takes over unchecked."""
        count = _kernels.count_set(bits)
        if not _indices_are_smaller(count, prod(shape)):
            return cls(shape, count, bits, None, excluded_rows)
        touched = np.flatnonzero(bits)
        byte, place = np.nonzero(np.unpackbits(bits[touched]).reshape(-1, 8))
        return cls(shape, count, None, touched[byte] * 8 + place, excluded_rows)

    @classmethod
    def full(cls, shape: tuple[int, ...], excluded_rows: tuple[int, ...] = ()) -> Pattern:
        """Every prunable weight kept."""
        flags = torch.ones(shape, dtype=torch.bool)
        if excluded_rows:
            flags[list(_checked_rows(shape, excluded_rows))] = False
        return cls.from_tensor(flags, excluded_rows)

    @property
    def size(self) -> int:
        """Number of weights of the parameter, prunable or not."""
        return prod(self.shape)

    @property
    def prunable(self) -> int:
        """Number of weights that may be pruned: all but those of excluded rows."""
        if not self.excluded_rows:
            return self.size
        return self.size - len(self.excluded_rows) * (self.size // self.shape[0])

    @property
    def density(self) -> float:
        """Kept fraction of the prunable weights (1.0 for a parameter without any)."""
        return self.kept / self.prunable if self.prunable else 1.0

    @property
    def nbytes(self) -> int:
        """Bytes that the pattern takes in memory."""
        array = self._bits if self._bits is not None else self._indices
        assert array is not None
        return int(array.nbytes)

    def flags(self) -> NDArray[np.bool_]:
        """Kept or not, for every weight: bool, of the parameter's shape."""
        if self._bits is not None:
            return np.unpackbits(self._bits, count=self.size).view(np.bool_).reshape(self.shape)
        flags = np.zeros(self.size, dtype=np.bool_)
        flags[self._indices] = True
        return flags.reshape(self.shape)

    def bits(self) -> NDArray[np.uint8]:
        """Kept or not, for every weight: packed bits, the first of a byte its highest, those beyond the last weight clear."""
        if self._bits is not None:
            return self._bits
        assert self._indices is not None
        bits = np.zeros((self.size + 7) // 8, np.uint8)
        byte = self._indices >> 3
        firsts = np.flatnonzero(np.diff(byte, prepend=-1))
        if firsts.size:
            bits[byte[firsts]] = np.bitwise_or.reduceat((128 >> (self._indices & 7)).astype(np.uint8), firsts)
        return bits

    def prunable_bits(self) -> NDArray[np.uint8]:
        """Prunable or not, for every weight: packed bits."""
        if self.excluded_rows:
            flags = np.ones(self.shape, np.bool_)
            flags[list(self.excluded_rows)] = False
            return np.packbits(flags)
        return _clear_beyond(np.full((self.size + 7) // 8, 0xFF, np.uint8), self.size)

    def with_bits(self, bits: NDArray[np.uint8]) -> Pattern:
        """Another pattern over the same parameter, of packed bits that keep no excluded row."""
        return Pattern.from_bits(self.shape, bits, self.excluded_rows)

    def complement(self) -> Pattern:
        """Every weight that this pattern does not keep, prunable or not."""
        return Pattern.from_bits(self.shape, _clear_beyond(~self.bits(), self.size))

    def indices(self) -> NDArray[np.int64]:
        """Flat positions of the kept weights, ascending."""
        if self._indices is not None:
            return self._indices
        return np.flatnonzero(self.flags()).astype(np.int64)

    def tensor(self) -> Tensor:
        """Kept or not, for every weight: a bool tensor of the parameter's shape."""
        return torch.from_numpy(self.flags())

    def stored(self) -> tuple[str, NDArray[Any]]:
        """What the pattern holds: ("bits", uint8) or ("indices", int64)."""
        if self._bits is not None:
            return "bits", self._bits
        assert self._indices is not None
        return "indices", self._indices

    def with_kept(self, flags: NDArray[np.bool_]) -> Pattern:
        """Another pattern over the same parameter, with the same excluded rows (which stay out)."""
        flags = flags.reshape(self.shape)
        if self.excluded_rows:
            flags = flags.copy()
            flags[list(self.excluded_rows)] = False
        return Pattern.from_tensor(torch.from_numpy(np.ascontiguousarray(flags)), self.excluded_rows)

    def __eq__(self, other: object) -> bool:
        if not isinstance(other, Pattern):
            return NotImplemented
        mine, theirs = self.stored(), other.stored()
        return (
            self.shape == other.shape
            and self.excluded_rows == other.excluded_rows
            and mine[0] == theirs[0]
            and bool(np.array_equal(mine[1], theirs[1]))
        )

    def __hash__(self) -> int:
        return hash((self.shape, self.kept, self.excluded_rows))

    def __repr__(self) -> str:
        return f"Pattern(shape={self.shape}, kept={self.kept}, density={self.density:.4g})"


class Mask(Mapping[str, Tensor]):
    """For each prunable parameter, which of its weights are kept. Immutable; `mask[name]` is a bool tensor."""

    def __init__(self, patterns: Mapping[str, Pattern | Tensor]) -> None:
        self._patterns = {
            name: pattern if isinstance(pattern, Pattern) else Pattern.from_tensor(pattern) for name, pattern in sorted(patterns.items())
        }

    def __getitem__(self, name: str) -> Tensor:
        return self.pattern(name).tensor()

    def __iter__(self) -> Iterator[str]:
        return iter(self._patterns)

    def __len__(self) -> int:
        return len(self._patterns)

    def __contains__(self, name: object) -> bool:
        return name in self._patterns

    def pattern(self, name: str) -> Pattern:
        """The pattern of one parameter; `PruningError` when the mask does not cover it."""
        try:
            return self._patterns[name]
        except KeyError:
            raise PruningError(f"the mask has no parameter {name!r}; it covers {', '.join(self._patterns) or 'none'}") from None

    @property
    def patterns(self) -> Mapping[str, Pattern]:
        """Parameter name -> pattern."""
        return dict(self._patterns)

    @property
    def kept(self) -> int:
        """Number of kept weights."""
        return sum(pattern.kept for pattern in self._patterns.values())

    @property
    def prunable(self) -> int:
        """Number of prunable weights."""
        return sum(pattern.prunable for pattern in self._patterns.values())

    @property
    def density(self) -> float:
        """Kept fraction of the prunable weights."""
        return self.kept / self.prunable if self.prunable else 1.0

    @property
    def sparsity(self) -> float:
        """1 - density."""
        return 1.0 - self.density

    def densities(self) -> dict[str, float]:
        """Density of each parameter."""
        return {name: pattern.density for name, pattern in self._patterns.items()}

    def emptied(self) -> list[str]:
        """Parameters of which nothing is kept: the network is cut there."""
        return [name for name, pattern in self._patterns.items() if pattern.kept == 0 and pattern.prunable > 0]

    def map(self, change: Callable[[str, Pattern], Pattern]) -> Mask:
        """A mask whose patterns are `change(name, pattern)`."""
        return Mask({name: change(name, pattern) for name, pattern in self._patterns.items()})

    def __and__(self, other: Mask) -> Mask:
        return self._combined(other, np.bitwise_and)

    def __or__(self, other: Mask) -> Mask:
        return self._combined(other, np.bitwise_or)

    def __invert__(self) -> Mask:
        return self.map(lambda _, pattern: pattern.with_bits(pattern.prunable_bits() & ~pattern.bits()))

    def __xor__(self, other: Mask) -> Mask:
        return self._combined(other, np.bitwise_xor)

    def distance(self, other: Mask) -> float:
        """Normalised Hamming distance: the fraction of prunable weights on which the two masks differ."""
        return (self ^ other).density if self.prunable else 0.0

    def shuffled(self, seed: int) -> Mask:
        """The same number of kept weights in each parameter, at positions drawn from `seed`."""

        def shuffle(name: str, pattern: Pattern) -> Pattern:
            return random_pattern(pattern.shape, pattern.kept, seed, name, pattern.excluded_rows)

        return self.map(shuffle)

    @cached_property
    def digest(self) -> str:
        """sha256 over names, shapes and kept positions."""
        hashed = hashlib.sha256()
        for name, pattern in self._patterns.items():
            form, array = pattern.stored()
            hashed.update(canonical_json([name, pattern.shape, pattern.excluded_rows, form]).encode())
            hashed.update(array.tobytes())
        return hashed.hexdigest()

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Mask) and self._patterns == other._patterns

    def __hash__(self) -> int:
        return hash(self.digest)

    def __repr__(self) -> str:
        return f"Mask(parameters={len(self)}, kept={self.kept}, density={self.density:.4g})"

    def tensors(self) -> tuple[dict[str, Tensor], dict[str, Any]]:
        """The mask as named tensors and a JSON-able description, for a safetensors file of one's own."""
        arrays: dict[str, Tensor] = {}
        described: dict[str, Any] = {}
        for name, pattern in self._patterns.items():
            form, array = pattern.stored()
            if form == "indices" and pattern.size <= np.iinfo(np.int32).max:
                array = array.astype(np.int32)
            arrays[f"{name}.{form}"] = torch.from_numpy(array.copy())
            described[name] = {
                "shape": list(pattern.shape),
                "form": form,
                "kept": pattern.kept,
                "excluded_rows": list(pattern.excluded_rows),
            }
        return arrays, {"format": _FORMAT, "patterns": described}

    @classmethod
    def from_tensors(cls, arrays: Mapping[str, Tensor], description: Mapping[str, Any]) -> Mask:
        """The mask that `tensors` wrote; `PruningError` when the pieces do not fit."""
        if description.get("format") != _FORMAT:
            raise PruningError(f"this is no mask of format {_FORMAT}: format {description.get('format')!r}")
        patterns = {}
        for name, entry in description["patterns"].items():
            shape, rows = tuple(entry["shape"]), tuple(entry["excluded_rows"])
            array = arrays[f"{name}.{entry['form']}"].numpy()
            if entry["form"] == "bits":
                if array.size != (prod(shape) + 7) // 8:
                    raise PruningError(f"mask of {name!r}: {array.size} bytes of bits do not fit shape {shape}")
                flags = np.unpackbits(array, count=prod(shape)).view(np.bool_).reshape(shape)
                patterns[name] = Pattern.from_tensor(torch.from_numpy(flags), rows)
            else:
                patterns[name] = Pattern.from_indices(shape, array, rows)
            if patterns[name].kept != entry["kept"]:
                raise PruningError(f"mask of {name!r} keeps {patterns[name].kept} weights, its description says {entry['kept']}")
        return cls(patterns)

    def save(self, path: str | Path) -> None:
        """Write the mask to a safetensors file: equal masks give equal bytes."""
        from safetensors.torch import save_file

        arrays, description = self.tensors()
        save_file(arrays, str(path), metadata={"secateur": canonical_json({"mask": description})})

    @classmethod
    def load(cls, path: str | Path) -> Mask:
        """Read a mask that `save` wrote."""
        from safetensors import safe_open

        with safe_open(str(path), framework="pt") as file:
            metadata = (file.metadata() or {}).get("secateur")
            description = json.loads(metadata).get("mask") if metadata else None
            if description is None:
                raise PruningError(f"{path} holds no mask of Secateur")
            arrays = {key: file.get_tensor(key) for key in file.keys()}  # noqa: SIM118
        return cls.from_tensors(arrays, description)

    def _combined(self, other: Mask, combine: Callable[..., Any]) -> Mask:
        self._check_same_parameters(other)
        return self.map(lambda name, pattern: pattern.with_bits(combine(pattern.bits(), other.pattern(name).bits())))

    def _check_same_parameters(self, other: Mask) -> None:
        mine = {name: (pattern.shape, pattern.excluded_rows) for name, pattern in self._patterns.items()}
        theirs = {name: (pattern.shape, pattern.excluded_rows) for name, pattern in other._patterns.items()}
        if mine != theirs:
            differing = sorted(name for name in mine.keys() | theirs.keys() if mine.get(name) != theirs.get(name))
            raise PruningError(f"the masks cover different parameters: {', '.join(differing)}")


def random_pattern(
    shape: tuple[int, ...], kept: int, seed: int, name: str, excluded_rows: tuple[int, ...] = (), without: Pattern | None = None
) -> Pattern:
    """`kept` positions of `shape` drawn without replacement from (`seed`, `name`), none of those that `without` keeps.

    Memory follows what is kept, not the shape.
    """
    width = prod(shape[1:])
    excluded = _checked_rows(shape, excluded_rows)
    # Places are counted over the rows that are not excluded.
    taken = np.empty(0, np.int64) if without is None else without.indices()
    taken = taken - np.searchsorted(np.array(excluded, np.int64) * width, taken, side="right") * width
    free = prod(shape) - len(excluded) * width - len(taken)
    if not 0 <= kept <= free:
        raise PruningError(f"{name!r} has {free} prunable weights that are free; {kept} cannot be kept")
    draw = np.random.Generator(np.random.PCG64(generator(seed, name).initial_seed()))
    chosen = np.sort(draw.choice(free, kept, replace=False, shuffle=False))
    chosen += np.searchsorted(taken - np.arange(len(taken)), chosen, side="right")
    for row in excluded:
        chosen[chosen >= row * width] += width
    return Pattern.from_indices(shape, chosen, excluded_rows)


def _clear_beyond(bits: NDArray[np.uint8], size: int) -> NDArray[np.uint8]:
    """`bits`, in place, clear beyond the last of `size` weights."""
    if size % 8:
        bits[-1] &= np.uint8(0xFF << (8 - size % 8) & 0xFF)
    return bits


def _indices_are_smaller(kept: int, size: int) -> bool:
    return kept * 64 < size


def _checked_rows(shape: tuple[int, ...], rows: tuple[int, ...]) -> tuple[int, ...]:
    if any(not 0 <= row < shape[0] for row in rows):
        raise PruningError(f"excluded rows {list(rows)} lie outside of shape {shape}")
    return tuple(sorted(set(rows)))


def parameters_of(model: torch.nn.Module, mask: Mask) -> dict[str, torch.nn.Parameter]:
    """The parameters that `mask` covers, by name; `PruningError` when the model lacks one or its shape differs."""
    parameters = dict(model.named_parameters())
    for name, pattern in mask.patterns.items():
        if name not in parameters:
            raise PruningError(f"the model has no parameter {name!r}, which the mask covers")
        if tuple(parameters[name].shape) != pattern.shape:
            raise PruningError(f"mask of {name!r} has shape {pattern.shape}, the parameter {tuple(parameters[name].shape)}")
    return {name: parameters[name] for name in mask}


def apply(mask: Mask, model: torch.nn.Module) -> None:
    """Set every pruned weight of `model` to zero, in place."""
    with torch.no_grad():
        for name, parameter in parameters_of(model, mask).items():
            parameter.masked_fill_(~mask[name].to(parameter.device), 0.0)


def zero_where(tensor: Tensor, pattern: Pattern, but: Pattern | None = None) -> None:
    """Set `tensor` to zero wherever `pattern`, of its shape, keeps and `but` does not, in place."""
    zero_each([(tensor, pattern, but)])


def zero_each(places: Iterable[tuple[Tensor, Pattern, Pattern | None]]) -> None:
    """`zero_where` of several tensors."""
    filled = []
    for tensor, pattern, but in places:
        if tensor.is_cpu and tensor.is_contiguous() and tensor.dtype in (torch.float32, torch.float64):
            values = tensor.detach().numpy().reshape(-1)
            form, array = pattern.stored()
            if form == "bits":
                filled.append((array, values, None if but is None else but.bits()))
            else:
                values[array if but is None else np.setdiff1d(array, but.indices(), assume_unique=True)] = 0.0
        else:
            where = pattern.tensor() if but is None else pattern.tensor() & ~but.tensor()
            with torch.no_grad():
                tensor.masked_fill_(where.to(tensor.device), 0.0)
    for bits, values, except_bits in filled:  # one after another: each pushes out of the cache what Python needs
        _kernels.fill_where(bits, values, 0.0, except_bits)
