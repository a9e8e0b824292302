"""CIFAR-10: small colour photographs of ten kinds (Krizhevsky 2009), from the binary or the Python archive."""

from __future__ import annotations

import io
import pickle
import re
import tarfile
from typing import Any

import numpy as np

from secateur.data.archives import members
from secateur.data.dataset import Dataset
from secateur.data.files import Files
from secateur.data.images import Scale, image_arrays, image_classification
from secateur.data.parsed import Array, Parsed, parsed_once
from secateur.data.partition import TEST, TRAIN
from secateur.data.raw import Found, Known, RawFile
from secateur.errors import DataError
from secateur.registry import datasets

VERSION = 1
CLASSES = ("airplane", "automobile", "bird", "cat", "deer", "dog", "frog", "horse", "ship", "truck")
PIXELS = 3 * 32 * 32
_SOURCE = "https://www.cs.toronto.edu/~kriz"

CIFAR10_BINARY = RawFile(
    "cifar10",
    "cifar-10-binary.tar.gz",
    (Known("c4a38c50a1bc5f3a1c5537f2155ab9d68f9f25eb1ed8d9ddda3db29a59bca1dd"),),
    sources=(f"{_SOURCE}/cifar-10-binary.tar.gz",),
)
CIFAR10_PYTHON = RawFile(
    "cifar10",
    "cifar-10-python.tar.gz",
    (Known("6d958be074577803d12ecdefd02955f39262c83c16fe9348329d7fe0b5c001ce"),),
    sources=(f"{_SOURCE}/cifar-10-python.tar.gz",),
)

_BATCH = re.compile(r"cifar-10-batches-(bin|py)/(data_batch_(\d)|test_batch)(\.bin)?")


def _parse(found: Found) -> Parsed:
    """Both archives hold the same images in the same order: five batches for training, one for test."""
    batches: dict[str, tuple[Array, Array]] = {}
    with tarfile.open(found.path, "r:gz") as archive:
        for match, content in members(archive, found.path, _BATCH):
            where = f"{found.path}, {match[0]}"
            batches[match[2]] = _from_binary(content, where) if match[1] == "bin" else _from_pickle(content, where)
    wanted = [*(f"data_batch_{number}" for number in range(1, 6)), "test_batch"]
    if missing := [name for name in wanted if name not in batches]:
        raise DataError(f"{found.path}: no {', '.join(missing)} in it")
    images = np.concatenate([batches[name][0] for name in wanted])
    labels = np.concatenate([batches[name][1] for name in wanted])
    parts = np.repeat(np.array([TRAIN, TEST], np.uint8), [len(labels) - len(batches["test_batch"][1]), len(batches["test_batch"][1])])
    return Parsed(image_arrays(images, labels, parts), {})


def _from_binary(content: bytes, where: str) -> tuple[Array, Array]:
    """Records of one byte of label and 3,072 of pixels: red, green, blue, row by row."""
    if not content or len(content) % (1 + PIXELS):
        raise DataError(f"{where}: {len(content):,} bytes, not a whole number of records of {1 + PIXELS:,}")
    records = np.frombuffer(content, np.uint8).reshape(-1, 1 + PIXELS)
    return _checked(records[:, 1:], records[:, 0], where)


class _ArraysOnly(pickle.Unpickler):
    """Reads pickles of plain values and numpy arrays; refuses to import anything else."""

    _ALLOWED = frozenset(("_reconstruct", "ndarray", "dtype", "encode"))

    def find_class(self, module: str, name: str) -> Any:
        if module.partition(".")[0] in ("numpy", "_codecs") and name in self._ALLOWED:
            return super().find_class(module, name)
        raise pickle.UnpicklingError(f"{module}.{name} is no array")


def _from_pickle(content: bytes, where: str) -> tuple[Array, Array]:
    try:
        batch = _ArraysOnly(io.BytesIO(content), encoding="bytes").load()
        images, labels = np.asarray(batch[b"data"]), np.asarray(batch[b"labels"])
    except (pickle.UnpicklingError, EOFError, KeyError, TypeError, ValueError, AttributeError, IndexError, ImportError) as error:
        raise DataError(f"{where}: not a batch of CIFAR-10: {error}") from error
    if images.dtype != np.uint8 or images.shape != (len(labels), PIXELS):
        raise DataError(f"{where}: images of shape {images.shape} and {images.dtype}, expected ({len(labels)}, {PIXELS}) bytes")
    return _checked(images, labels, where)


def _checked(images: Array, labels: Array, where: str) -> tuple[Array, Array]:
    if len(labels) and not (labels.min() >= 0 and labels.max() < len(CLASSES)):
        worst = int(np.argmax((labels < 0) | (labels >= len(CLASSES))))
        raise DataError(f"{where}, record {worst + 1}: unknown label {int(labels[worst])}; expected 0 to 9")
    return images.reshape(-1, 3, 32, 32), labels.astype(np.uint8)


@datasets.register("cifar10", forms=((CIFAR10_BINARY,), (CIFAR10_PYTHON,)))
def cifar10(
    files: Files,
    *,
    scale: Scale = "standard",
    validation: float = 0.1,
    split_seed: int = 0,
    limit: int | None = None,
) -> Dataset:
    """Colour photographs of ten kinds, 3 x 32 x 32: 50,000 for training (5,000 of them for validation), 10,000 for test."""
    found = files.find_all((CIFAR10_BINARY,), (CIFAR10_PYTHON,))[0]
    made_of = {"files": {found.raw.place: found.sha256}}
    parsed = parsed_once(files.places, "cifar10", VERSION, made_of, lambda: _parse(found), files.progress)
    return image_classification(
        "cifar10",
        "CIFAR-10",
        parsed.arrays,
        CLASSES,
        made_of | {"version": VERSION},
        scale=scale,
        validation=validation,
        test=0.0,
        split_seed=split_seed,
        limit=limit,
    )
