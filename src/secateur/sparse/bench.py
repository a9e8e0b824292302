"""`bench`: how long sparse and dense take, side by side in one process: equal threads, warm-up, medians and spread."""

from __future__ import annotations

import copy
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from functools import partial
from statistics import median
from typing import Any, Literal

import torch
from torch import Tensor, nn

from secateur import _kernels
from secateur.errors import InputError
from secateur.linear_maps import Kind
from secateur.masks import Mask, apply, random_pattern
from secateur.sparse.compression import compress
from secateur.sparse.convolution import SparseConv1d
from secateur.sparse.execution import Crossover, Crossovers
from secateur.sparse.linear import SparseLinear

What = Literal["kernels", "layers", "training", "inference"]
DENSITIES = (0.2, 0.1, 0.05, 0.01)
_GRID = (0.7, 0.5, 0.35, 0.25, 0.15, 0.1, 0.05)
SIZES = ((1024, 1024, 64), (1024, 1024, 512), (2048, 2048, 128))


@dataclass(frozen=True)
class Timing:
    """One way to compute one thing: median seconds, the quartiles beside it, and how many times faster than the best dense way.

    `round_trip_ns`: nanoseconds in which a cache line goes to another core and back, after the case was timed; 0 with one thread. Two cores
    that have no cache in common take several times as long as others, and cores of a virtual machine move.
    """

    what: str
    case: str
    density: float
    way: str
    seconds: float
    low: float
    high: float
    speedup: float
    round_trip_ns: float

    def row(self) -> dict[str, Any]:
        """The timing as a row of a table."""
        return asdict(self)


