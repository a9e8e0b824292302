"""`SparseWeight`: the survivors of one weight tensor, with their places."""

from __future__ import annotations

from collections.abc import Mapping
from math import prod
from typing import Any, TypeVar, cast

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from secateur import _kernels
from secateur.captures import dense_in_graph, is_wrapped
from secateur.errors import PruningError
from secateur.masks import Pattern, random_pattern
from secateur.seeds import generator

_NARROW = 1 << 16


T = TypeVar("T")


def held(table: Mapping[str, T], name: str) -> T:
    """What a module's own table holds: torch's `__getattr__`, which searches three, takes a microsecond, and a layer asks several times."""
    try:
        return table[name]
    except KeyError:
        raise AttributeError(name) from None


class SparseWeight(nn.Module):
    """The surviving weights of a tensor of shape `shape`, read as a matrix (shape[0], product of the rest).

    `values` (survivors) is the parameter, in row order. The buffers `row_starts` (rows + 1, int64) and `column_bytes` (survivors, 2 or 4;
    uint8, the lowest first) say where they stand, so that `state_dict`, `deepcopy`, `.to()` and what is sent from process to process carry
    the pattern: bytes, since no collective of `torch.distributed` takes 16-bit numbers.
    A state dict with another pattern of the same shape loads: survivors and places change together.
    """

    row_starts: Tensor
    column_bytes: Tensor

    def __init__(self, pattern: Pattern, values: Tensor) -> None:
        super().__init__()
        if values.shape != (pattern.kept,):
            raise PruningError(f"{pattern.kept} survivors need as many values, not shape {tuple(values.shape)}")
        if len(pattern.shape) < 2:
            raise PruningError(f"a sparse weight has at least two axes, not shape {pattern.shape}")
        self.shape = tuple(pattern.shape)
        self.rows, self.width = self.shape[0], prod(self.shape[1:])  # of the matrix
        self.excluded_rows = pattern.excluded_rows
        self.register_parameter("values", nn.Parameter(values.detach().clone()))
        row_starts, column_bytes = _places(pattern)
        self.register_buffer("row_starts", row_starts)
        self.register_buffer("column_bytes", column_bytes)
        self._pattern: Pattern | None = pattern
        self._kernel: _kernels.Pattern | None = None
        self._slices: dict[tuple[int, int], _kernels.Pattern] = {}

    @classmethod
    def from_dense(cls, weight: Tensor, kept: Tensor | Pattern) -> SparseWeight:
        """The weights of `weight` that `kept` (a bool tensor of its shape, or a pattern) keeps."""
        pattern = kept if isinstance(kept, Pattern) else Pattern.from_tensor(kept)
        if pattern.shape != tuple(weight.shape):
            raise PruningError(f"the mask has shape {pattern.shape}, the weight {tuple(weight.shape)}")
        places = torch.tensor(pattern.indices()).to(weight.device)
        return cls(pattern, weight.detach().reshape(-1)[places])

    @classmethod
    def random(
        cls, shape: tuple[int, ...], density: float, bound: float, seed: int, name: str = "weight", excluded_rows: tuple[int, ...] = ()
    ) -> SparseWeight:
        """floor(density * prunable + 0.5) survivors at places drawn from (`seed`, `name`), with values uniform in [-bound, bound)."""
        if not 0.0 <= density <= 1.0:
            raise PruningError(f"a density lies between 0 and 1, not at {density}")
        prunable = prod(shape) - len(excluded_rows) * prod(shape[1:])
        pattern = random_pattern(shape, int(density * prunable + 0.5), seed, name, excluded_rows)
        values = torch.rand(pattern.kept, generator=generator(seed, name, "values")) * (2 * bound) - bound
        return cls(pattern, values)

    @property
    def values(self) -> nn.Parameter:
        """The surviving weights (survivors) in row order."""
        return cast(nn.Parameter, held(self._parameters, "values"))

    @property
    def columns(self) -> Tensor:
        """The columns of the survivors (survivors), uint16 where they fit, else int32: a view of `column_bytes`."""
        dtype = torch.uint16 if self.width <= _NARROW else torch.int32
        return self.column_bytes.view(dtype).squeeze(1)

    @property
    def pattern(self) -> Pattern:
        """Which weights survive; the same object until they move."""
        if self._pattern is None:
            self._pattern = Pattern.from_indices(self.shape, self._flat_places(), self.excluded_rows)
        return self._pattern

    @property
    def kernel(self) -> _kernels.Pattern:
        """The pattern as the kernels hold it; built on first use."""
        if self._kernel is None:
            columns = self.columns.cpu().numpy().astype(np.int64)
            self._kernel = _kernels.Pattern(self.rows, self.width, self.row_starts.cpu().numpy(), columns)
        return self._kernel

    def operands(self) -> tuple[Tensor, _kernels.Pattern]:
        """`values` and `kernel`, of which a product is computed, in one call: each one is time between the kernels."""
        values: Any = self._parameters["values"]
        return values, self._kernel or self.kernel

    def slice(self, first: int, last: int) -> tuple[Tensor, _kernels.Pattern]:
        """The survivors of rows [first, last), a view of `values`, and their pattern as the kernels hold it."""
        begin, end = int(self.row_starts[first]), int(self.row_starts[last])
        if (first, last) not in self._slices:
            starts = self.row_starts[first : last + 1].cpu().numpy() - begin
            columns = self.columns[begin:end].cpu().numpy().astype(np.int64)
            self._slices[first, last] = _kernels.Pattern(last - first, self.width, starts, columns)
        return self.values[begin:end], self._slices[first, last]

    @property
    def density(self) -> float:
        """Surviving fraction of the prunable weights."""
        return self.pattern.density

    def places(self) -> Tensor:
        """Flat positions of the survivors in the dense tensor: (survivors) int64, ascending."""
        counts = self.row_starts.diff()
        rows = torch.repeat_interleave(torch.arange(self.rows, device=counts.device), counts, output_size=self.column_bytes.shape[0])
        columns = torch.zeros_like(rows)
        for position in range(self.column_bytes.shape[1]):  # a view of another dtype is what no trace holds
            columns = columns + (self.column_bytes[:, position].to(torch.int64) << 8 * position)
        return rows * self.width + columns

    def to_dense(self) -> Tensor:
        """The tensor of shape `shape`, zero where pruned; gradients flow to `values`."""
        flat = self.values.new_zeros(prod(self.shape))
        return flat.index_put((self.places(),), self.values).view(self.shape)

    def move(self, pattern: Pattern, values: Tensor) -> None:
        """Take other survivors, as many or not, in place: `values` stays the parameter that an optimiser holds."""
        if pattern.shape != self.shape or pattern.excluded_rows != self.excluded_rows:
            raise PruningError(f"survivors move within {self.shape} (never kept: rows {self.excluded_rows}), not to {pattern!r}")
        if values.shape != (pattern.kept,):
            raise PruningError(f"{pattern.kept} survivors need as many values, not shape {tuple(values.shape)}")
        row_starts, column_bytes = _places(pattern)
        self.row_starts = row_starts.to(self.row_starts.device)
        self.column_bytes = column_bytes.to(self.column_bytes.device)
        self.values.data = values.detach().to(device=self.values.device, dtype=self.values.dtype).clone()
        if self.values.grad is not None and self.values.grad.shape != self.values.shape:
            self.values.grad = None
        self._pattern, self._kernel, self._slices = pattern, None, {}

    def runs_on_kernels(self, *activations: Tensor) -> bool:
        """Whether the kernels take these activations: float32 or float64 on the CPU, as `values`.

        Not under autocast, nor in a graph, nor what escaped from one.
        """
        values = self._parameters["values"]
        assert values is not None
        dtype = values.dtype
        if (dtype is not torch.float32 and dtype is not torch.float64) or not values.is_cpu:
            return False
        if torch.is_autocast_enabled("cpu") or dense_in_graph():
            return False
        for x in activations:  # noqa: SIM110 (a generator takes as long as the rest)
            if x.dtype is not dtype or not x.is_cpu or is_wrapped(x):
                return False
        return True

    def extra_repr(self) -> str:
        return f"shape={self.shape}, survivors={self.values.numel()}"

    def __getstate__(self) -> dict[str, Any]:
        return {**self.__dict__, "_kernel": None, "_slices": {}}

    def _flat_places(self) -> NDArray[np.int64]:
        places: NDArray[np.int64] = self.places().cpu().numpy()
        return places

    def _load_from_state_dict(self, state_dict: dict[str, Any], prefix: str, *args: Any, **kwargs: Any) -> None:
        loaded = {name: state_dict.get(prefix + name) for name in ("values", "row_starts", "column_bytes")}
        starts, columns, values = loaded["row_starts"], loaded["column_bytes"], loaded["values"]
        if starts is not None and columns is not None and values is not None:
            each = self.column_bytes.shape[1]
            consistent = starts.shape == (self.rows + 1,) and columns.shape == (values.numel(), each) and int(starts[-1]) == values.numel()
            if columns.storage_offset() % each:  # bytes may begin anywhere in a file, numbers may not
                state_dict[prefix + "column_bytes"] = columns.clone()
            if consistent and columns.shape != self.column_bytes.shape:
                self.column_bytes = self.column_bytes.new_empty(columns.shape)
                self.values.data = torch.empty(values.shape, dtype=self.values.dtype, device=self.values.device)
                self.values.grad = None
        super()._load_from_state_dict(state_dict, prefix, *args, **kwargs)
        self._pattern, self._kernel, self._slices = None, None, {}


def _places(pattern: Pattern) -> tuple[Tensor, Tensor]:
    """(row_starts, column_bytes) of a pattern read as a matrix."""
    rows, width = pattern.shape[0], prod(pattern.shape[1:])
    flat = pattern.indices()
    row_starts = np.searchsorted(flat, np.arange(rows + 1, dtype=np.int64) * width)
    columns = flat - np.repeat(np.arange(rows, dtype=np.int64), np.diff(row_starts)) * width
    narrow = columns.astype("<u2" if width <= _NARROW else "<i4")
    return torch.from_numpy(row_starts.astype(np.int64)), torch.from_numpy(narrow.view(np.uint8).reshape(len(narrow), narrow.itemsize))
