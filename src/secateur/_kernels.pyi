"""The compiled kernels (kernels/module.cpp). Tensors are checked there: a wrong shape, dtype, device or stride raises."""

import numpy as np
from numpy.typing import NDArray
from torch import Tensor

class Pattern:
    """Which weights of a (rows, columns) matrix survive."""

    def __init__(self, rows: int, columns: int, row_starts: NDArray[np.int64], column_of: NDArray[np.int64]) -> None: ...
    @property
    def rows(self) -> int: ...
    @property
    def columns(self) -> int: ...
    @property
    def survivors(self) -> int: ...
    @property
    def nbytes(self) -> int: ...
    def packed_size(self, batch: int, twofold: bool = False) -> int: ...
    def linear_forward(
        self,
        values: Tensor,
        bias: Tensor | None,
        x: Tensor,
        y: Tensor,
        packed: Tensor | None,
        feature_major: bool,
        relu: bool,
        threads: int,
    ) -> None: ...
    def linear_backward(
        self,
        values: Tensor,
        packed: Tensor | None,
        dy: Tensor,
        y: Tensor | None,
        dx: Tensor | None,
        dvalues: Tensor | None,
        dbias: Tensor | None,
        feature_major: bool,
        threads: int,
    ) -> None: ...
    def conv_packed_size(self, x: Tensor, taps: int, stride: int, padding: int, dilation: int) -> int: ...
    def conv_forward(
        self,
        values: Tensor,
        bias: Tensor | None,
        x: Tensor,
        y: Tensor,
        packed: Tensor | None,
        taps: int,
        stride: int,
        padding: int,
        dilation: int,
        relu: bool,
        threads: int,
    ) -> None: ...
    def conv_backward(
        self,
        values: Tensor,
        packed: Tensor | None,
        length: int,
        dy: Tensor,
        y: Tensor | None,
        dx: Tensor | None,
        dvalues: Tensor | None,
        dbias: Tensor | None,
        taps: int,
        stride: int,
        padding: int,
        dilation: int,
        threads: int,
    ) -> None: ...
    def words_forward(self, values: Tensor, bias: Tensor | None, x: Tensor, y: Tensor, taps: int, threads: int) -> None: ...
    def words_backward(
        self,
        values: Tensor,
        x: Tensor,
        dy: Tensor,
        dx: Tensor | None,
        dvalues: Tensor | None,
        dbias: Tensor | None,
        taps: int,
        most: int,
        threads: int,
    ) -> bool: ...
    def embedding_forward(self, values: Tensor, ids: Tensor, y: Tensor, threads: int) -> None: ...
    def embedding_backward(self, ids: Tensor, dy: Tensor, dvalues: Tensor, threads: int) -> None: ...

class Steps:
    """Where the steps of a sequence lie in tiles."""

    def __init__(self, counts: list[int], twofold: bool) -> None: ...
    @property
    def columns(self) -> int: ...
    def into_tiles(self, arrangement: str, outside: Tensor, tiled: Tensor, threads: int) -> None: ...
    def out_of_tiles(self, arrangement: str, tiled: Tensor, outside: Tensor, threads: int) -> None: ...

class Recurrence:
    """One direction of one recurrent layer."""

    def __init__(self, cell: str, input: Pattern, recurrent: Pattern) -> None: ...
    @property
    def rows(self) -> int: ...
    @property
    def saved_rows(self) -> int: ...
    @property
    def nbytes(self) -> int: ...
    def forward(
        self,
        steps: Steps,
        reverse: bool,
        values_input: Tensor,
        values_recurrent: Tensor,
        bias_input: Tensor | None,
        bias_recurrent: Tensor | None,
        x: Tensor,
        h_first: Tensor | None,
        c_first: Tensor | None,
        gates: Tensor | None,
        before_h: Tensor | None,
        before_c: Tensor | None,
        y: Tensor,
        y_first: int,
        h_last: Tensor,
        c_last: Tensor | None,
        threads: int,
    ) -> None: ...
    def backward(
        self,
        steps: Steps,
        reverse: bool,
        values_input: Tensor,
        values_recurrent: Tensor,
        x: Tensor,
        gates: Tensor,
        before_h: Tensor,
        before_c: Tensor | None,
        dy: Tensor | None,
        y_features: int,
        y_first: int,
        dh_last: Tensor | None,
        dc_last: Tensor | None,
        dx: Tensor | None,
        add_dx: bool,
        dvalues_input: Tensor | None,
        dvalues_recurrent: Tensor | None,
        dbias_input: Tensor | None,
        dbias_recurrent: Tensor | None,
        dh_first: Tensor | None,
        dc_first: Tensor | None,
        threads: int,
    ) -> None: ...

def instruction_set() -> str: ...
def instruction_sets() -> list[str]: ...
def thread_source() -> str: ...
