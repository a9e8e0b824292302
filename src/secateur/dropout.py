"""Our dropout: a pattern that is a function of (seed, layer, step), in logical order, whatever the memory layout.

`nn.Dropout` draws from the global generator in the order in which memory lies, so a transposed activation gets another
pattern, and a resumed run must restore a hidden state. Here the loop says where it is, `set_dropout(model, seed, step)`,
and each module's bits follow from that: nothing to checkpoint, and dense and sparse execution drop the same units.
"""

from __future__ import annotations

import hashlib
from math import prod

import numpy as np
import torch
from torch import Tensor, nn

from secateur.captures import outside_graphs
from secateur.errors import InputError

_LEVELS = 1 << 16


class Dropout(nn.Module):
    """Inverted dropout (Srivastava et al. 2014) with rate `p`, resolved to 1/65536; kept values are scaled to keep the mean.

    `locked` names an axis along which one pattern is shared: `locked=1` on (batch, time, feature) is the variational
    dropout of Gal & Ghahramani (2016). Several calls within one step draw different patterns, numbered by their order.
    A module whose place was never set by `set_dropout` counts its calls from seed 0, step 0.
    """

    def __init__(self, p: float = 0.5, *, locked: int | None = None) -> None:
        super().__init__()
        if not 0 <= p < 1:
            raise InputError(f"a dropout rate lies in [0, 1), not {p}")
        self.p = p
        self.locked = locked
        self._dropped = min(int(p * _LEVELS + 0.5), _LEVELS - 1)
        self._seed = 0
        self._layer = ""
        self._key = _key(0, "")
        self._step = 0
        self._calls = 0

    def place(self, seed: int, layer: str, step: int) -> None:
        """Say where training is: the next call is the first one of `step`."""
        if seed != self._seed or layer != self._layer:
            self._seed, self._layer, self._key = seed, layer, _key(seed, layer)
        self._step = step
        self._calls = 0

    @outside_graphs  # or each step, being another number, would be compiled anew
    def noise(self, shape: tuple[int, ...], dtype: torch.dtype = torch.float32, device: torch.device | str = "cpu") -> Tensor:
        """The factors of the next call, of `shape`: 0 where dropped, 1 / (kept fraction) elsewhere. Counts as a call."""
        if self.locked is not None:
            axis = self.locked % len(shape)
            shape = (*shape[:axis], 1, *shape[axis + 1 :])
        bits = _bits(prod(shape), (*self._key, self._step & 0xFFFFFFFF, self._step >> 32, self._calls), torch.device(device)).view(shape)
        self._calls += 1
        keep = bits >= self._dropped - _LEVELS // 2
        return keep.to(dtype).mul_(_LEVELS / (_LEVELS - self._dropped))

    def forward(self, x: Tensor) -> Tensor:
        """`x` of any shape and memory layout; in eval mode, or at rate 0, `x` itself."""
        if not self.training or self._dropped == 0:
            return x
        return x * self.noise(tuple(x.shape), x.dtype, x.device)

    def extra_repr(self) -> str:
        return f"p={self.p}" + (f", locked={self.locked}" if self.locked is not None else "")


def dropout_modules(model: nn.Module) -> list[tuple[str, Dropout]]:
    """Every `Dropout` of `model` with its qualified name, which the loop places before each step."""
    return [(name, module) for name, module in model.named_modules() if isinstance(module, Dropout)]


def set_dropout(model: nn.Module, seed: int, step: int) -> None:
    """Set every `Dropout` of `model` to (`seed`, its qualified name, `step`)."""
    for name, module in dropout_modules(model):
        module.place(seed, name, step)


def foreign_dropout(model: nn.Module) -> list[str]:
    """Names of modules that draw from torch's global generator while training, so that it must be seeded and checkpointed.

    Found are torch's own dropout layers, recurrent layers with `dropout` between their layers, attention with dropout,
    randomised activations and, in other libraries' modules, a positive `dropout` or `…_dropout` number. Modules at rate 0 draw nothing.
    """
    return [name for name, module in model.named_modules() if not isinstance(module, Dropout) and _draws(module)]


def _draws(module: nn.Module) -> bool:
    if isinstance(module, nn.modules.dropout._DropoutNd):
        return module.p > 0
    if isinstance(module, nn.RNNBase):
        return module.dropout > 0 and module.num_layers > 1
    if isinstance(module, nn.RReLU | nn.FractionalMaxPool2d | nn.FractionalMaxPool3d):
        return True
    rates = (value for name, value in vars(module).items() if name in ("dropout", "p_dropout", "dropout_p") or name.endswith("_dropout"))
    return any(isinstance(rate, float) and rate > 0 for rate in rates)


def _key(seed: int, layer: str) -> tuple[int, int]:
    """64 bits for (seed, layer), as two words."""
    code = hashlib.blake2b(f"{seed}/{layer}".encode(), digest_size=8).digest()
    return int.from_bytes(code[:4], "big"), int.from_bytes(code[4:], "big")


def _bits(count: int, key: tuple[int, ...], device: torch.device) -> Tensor:
    """`count` uniform int16 numbers. On a CPU from NumPy's SFC64, whose stream is fixed for ever and takes a sixth of
    the time of torch's Bernoulli draws; elsewhere from the device's own generator (another pattern, as reproducible)."""
    if device.type == "cpu":
        words = np.random.SFC64(np.random.SeedSequence(np.array(key, dtype=np.uint32))).random_raw(-(-count // 4))
        return torch.from_numpy(words.view(np.int16))[:count]
    seed = int.from_bytes(hashlib.blake2b(repr(key).encode(), digest_size=8).digest(), "big") >> 1
    generator = torch.Generator(device).manual_seed(seed)
    return torch.randint(-_LEVELS // 2, _LEVELS // 2, (count,), dtype=torch.int16, device=device, generator=generator)
