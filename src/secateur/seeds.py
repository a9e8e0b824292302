"""Seeds by name. Every random choice of a study draws from `seed_for(replicate, purpose)`, so arms of a replicate are paired."""

from __future__ import annotations

import hashlib
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import torch


def seed_for(replicate: int, purpose: str) -> int:
    """A seed in [0, 2**63) for one purpose (`init`, `data-order`, `dropout`, `prune`, `reinit`, …) of one replicate.

    The same on every machine and for every version of Python: the first eight bytes of a BLAKE2b hash.
    """
    text = f"secateur/{purpose}/{replicate}".encode()
    return int.from_bytes(hashlib.blake2b(text, digest_size=8).digest(), "big") >> 1


def generator(seed: int, *path: int | str) -> torch.Generator:
    """A CPU generator for `seed`, or for the place that `path` names below it (an epoch, a layer's name)."""
    import torch

    if path:
        text = "/".join([str(seed), *map(str, path)]).encode()
        seed = int.from_bytes(hashlib.blake2b(text, digest_size=8).digest(), "big") >> 1
    return torch.Generator().manual_seed(seed)
