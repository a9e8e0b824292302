"""States: what training starts from, keeps and goes on from, as named tensors in one safetensors file.

A state speaks in the dense network's names, whatever executes it. Where a mask is in force a parameter is held, and stored, as
the vector of its survivors, in the order of their places; the mask travels in the same file. So dense-masked and sparse
execution write the same files, and a network too big to be dense is never made dense here.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import torch
from safetensors.torch import load as load_tensors
from safetensors.torch import save as save_tensors
from torch import Tensor, nn

from secateur.canonical import canonical_json
from secateur.errors import StoreError
from secateur.masks import Mask, Pattern
from secateur.sparse import sparse_weights

_FORMAT = 1


@dataclass(frozen=True)
class State:
    """A moment of training: weights and buffers, and, where the run can go on from here, the optimiser's state and what is carried.

    `model` and `optimizer` (`<parameter>/<key>`) hold, for a parameter that `mask` covers, a tensor of its shape or the vector of its
    survivors; `whole` gives the former. `facts` is JSON-able (in a checkpoint the history so far); `gathered` is what a changing mask
    gathered. Tensors never alias live ones.
    """

    step: int
    model: Mapping[str, Tensor]
    optimizer: Mapping[str, Tensor] = field(default_factory=dict)
    carried: tuple[Tensor, ...] = ()
    mask: Mask | None = None
    facts: Mapping[str, Any] = field(default_factory=dict)
    gathered: Mapping[str, Tensor] = field(default_factory=dict)

    def pattern(self, name: str) -> Pattern | None:
        """The mask's pattern for a parameter, None where it is not masked."""
        return self.mask.pattern(name) if self.mask is not None and name in self.mask else None

    def whole(self) -> dict[str, Tensor]:
        """Weights and buffers at full shape, zero where pruned."""
        return {name: whole(tensor, self.pattern(name)) for name, tensor in self.model.items()}

    def to_bytes(self) -> bytes:
        """The state as a safetensors file: equal states give equal bytes."""
        tensors: dict[str, Tensor] = {}
        for name, tensor in self.model.items():
            tensors[f"model/{name}"] = survivors(tensor, self.pattern(name))
        for name, tensor in self.optimizer.items():
            tensors[f"optimizer/{name}"] = survivors(tensor, self.pattern(name.rpartition("/")[0]))
        tensors.update({f"gathered/{name}": tensor for name, tensor in self.gathered.items()})
        tensors.update({f"carried/{position}": tensor for position, tensor in enumerate(self.carried)})
        description: dict[str, Any] = {"format": _FORMAT, "step": self.step, "facts": self.facts}
        if self.mask is not None:
            arrays, description["mask"] = self.mask.tensors()
            tensors.update({f"mask/{name}": array for name, array in arrays.items()})
        stored = {name: tensor.detach().cpu().clone(memory_format=torch.contiguous_format) for name, tensor in tensors.items()}
        return save_tensors(stored, metadata={"secateur": canonical_json(description)})

    @classmethod
    def from_bytes(cls, content: bytes) -> State:
        """The state that `to_bytes` wrote, masked parameters as survivors; `StoreError` when it is something else."""
        description = _metadata(content)
        groups: dict[str, dict[str, Tensor]] = {"model": {}, "optimizer": {}, "carried": {}, "gathered": {}, "mask": {}}
        for key, tensor in load_tensors(content).items():
            group, _, name = key.partition("/")
            groups[group][name] = tensor
        mask = Mask.from_tensors(groups["mask"], description["mask"]) if "mask" in description else None
        carried = tuple(groups["carried"][str(position)] for position in range(len(groups["carried"])))
        return cls(description["step"], groups["model"], groups["optimizer"], carried, mask, description["facts"], groups["gathered"])


def survivors(tensor: Tensor, pattern: Pattern | None) -> Tensor:
    """A tensor of the pattern's shape as the vector of what it keeps; such a vector, and what has no pattern, as it is."""
    if pattern is None or tuple(tensor.shape) != pattern.shape:
        return tensor
    return tensor.detach().reshape(-1)[_places(pattern).to(tensor.device)]


