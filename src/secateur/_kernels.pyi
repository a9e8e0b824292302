"""The compiled kernels (kernels/module.cpp). Tensors are checked there: a wrong shape, dtype, device or stride raises."""

from collections.abc import Callable, Sequence

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
    def linear_forward(
        self,
        values: Tensor,
        bias: Tensor | None,
        x: Tensor,
        feature_major: bool,
        relu: bool,
        threads: int,
    ) -> Tensor: ...
    def linear_backward(
        self,
        values: Tensor,
        x: Tensor | None,
        dy: Tensor,
        y: Tensor | None,
        needs_x: bool,
        needs_values: bool,
        needs_bias: bool,
        feature_major: bool,
        threads: int,
    ) -> tuple[Tensor | None, Tensor | None, Tensor | None]: ...
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
    def words_forward(
        self,
        values: Tensor,
        bias: Tensor | None,
        x: Tensor,
        y: Tensor | None,
        maximum: Tensor | None,
        place: Tensor | None,
        taps: int,
        threads: int,
    ) -> None: ...
    def words_backward(
        self,
        values: Tensor,
        x: Tensor,
        dy: Tensor,
        place: Tensor | None,
        dx: Tensor | None,
        dvalues: Tensor | None,
        dbias: Tensor | None,
        taps: int,
        most: int,
        threads: int,
    ) -> bool: ...
    def embedding_forward(self, values: Tensor, ids: Tensor, y: Tensor, threads: int) -> None: ...
    def embedding_backward(self, ids: Tensor, dy: Tensor, dvalues: Tensor, threads: int) -> None: ...

def chain_forward(links: Sequence[tuple[Pattern, Tensor, Tensor | None, bool]], x: Tensor, threads: int) -> Tensor: ...

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

def new_tensor(like: Tensor, shape: tuple[int, ...]) -> Tensor: ...
def instruction_set() -> str: ...
def instruction_sets() -> list[str]: ...
def thread_source() -> str: ...
def round_trip() -> float: ...
def adam_step(
    parameters: Sequence[Tensor],
    gradients: Sequence[Tensor],
    first: Sequence[Tensor],
    second: Sequence[Tensor],
    kept: Sequence[NDArray[np.uint8] | None],
    rate: float,
    mean_step: float,
    square_keep: float,
    root_scale: float,
    eps: float,
    decay: float,
    shrink: float,
    threads: int,
) -> None: ...
def sgd_step(
    parameters: Sequence[Tensor],
    gradients: Sequence[Tensor],
    buffers: Sequence[Tensor | None],
    kept: Sequence[NDArray[np.uint8] | None],
    rate: float,
    momentum: float,
    nesterov: bool,
    decay: float,
    threads: int,
) -> None: ...
def scaled_rows(
    table: NDArray[np.uint8],
    rows: NDArray[np.int64],
    factor: NDArray[np.float32],
    shift: NDArray[np.float32],
    out: NDArray[np.float32],
    threads: int,
) -> None:
    """out[i, c] = table[rows[i], c] * factor[c] + shift[c]; `table` (n, channels, run), `out` (rows, channels, run)."""

Numbers = NDArray[np.float32] | NDArray[np.float64]
Bits = NDArray[np.uint8]

def highest(scores: Sequence[Numbers], candidates: Sequence[Bits], chosen: Sequence[Bits], count: int, magnitude: bool = False) -> int:
    """Set the bits of the `count` highest scores (|scores|, with `magnitude`) among the candidates of all arrays, flat and of one dtype.

    Ties go to the earlier array and place. Returns the number of the first array in which a candidate is not finite, or -1. Bits are
    packed as by `numpy.packbits`; those of `chosen` are clear at first.
    """

def highest_of_each(scores: Numbers, candidates: Bits, chosen: Bits, ends: NDArray[np.int64], counts: NDArray[np.int64]) -> bool:
    """The same for each run of places of one array: run i ends before ends[i] and keeps counts[i]. False where one is not finite."""

