"""From images and their classes to a data set: the part that all image data sets share."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence
from typing import Any, Literal

import numpy as np
import torch

from secateur.canonical import digest
from secateur.data.dataset import Dataset, DataShape, Note
from secateur.data.parsed import Array
from secateur.data.partition import PREPARATION, TEST, TRAIN, VALID, first_of_each, partition, repeats_across, shuffled_ranks
from secateur.data.splits import ArraySplit
from secateur.errors import InputError

Scale = Literal["standard", "unit"]
"""`standard`: mean 0 and deviation 1 over the training split, each channel by itself. `unit`: from 0 to 1."""


def image_hashes(images: Array) -> Array:
    """(n,) uint64: the first eight bytes of the BLAKE2b hash of each image."""
    joined = b"".join(hashlib.blake2b(image.tobytes(), digest_size=8).digest() for image in images)
    return np.frombuffer(joined, "<u8").astype(np.uint64)


def image_classification(
    name: str,
    label: str,
    arrays: Mapping[str, Array],
    classes: Sequence[str],
    made_of: Mapping[str, Any],
    *,
    scale: Scale,
    validation: float,
    test: float,
    split_seed: int,
    limit: int | None,
) -> Dataset:
    """`arrays`: `images` (n, channels, height, width) uint8, `labels` (n,), `parts` (n,), `hashes` (n,) and `sums` (`image_sums`)."""
    for option, value in (("validation", validation), ("test", test)):
        if not 0 <= value < 1:
            raise InputError(f"{option} = {value}: a fraction from 0 to below 1")
    images, labels, hashes = arrays["images"], arrays["labels"], arrays["hashes"]
    whole = np.zeros(len(labels), np.int64)
    parts = partition(arrays["parts"], shuffled_ranks(hashes, split_seed, f"split/{name}"), whole, validation, test)
    kept = first_of_each(parts, shuffled_ranks(hashes, split_seed, f"limit/{name}"), limit)
    training = (parts == TRAIN) & kept
    scaling = _scaling(arrays["sums"][training], images.shape[2] * images.shape[3], scale)
    splits = {}
    for split, part in {"train": TRAIN, "valid": VALID, "test": TEST}.items():
        rows = np.flatnonzero((parts == part) & kept)
        splits[split] = ArraySplit(torch.from_numpy(images[rows]), torch.from_numpy(labels[rows].astype(np.int64)), scaling)
    notes = [
        Note(f"{split} images that stand in the training split too", repeats)
        for split, part in (("validation", VALID), ("test", TEST))
        if (repeats := repeats_across(np.where(kept, parts, 255), hashes, part))
    ]
    if limit is not None:
        label = f"{label}, cut to {len(splits['train']):,} training images"
    options = {"scale": scale, "validation": validation, "test": test, "split_seed": split_seed, "limit": limit}
    return Dataset(
        name=name,
        label=label,
        splits=splits,
        shape=DataShape(outputs=len(classes), image=tuple(images.shape[1:])),
        digest=digest({"data": dict(made_of), "options": options, "preparation": PREPARATION}),
        outputs=tuple(classes),
        notes=tuple(notes),
    )


def image_arrays(images: Array, labels: Array, parts: Array) -> dict[str, Array]:
    """What `image_classification` needs, to be kept in the cache; `images` (n, channels, height, width) uint8."""
    return {"images": images, "labels": labels, "parts": parts, "hashes": image_hashes(images), "sums": image_sums(images)}


def image_sums(images: Array) -> Array:
    """(n, channels, 2) int64: the sum of each image's pixels and of their squares, channel by channel. Exact."""
    pixels = images.reshape(*images.shape[:2], -1)
    squares = np.arange(256, dtype=np.uint16) ** 2
    return np.stack([pixels.sum(2, dtype=np.int64), squares[pixels].sum(2, dtype=np.int64)], axis=2)


def _scaling(sums: Array, pixels: int, scale: Scale) -> tuple[torch.Tensor, torch.Tensor]:
    """(factor, shift), each (channels,) float32: scaled = pixel * factor + shift, from the training images' sums."""
    channels = sums.shape[1]
    factor, shift = np.full(channels, 1 / 255), np.zeros(channels)
    if scale == "standard" and len(sums):
        for channel, (total, squares) in enumerate(sums.sum(0).tolist()):
            mean = total / (len(sums) * pixels)
            deviation = max(squares / (len(sums) * pixels) - mean * mean, 1e-12) ** 0.5
            factor[channel], shift[channel] = 1 / deviation, -mean / deviation
    return torch.tensor(factor, dtype=torch.float32), torch.tensor(shift, dtype=torch.float32)
