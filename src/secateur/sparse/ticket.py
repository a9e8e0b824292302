"""Tickets on disk: survivors, and their places as a bitmap or as coded gaps, whichever is smaller."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from math import prod
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from secateur.canonical import canonical_json
from secateur.errors import PruningError
from secateur.masks import Mask, Pattern, parameters_of
from secateur.sparse.compression import decompress, mask_of

_FORMAT = 1
_ESCAPE = 255


@dataclass(frozen=True)
class Ticket:
    """A mask with the weights it restarts from: the survivors of masked tensors, and every other tensor whole."""

    mask: Mask
    survivors: Mapping[str, Tensor]
    others: Mapping[str, Tensor]

    @classmethod
    def from_model(cls, model: nn.Module, mask: Mask | None = None) -> Ticket:
        """The ticket of a dense model and its mask, or of a compressed model, which brings its own."""
        if mask is None:
            mask = mask_of(model)
            model = decompress(model)
        names = set(parameters_of(model, mask))
        state = model.state_dict()
        survivors = {name: state[name].detach().reshape(-1)[torch.tensor(mask.pattern(name).indices())].clone() for name in mask}
        twins = _twins(model, names)
        others = {name: tensor.detach().clone() for name, tensor in state.items() if name not in names and name not in twins}
        return cls(mask, survivors, others)

    def state_dict(self) -> dict[str, Tensor]:
        """The dense model's state, pruned weights zero. A tensor with several names is listed under the first."""
        state = dict(self.others)
        for name, pattern in self.mask.patterns.items():
            flat = self.survivors[name].new_zeros(pattern.size)
            flat[torch.tensor(pattern.indices())] = self.survivors[name]
            state[name] = flat.view(pattern.shape)
        return state

    def load_into(self, model: nn.Module) -> None:
        """Write the ticket's state into a dense model; `PruningError` when names or shapes differ."""
        state = self.state_dict()
        for twin, name in _twins(model, set(self.mask)).items():
            state[twin] = state[name]
        own = {name: tuple(tensor.shape) for name, tensor in model.state_dict().items()}
        given = {name: tuple(tensor.shape) for name, tensor in state.items()}
        if own != given:
            differing = sorted(name for name in own.keys() | given.keys() if own.get(name) != given.get(name))
            raise PruningError(f"the ticket does not fit the model: {', '.join(differing)}")
        model.load_state_dict(state)

    def save(self, path: str | Path, *, half: bool = False) -> None:
        """Write a safetensors file; equal tickets give equal bytes. `half` rounds survivors to float16."""
        from safetensors.torch import save_file

        tensors: dict[str, Tensor] = {f"other/{name}": tensor.contiguous() for name, tensor in self.others.items()}
        described: dict[str, Any] = {}
        for name, pattern in self.mask.patterns.items():
            values = self.survivors[name]
            form, coded = _coded(pattern)
            tensors[f"survivors/{name}"] = values.half() if half else values.contiguous()
            tensors[f"{form}/{name}"] = torch.from_numpy(coded)
            described[name] = {
                "shape": list(pattern.shape), "kept": pattern.kept, "form": form, "excluded_rows": list(pattern.excluded_rows),
                "dtype": str(values.dtype).removeprefix("torch."),
            }  # fmt: skip
        save_file(tensors, str(path), metadata={"secateur": canonical_json({"ticket": {"format": _FORMAT, "patterns": described}})})

    @classmethod
    def load(cls, path: str | Path) -> Ticket:
        """Read a ticket that `save` wrote; `PruningError` for anything else and for damaged places."""
        from safetensors import safe_open

        with safe_open(str(path), framework="pt") as file:
            metadata = (file.metadata() or {}).get("secateur")
            description = json.loads(metadata).get("ticket") if metadata else None
            if description is None or description.get("format") != _FORMAT:
                raise PruningError(f"{path} holds no ticket of Secateur of format {_FORMAT}")
            tensors = {key: file.get_tensor(key) for key in file.keys()}  # noqa: SIM118
        patterns, survivors = {}, {}
        for name, entry in description["patterns"].items():
            shape, rows = tuple(entry["shape"]), tuple(entry["excluded_rows"])
            places = _decoded(entry["form"], tensors[f"{entry['form']}/{name}"].numpy(), prod(shape), name)
            patterns[name] = Pattern.from_indices(shape, places, rows)
            values = tensors[f"survivors/{name}"]
            if patterns[name].kept != entry["kept"] or values.shape != (entry["kept"],):
                raise PruningError(
                    f"ticket: {name!r} keeps {entry['kept']} weights, not {patterns[name].kept} places and {values.numel()} values"
                )
            survivors[name] = values.to(getattr(torch, entry["dtype"]))
        others = {key.removeprefix("other/"): tensor for key, tensor in tensors.items() if key.startswith("other/")}
        return cls(Mask(patterns), survivors, others)


def _twins(model: nn.Module, names: set[str]) -> dict[str, str]:
    """Further names of tensors in `names` that are shared -> the name in `names`."""
    first = {id(parameter): name for name, parameter in model.named_parameters() if name in names}
    every = model.named_parameters(remove_duplicate=False)
    return {name: first[id(parameter)] for name, parameter in every if id(parameter) in first and name not in names}


def _coded(pattern: Pattern) -> tuple[str, NDArray[np.uint8]]:
    """("bits", packed bits) or ("gaps", coded gaps), whichever takes fewer bytes.

    A gap is the number of pruned weights before a survivor, in bytes: as many 255 as go into it, then the rest.
    """
    places = pattern.indices()
    gaps = np.diff(places, prepend=-1) - 1
    if len(places) + int((gaps // _ESCAPE).sum()) >= (pattern.size + 7) // 8:
        return "bits", np.packbits(pattern.flags())
    escapes = gaps // _ESCAPE
    coded = np.full(len(gaps) + int(escapes.sum()), _ESCAPE, np.uint8)
    coded[np.cumsum(escapes + 1) - 1] = gaps % _ESCAPE
    return "gaps", coded


def _decoded(form: str, coded: NDArray[np.uint8], size: int, name: str) -> NDArray[np.int64]:
    if form == "bits":
        if coded.size != (size + 7) // 8:
            raise PruningError(f"ticket: {coded.size} bytes of bits do not fit {size} weights of {name!r}")
        return np.flatnonzero(np.unpackbits(coded, count=size)).astype(np.int64)
    if form != "gaps" or (coded.size and coded[-1] == _ESCAPE):
        raise PruningError(f"ticket: the places of {name!r} are damaged")
    ends = np.flatnonzero(coded != _ESCAPE)
    walked = np.cumsum(coded.astype(np.int64))[ends]
    return walked + np.arange(len(ends))