def highest_by_lamp(scores: Sequence[NDArray[np.float32]], candidates: Sequence[Bits], chosen: Sequence[Bits], count: int) -> bool:
    """As `highest`, by LAMP's scores of these. False, and nothing is chosen, where a candidate's score is negative or not finite."""

def at_random(candidates: Bits, chosen: Bits, size: int, count: int, seed: int) -> None:
    """Set the bits of min(count, candidates) of the candidates among `size` places, each set of so many with the same chance."""

def add_changes(weights: Numbers, gradients: Numbers, totals: Numbers, first: bool, threads: int) -> None:
    """totals += |weights * gradients|; where `first`, totals are overwritten, and may be the gradients."""

def uniform(values: Numbers, bound: float, seed: int) -> None:
    """Numbers of [-bound, bound), alike likely: multiples of bound / 2**23, by splitmix64."""

def popup_choose(
    weights: Numbers,
    scores: Numbers,
    used: Numbers,
    candidates: Bits | None,
    count: int,
    low: float,
    high: float,
    threads: int,
) -> tuple[float, float, int]:
    """used = weights at the `count` candidates (None: of all) of largest |score|, elsewhere zero.

    The threshold is looked for in [low, high] first. Returns the bracket to hand to the next step.
    """

def popup_step(
    weights: Numbers,
    scores: Numbers,
    used: Numbers | None,
    candidates: Bits | None,
    count: int,
    bracket: tuple[float, float, int],
    slopes: Numbers,
    buffers: Numbers,
    rate: float,
    momentum: float,
    decay: float,
    first: bool,
    threads: int,
) -> tuple[float, float, int]:
    """scores -= rate * buffers, of buffers = momentum * buffers + slopes * weights * sign(scores) + decay * scores; then the choice again.

    Without `used`, the last step: scores become their magnitudes, and buffers stay. The first step reads no buffers: these may be slopes.
    """

def squares(totals: Numbers, gradients: Numbers | None, weights: Numbers | None, divisor: float, first: bool, threads: int) -> None:
    """totals = (totals + gradients**2) * weights**2 / divisor, without what is None; where `first`, totals are squared before."""

def weigh(weights: Numbers, norms: Numbers, scores: Numbers, threads: int) -> None:
    """scores[r, c] = |weights[r, c] * norms[c]|, whatever the shapes in which rows and columns lie."""

def add_squares(vectors: Numbers, totals: NDArray[np.float64], threads: int) -> None:
    """totals[c] += the sum over rows of vectors[r, c]**2."""

def flow_on(weights: Numbers, x: NDArray[np.float64], y: NDArray[np.float64], threads: int) -> None:
    """y = |weights| x."""

def flow_back(
    weights: Numbers,
    x: NDArray[np.float64],
    dy: NDArray[np.float64],
    dx: NDArray[np.float64],
    scores: NDArray[np.float64],
    threads: int,
) -> bool:
    """dx = |weights|^T dy, and scores = |weights| * dy x^T. Whether the sums of scores are finite: then all are."""

def renew(
    weights: Numbers,
    kept: Bits,
    renewed: Bits,
    stay: int,
    grow: int,
    growth: Numbers | None = None,
    prunable: Bits | None = None,
    seed: int = 0,
) -> None:
    """Set the bits of the `stay` kept weights of largest |weight|, and of `grow` others: of largest |growth|, or drawn by the seed."""

def renew_by_shares(
    weights: Sequence[Numbers],
    kept: Sequence[Bits],
    renewed: Sequence[Bits],
    stay: Sequence[int],
    growth: Sequence[Numbers],
    prunable: Sequence[Bits | None],
    shares: Callable[[list[float]], list[int]],
) -> None:
    """The same for layers that share what grows: `shares` says how many in each, given the sums of |growth| of their kept weights.

    It is asked with estimates first.
    """

def fill_where(bits: Bits, values: Numbers, value: float, but: Bits | None = None) -> None:
    """values[i] = value wherever bit i is set, and not set in `but`, in place."""

def count_set(bits: Bits) -> int:
    """How many bits are set."""