def whole(tensor: Tensor, pattern: Pattern | None) -> Tensor:
    """A vector of survivors as a tensor of the pattern's shape; what has that shape already, and what has no pattern, as it is."""
    if pattern is None or tuple(tensor.shape) == pattern.shape or tuple(tensor.shape) != (pattern.kept,):
        return tensor
    flat = torch.zeros(pattern.size, dtype=tensor.dtype, device=tensor.device)
    flat[_places(pattern).to(tensor.device)] = tensor
    return flat.reshape(pattern.shape)


def live_tensors(model: nn.Module) -> dict[str, tuple[Tensor, Pattern | None]]:
    """Every parameter and buffer by the dense network's name, tied ones once; with the pattern of those that hold survivors alone."""
    sparse = {id(weight.values): (name, weight) for name, weight in sparse_weights(model).items()}
    places = {id(buffer) for _, weight in sparse.values() for buffer in weight.buffers()}
    found: dict[str, tuple[Tensor, Pattern | None]] = {}
    for name, parameter in model.named_parameters():
        if id(parameter) in sparse:
            dense_name, weight = sparse[id(parameter)]
            found[dense_name] = (parameter, weight.pattern)
        else:
            found[_dense_name(name)] = (parameter, None)
    for name, buffer in model.named_buffers():
        if id(buffer) not in places:
            found[name] = (buffer, None)
    return found


def capture_model(model: nn.Module) -> dict[str, Tensor]:
    """Copies of every parameter and buffer, tied ones once, by the dense network's names; of sparse layers the survivors."""
    return {name: tensor.detach().clone() for name, (tensor, _) in live_tensors(model).items()}


def restore_model(model: nn.Module, state: State) -> None:
    """Copy a state's weights and buffers into the model's, in place; `StoreError` when they are not the model's."""
    live = live_tensors(model)
    if live.keys() != state.model.keys():
        raise StoreError(f"a state does not fit the model: {sorted(live.keys() ^ state.model.keys())} are in one of them only")
    with torch.no_grad():
        for name, (tensor, pattern) in live.items():
            fitted = fit(state.model[name], state.pattern(name), pattern)
            if tensor.shape != fitted.shape:
                raise StoreError(f"a state does not fit the model: {name!r} has shape {tuple(fitted.shape)}, not {tuple(tensor.shape)}")
            tensor.copy_(fitted)


def fit(tensor: Tensor, held: Pattern | None, wanted: Pattern | None) -> Tensor:
    """A tensor that is whole or holds the survivors of `held`, as the survivors of `wanted` (None: whole)."""
    if held is not None and wanted is not None and held == wanted and tuple(tensor.shape) == (held.kept,):
        return tensor
    full = whole(tensor, held)
    return full if wanted is None else survivors(full, wanted)


def _places(pattern: Pattern) -> Tensor:
    """Flat positions of a pattern's survivors: (kept,) int64."""
    return torch.from_numpy(pattern.indices().copy())  # a pattern's own array is read-only


def _dense_name(name: str) -> str:
    """The dense layer's name of a parameter that a sparse layer holds under another one (packed attention's output bias)."""
    return name.removesuffix("out_proj_bias") + "out_proj.bias" if name.endswith("out_proj_bias") else name


def _metadata(content: bytes) -> dict[str, Any]:
    """The one metadata entry of a safetensors file."""
    length = int.from_bytes(content[:8], "little")
    try:
        header = json.loads(content[8 : 8 + length])
        description = json.loads(header["__metadata__"]["secateur"])
    except (ValueError, KeyError, UnicodeDecodeError):
        raise StoreError("this file holds no state of Secateur") from None
    if description.get("format") != _FORMAT:
        raise StoreError(f"a state of format {description.get('format')!r}; this version reads format {_FORMAT}")
    return dict(description)
