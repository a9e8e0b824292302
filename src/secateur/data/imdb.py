"""IMDb: is a film review positive or negative (Maas et al. 2011, Large Movie Review Dataset v1.0)."""

from __future__ import annotations

import json
import re
import tarfile
from collections.abc import Iterator, Sequence

import numpy as np

from secateur.data.archives import members
from secateur.data.dataset import Dataset
from secateur.data.files import Files
from secateur.data.partition import TEST, TRAIN
from secateur.data.raw import Found, Known, RawFile, decode
from secateur.data.text_classification import LabelledTexts, TextSource, text_classification
from secateur.data.text_options import TextOptions, with_text_options
from secateur.errors import DataError
from secateur.registry import datasets

CLASSES = ("neg", "pos")

IMDB_ARCHIVE = RawFile(
    "imdb",
    "aclImdb_v1.tar.gz",
    (Known("c40f74a18d3b61f90feba1e17730e0d38e8b97c05fde7008942e91923d1658fe"),),
    sources=("https://ai.stanford.edu/~amaas/data/sentiment/aclImdb_v1.tar.gz",),
)
IMDB_LINES = (
    RawFile("imdb", "train.jsonl", (Known("66984d3b411d221745b63517cff8be32c7903fc07bd40854a5e508dd8ed56cca"),)),
    RawFile("imdb", "test.jsonl", (Known("569256b3b64303489313f59a8a5ffb8e6b2f9cef09fb7f223c71fdf0c24f55ec"),)),
)

_BREAK = re.compile(r"<br\s*/?>")
_REVIEW = re.compile(r"aclImdb/(train|test)/(neg|pos)/(\d+)_\d+\.txt")


def _from_lines(found: Found) -> Iterator[tuple[str, str]]:
    """(class, text) of each line of JSON."""
    for line, written in enumerate(found.text().split("\n"), 1):
        if not written:
            continue
        try:
            review = json.loads(written)
            label, text = review["label"], review["text"]
        except (ValueError, KeyError, TypeError) as error:
            raise DataError(f"{found.path}, line {line}: not a JSON object with label and text ({error})") from error
        if label not in CLASSES:
            raise DataError(f"{found.path}, line {line}: unknown label {label!r}; expected neg or pos")
        yield label, text


def _from_archive(found: Found) -> dict[str, list[tuple[str, str]]]:
    """Split -> (class, text) of each review: neg, then pos, by number."""
    reviews: dict[str, list[tuple[str, int, str]]] = {"train": [], "test": []}
    with tarfile.open(found.path, "r:gz") as archive:
        for name, content in members(archive, found.path, _REVIEW):
            part, label, number = name.groups()
            reviews[part].append((label, int(number), decode(content, "utf-8", f"{found.path}, {name[0]}")))
    return {part: [(label, text) for label, _, text in sorted(read)] for part, read in reviews.items()}


def _parse(found: Sequence[Found]) -> LabelledTexts:
    if len(found) == 1:
        by_part = _from_archive(found[0])
        read = [by_part["train"], by_part["test"]]
    else:
        read = [list(_from_lines(one)) for one in found]
    reviews = [*read[0], *read[1]]
    parts = np.repeat(np.array([TRAIN, TEST], np.uint8), [len(read[0]), len(read[1])])
    labels = np.array([CLASSES.index(label) for label, _ in reviews], np.int64)
    return LabelledTexts([_BREAK.sub(" ", text) for _, text in reviews], labels, CLASSES, parts)


def _source() -> TextSource:
    return TextSource("imdb", 1, lambda files: files.find_all(IMDB_LINES, (IMDB_ARCHIVE,)), _parse, "IMDb")


@datasets.register("imdb", forms=(IMDB_LINES, (IMDB_ARCHIVE,)), texts=_source)
@with_text_options(max_tokens=400)
def imdb(
    files: Files,
    options: TextOptions,
) -> Dataset:
    """Whether a film review is positive: 25,000 reviews for training, 25,000 for test. `<br />` counts as a space."""
    return text_classification(files, _source(), options)