def timed(ways: Mapping[str, Callable[[], object]], rounds: int, warm_up: int = 5) -> dict[str, tuple[float, float, float]]:
    """Median and quartiles of the seconds that each way takes; the ways take turns, so that what disturbs one disturbs all."""
    for way in ways.values():
        for _ in range(warm_up):
            way()
    seconds: dict[str, list[float]] = {name: [] for name in ways}
    for _ in range(rounds):
        for name, way in ways.items():
            way()  # the caches are this way's own when its clock runs
            start = time.perf_counter()
            way()
            seconds[name].append(time.perf_counter() - start)
    ordered = {name: sorted(values) for name, values in seconds.items()}
    return {name: (median(values), values[len(values) // 4], values[(3 * len(values)) // 4]) for name, values in ordered.items()}


def bench(what: What, *, densities: Sequence[float] = DENSITIES, rounds: int = 40, threads: int | None = None) -> Iterator[Timing]:
    """The timings of one kind, case by case. Denormal numbers are flushed to zero, for all ways alike.

    `kernels`: the product alone; `layers`: forward and backward pass of a layer; `training`: a step of a small network with Adam;
    `inference`: three layers with ReLU. `InputError` for another kind.
    """
    cases = {"kernels": _kernel_cases, "layers": _layer_cases, "training": _training_cases, "inference": _inference_cases}
    if what not in cases:
        raise InputError(f"bench measures {', '.join(cases)}, not {what!r}")
    torch.set_flush_denormal(True)
    before = torch.get_num_threads()
    torch.set_num_threads(threads or before)
    try:
        for density in densities:
            for case, ways in cases[what](density):
                found = timed(ways, rounds)
                round_trip = _kernels.round_trip() if torch.get_num_threads() > 1 else 0.0
                best = min(seconds for name, (seconds, _, _) in found.items() if name.startswith("dense"))
                for name, (seconds, low, high) in found.items():
                    yield Timing(what, case, density, name, seconds, low, high, best / seconds, round_trip)
    finally:
        torch.set_num_threads(before)


def environment() -> dict[str, Any]:
    """What timings depend on, to be kept beside them."""
    return {"instruction_set": _kernels.instruction_set(), "threads": torch.get_num_threads(), "torch": torch.__version__}


def measure_crossovers(
    kinds: Sequence[Kind] = ("linear", "conv", "recurrent", "embedding"),
    batches: Sequence[int] = (1, 16, 64, 256),
    sizes: Sequence[int] = (128, 512, 2048),
    rounds: int = 15,
    convolution: type[nn.Conv1d] = nn.Conv1d,
) -> Crossovers:
    """A crossover table measured here: the density at which a layer's forward and backward pass cost the same dense and sparse.

    Linear layers of `sizes` squared at `batches` examples; convolutions of 100 filters over four words of 50 (of the class
    `convolution`, whose maximum over time is taken), LSTM layers of 128 and 256 over 30 steps and an embedding of 25,000 words of 100, at
    16 and 64 texts of 50. Densities are tried from the densest on, until sparse is the faster; between two of them density
    and speed-up are joined by a line.
    """
    layers: list[tuple[Kind, nn.Module, int, Tensor]] = []
    drawn = torch.Generator().manual_seed(0)
    if "linear" in kinds:
        layers += [("linear", nn.Linear(size, size), batch, _drawn(batch, size)) for size in sizes for batch in batches]
    for batch in (16, 64):
        if "conv" in kinds:
            for channels in (100, 300):
                x = _drawn(batch, 50, channels).transpose(1, 2)
                layers.append(("conv", nn.Sequential(convolution(channels, 100, 4), nn.AdaptiveMaxPool1d(1)), batch, x))
        if "recurrent" in kinds:
            layers += [("recurrent", nn.LSTM(size, size), batch, _drawn(30, batch, size)) for size in (128, 256)]
        if "embedding" in kinds:
            ids = torch.randint(0, 25_000, (batch, 50), generator=drawn)
            layers.append(("embedding", nn.Embedding(25_000, 100), batch, ids))
    entries = [_crossover(kind, layer, batch, x, rounds) for kind, layer, batch, x in layers]
    described = environment()
    return Crossovers(tuple(entries), ", ".join(f"{key} {value}" for key, value in described.items()))


def _crossover(kind: Kind, layer: nn.Module, batch: int, x: Tensor, rounds: int) -> Crossover:
    """Where the layer crosses at `batch` examples."""
    weights = {name: parameter for name, parameter in layer.named_parameters() if parameter.dim() > 1}
    ratios: list[tuple[float, float]] = []
    for density in _GRID:
        patterns = {n: random_pattern(tuple(w.shape), int(density * w.numel() + 0.5), 0, n) for n, w in weights.items()}
        mask = Mask(patterns)
        with torch.no_grad():
            output = _first(layer(x))
        dy = _drawn(*output.shape)
        found = timed({"dense": _backward(layer, x, dy), "sparse": _backward(compress(layer, mask), x, dy)}, rounds, warm_up=2)
        # The lower quartiles: what disturbs a timing only ever adds to it.
        ratios.append((density, found["dense"][1] / found["sparse"][1]))
        if ratios[-1][1] > 1.0:
            break
    first = next(iter(weights.values()))
    return Crossover(kind, first.shape[0], first[0].numel(), batch, _crossing(ratios))


def _crossing(ratios: Sequence[tuple[float, float]]) -> float:
    """The density at which the speed-up crosses one; `ratios` holds (density, speed-up), densest first."""
    previous: tuple[float, float] | None = None
    for density, ratio in ratios:
        if ratio > 1.0:
            if previous is None:
                return density
            part = (1.0 - previous[1]) / (ratio - previous[1])
            return round(previous[0] + part * (density - previous[0]), 4)
        previous = (density, ratio)
    return 0.0


def _drawn(*shape: int) -> Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(0))


def _masked_linear(inputs: int, outputs: int, density: float) -> tuple[nn.Linear, Tensor]:
    dense = nn.Linear(inputs, outputs)
    kept = random_pattern((outputs, inputs), int(density * inputs * outputs + 0.5), 0, "bench").tensor()
    with torch.no_grad():
        dense.weight.copy_(_drawn(outputs, inputs) / inputs**0.5 * kept)
    return dense, kept


def _backward(layer: nn.Module, x: Tensor, dy: Tensor) -> Callable[[], None]:
    """Forward and backward pass, with fresh gradients each time."""
    x = x.detach().requires_grad_(x.is_floating_point())
    parameters = list(layer.parameters())

    def run() -> None:
        x.grad = None
        for parameter in parameters:
            parameter.grad = None
        torch.autograd.backward(_first(layer(x)), dy)

    return run


def _first(output: Tensor | tuple[Tensor, ...]) -> Tensor:
    """A recurrent layer gives its states too."""
    return output if isinstance(output, Tensor) else output[0]


class _DenseFeatureMajor(nn.Module):
    """A dense linear layer that takes and gives (features, batch), as the sparse one does."""

    def __init__(self, linear: nn.Linear) -> None:
        super().__init__()
        self.weight = nn.Parameter(linear.weight.detach().clone())
        self.bias = nn.Parameter(linear.bias.detach().clone().unsqueeze(1))

    def forward(self, x: Tensor) -> Tensor:
        return torch.addmm(self.bias, self.weight, x)


class _DenseOneDNN(nn.Module):
    """A dense linear layer whose products are oneDNN's: torch takes them for the activations it has laid out for oneDNN."""

    def __init__(self, linear: nn.Linear) -> None:
        super().__init__()
        self.linear = copy.deepcopy(linear)

    def forward(self, x: Tensor) -> Tensor:
        return torch.nn.functional.linear(x.to_mkldnn(), self.linear.weight, self.linear.bias).to_dense()


def _linear_ways(inputs: int, outputs: int, batch: int, density: float) -> dict[str, Callable[[], object]]:
    dense, kept = _masked_linear(inputs, outputs, density)
    x, dy = _drawn(batch, inputs), _drawn(batch, outputs)
    by_feature = x.t().contiguous(), dy.t().contiguous()
    one_dnn = {"dense, oneDNN": _backward(_DenseOneDNN(dense), x, dy)} if torch.backends.mkldnn.is_available() else {}  # type: ignore[no-untyped-call]
    return {
        "dense": _backward(dense, x, dy),
        "dense, feature-major": _backward(_DenseFeatureMajor(dense), *by_feature),
        **one_dnn,
        "sparse": _backward(SparseLinear.from_dense(dense, kept), x, dy),
        "sparse, feature-major": _backward(SparseLinear.from_dense(dense, kept, layout="feature"), *by_feature),
    }


Cases = Iterator[tuple[str, dict[str, Callable[[], object]]]]


def _kernel_cases(density: float) -> Cases:
    for outputs, inputs, batch in SIZES:
        dense, kept = _masked_linear(inputs, outputs, density)
        sparse, feature = SparseLinear.from_dense(dense, kept), SparseLinear.from_dense(dense, kept, layout="feature")
        csr = dense.weight.detach().to_sparse_csr()
        x = _drawn(batch, inputs)
        xt = x.t().contiguous()
        with torch.inference_mode():
            yield (
                f"{outputs} x {inputs}, batch {batch}",
                {
                    "dense": partial(dense, x),
                    "dense, feature-major": partial(torch.matmul, dense.weight, xt),
                    "torch CSR": partial(torch.matmul, csr, xt),
                    "sparse": partial(sparse, x),
                    "sparse, feature-major": partial(feature, xt),
                },
            )


def _layer_cases(density: float) -> Cases:
    for outputs, inputs, batch in SIZES:
        yield f"linear {outputs} x {inputs}, batch {batch}", _linear_ways(inputs, outputs, batch, density)
    conv = nn.Conv1d(100, 100, 4)
    kept = random_pattern((100, 100, 4), int(density * 40_000 + 0.5), 0, "bench").tensor()
    with torch.no_grad():
        conv.weight.mul_(kept)
    x, dy = _drawn(64, 100, 50), _drawn(64, 100, 47)
    ways = {"dense": _backward(conv, x, dy), "sparse": _backward(SparseConv1d.from_dense(conv, kept), x, dy)}
    yield "conv 100 x 100 x 4, batch 64, 50 positions", dict(ways)


def _network(width: int) -> nn.Sequential:
    return nn.Sequential(*(layer for _ in range(3) for layer in (nn.Linear(width, width), nn.ReLU())))


def _pruned(width: int, density: float) -> tuple[nn.Sequential, nn.Module]:
    """(a network with its pruned weights at zero, the same with sparse layers)."""
    torch_state = torch.random.get_rng_state()
    torch.manual_seed(0)
    network = _network(width)
    torch.random.set_rng_state(torch_state)
    kept = int(density * width * width + 0.5)
    mask = Mask({f"{i}.weight": random_pattern((width, width), kept, i, "bench") for i in (0, 2, 4)})
    apply(mask, network)
    return network, compress(network, mask)


def _training_cases(density: float) -> Cases:
    network, sparse = _pruned(1024, density)
    x, targets = _drawn(64, 1024), torch.randint(0, 1024, (64,), generator=torch.Generator().manual_seed(0))
    ways: dict[str, Callable[[], object]] = {}
    for name, model in (("dense", network), ("sparse", sparse)):
        adam = torch.optim.Adam(model.parameters(), lr=1e-4)

        def step(model: nn.Module = model, adam: torch.optim.Adam = adam) -> None:
            adam.zero_grad()
            torch.autograd.backward(nn.functional.cross_entropy(model(x), targets))
            adam.step()

        ways[name] = step
    yield "3 x (1024 x 1024, ReLU), batch 64, Adam", ways


def _inference_cases(density: float) -> Cases:
    for batch in (64, 1):
        network, sparse = _pruned(1024, density)
        x = _drawn(batch, 1024)
        with torch.inference_mode():
            yield (
                f"3 x (1024 x 1024, ReLU), batch {batch}",
                {
                    "dense": partial(network, x),
                    "sparse": partial(sparse, x),
                },
            )
