"""States: what training starts from, keeps and goes on from, as named tensors in one safetensors file.

Where a mask is in force only the survivors of a parameter are stored; the mask travels in the same file.
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
from secateur.masks import Mask

_FORMAT = 1


@dataclass(frozen=True)
class State:
    """A moment of training: weights and buffers, and, where the run can go on from here, the optimiser's state and what is carried.

    `facts` is JSON-able (in a checkpoint the history so far); `gathered` is what a changing mask gathered. Tensors never alias live ones.
    """

    step: int
    model: Mapping[str, Tensor]
    optimizer: Mapping[str, Tensor] = field(default_factory=dict)
    carried: tuple[Tensor, ...] = ()
    mask: Mask | None = None
    facts: Mapping[str, Any] = field(default_factory=dict)
    gathered: Mapping[str, Tensor] = field(default_factory=dict)

    def to_bytes(self) -> bytes:
        """The state as a safetensors file: equal states give equal bytes."""
        tensors: dict[str, Tensor] = {}
        shapes: dict[str, list[int]] = {}
        description: dict[str, Any] = {"format": _FORMAT, "step": self.step, "facts": self.facts}
        patterns = self.mask.patterns if self.mask is not None else {}
        for group, entries in (("model", self.model), ("optimizer", self.optimizer)):
            for name, tensor in entries.items():
                owner = name if group == "model" else name.rpartition("/")[0]
                pattern = patterns.get(owner)
                key = f"{group}/{name}"
                if pattern is not None and tuple(tensor.shape) == pattern.shape:
                    shapes[key] = list(pattern.shape)
                    tensors[key] = tensor.detach().cpu().reshape(-1)[torch.from_numpy(pattern.indices())]
                else:
                    tensors[key] = tensor.detach().cpu().clone(memory_format=torch.contiguous_format)
        for name, tensor in self.gathered.items():
            tensors[f"gathered/{name}"] = tensor.detach().cpu().clone(memory_format=torch.contiguous_format)
        for position, tensor in enumerate(self.carried):
            tensors[f"carried/{position}"] = tensor.detach().cpu().clone(memory_format=torch.contiguous_format)
        description["survivors"] = shapes
        if self.mask is not None:
            arrays, described = self.mask.tensors()
            description["mask"] = described
            tensors.update({f"mask/{name}": array for name, array in arrays.items()})
        return save_tensors(tensors, metadata={"secateur": canonical_json(description)})

    @classmethod
    def from_bytes(cls, content: bytes) -> State:
        """The state that `to_bytes` wrote, its parameters at full shape again; `StoreError` when it is something else."""
        description = _metadata(content)
        tensors = load_tensors(content)
        mask = None
        if "mask" in description:
            mask = Mask.from_tensors({k.removeprefix("mask/"): t for k, t in tensors.items() if k.startswith("mask/")}, description["mask"])
        groups: dict[str, dict[str, Tensor]] = {"model": {}, "optimizer": {}, "carried": {}, "gathered": {}}
        for key, tensor in tensors.items():
            group, _, name = key.partition("/")
            if group == "mask":
                continue
            if key in description["survivors"]:
                assert mask is not None
                owner = name if group == "model" else name.rpartition("/")[0]
                whole = torch.zeros(mask.pattern(owner).size, dtype=tensor.dtype)
                whole[torch.from_numpy(mask.pattern(owner).indices())] = tensor
                tensor = whole.reshape(description["survivors"][key])
            groups[group][name] = tensor
        carried = tuple(groups["carried"][str(position)] for position in range(len(groups["carried"])))
        return cls(description["step"], groups["model"], groups["optimizer"], carried, mask, description["facts"], groups["gathered"])


def capture_model(model: nn.Module) -> dict[str, Tensor]:
    """Copies of every parameter and buffer, tied ones once."""
    entries = [*model.named_parameters(), *model.named_buffers()]
    return {name: tensor.detach().clone() for name, tensor in entries}


def restore_model(model: nn.Module, tensors: Mapping[str, Tensor]) -> None:
    """Copy `tensors` into the model's parameters and buffers, in place; `StoreError` when they are not the model's."""
    entries = {**dict(model.named_parameters()), **dict(model.named_buffers())}
    if entries.keys() != tensors.keys():
        raise StoreError(f"a state does not fit the model: {sorted(entries.keys() ^ tensors.keys())} are in one of them only")
    with torch.no_grad():
        for name, tensor in tensors.items():
            if entries[name].shape != tensor.shape:
                raise StoreError(
                    f"a state does not fit the model: {name!r} has shape {tuple(tensor.shape)}, not {tuple(entries[name].shape)}"
                )
            entries[name].copy_(tensor)


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
