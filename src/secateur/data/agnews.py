"""AG News: the topic of a news item, four classes (Zhang et al. 2015, "Character-level Convolutional Networks")."""

from __future__ import annotations

import html
import re
from collections.abc import Sequence
from functools import partial

import numpy as np

from secateur.data.dataset import Dataset
from secateur.data.files import Files
from secateur.data.partition import TEST, TRAIN
from secateur.data.raw import Found, Known, RawFile
from secateur.data.tables import rows
from secateur.data.text_classification import LabelledTexts, TextSource, text_classification
from secateur.data.text_options import TextOptions, with_text_options
from secateur.errors import DataError
from secateur.registry import datasets

CLASSES = ("World", "Sports", "Business", "Sci/Tech")
_SOURCE = "https://raw.githubusercontent.com/mhjabreel/CharCnn_Keras/master/data/ag_news_csv"

AGNEWS_TRAIN = RawFile(
    "agnews",
    "train.csv",
    known=(
        Known("76a0a2d2f92b286371fe4d4044640910a04a803fdd2538e0f3f29a5c6f6b672e", "AG News"),
        Known("0b21d9d3575a5dc0e20fe3fa9784808b4a43fb59f115e2017f84e6652389c3ca", "AG News, partial train (61,658)"),
    ),
    also=("train_part_61658.csv",),
    sources=(f"{_SOURCE}/train.csv",),
)
AGNEWS_TEST = RawFile(
    "agnews",
    "test.csv",
    known=(Known("521465c2428ed7f02f8d6db6ffdd4b5447c1c701962353eb2c40d548c3c85699"),),
    sources=(f"{_SOURCE}/test.csv",),
)

_NUMBERED_SIGN = re.compile(r" ?&?#(\d{2,4});")
_NAMED_SIGN = re.compile(r" ?\b(quot|amp|lt|gt);")
_TAG = re.compile(r"</?[A-Za-z][^<>]*>")


def repaired(text: str) -> str:
    r"""A text with the publisher's defects mended: ` #39;` is an apostrophe, ` quot;` a quote, `\` a broken line, `&lt;b&gt;` a tag."""
    text = text.replace("\\", " ")
    if ";" not in text and "<" not in text:
        return text
    text = _NUMBERED_SIGN.sub(lambda sign: chr(int(sign[1])), html.unescape(text))
    return _TAG.sub(" ", html.unescape(_NAMED_SIGN.sub(r"&\1;", text)))


def _parse(found: Sequence[Found], repair: bool) -> LabelledTexts:
    texts, labels, parts = [], [], []
    classes = {str(place): place - 1 for place in range(1, len(CLASSES) + 1)}
    for one, part in zip(found, (TRAIN, TEST), strict=True):
        for line, fields in rows(one.text(), one.path):
            if len(fields) not in (2, 3):
                raise DataError(f"{one.path}, line {line}: {len(fields)} columns, expected class, title, description or class, text")
            if fields[0] not in classes:
                raise DataError(f"{one.path}, line {line}: unknown label {fields[0]!r}; expected one of 1, 2, 3, 4")
            labels.append(classes[fields[0]])
            texts.append(" ".join(fields[1:]))
            parts.append(part)
    if repair:
        texts = [repaired(text) for text in texts]
    return LabelledTexts(texts, np.array(labels, np.int64), CLASSES, np.array(parts, np.uint8))


def _source(repair: bool = True) -> TextSource:
    def find(files: Files) -> Sequence[Found]:
        return [files.find(AGNEWS_TRAIN), files.find(AGNEWS_TEST)]

    return TextSource("agnews", 1, find, partial(_parse, repair=repair), "AG News", {"repair": repair})


@datasets.register("agnews", forms=((AGNEWS_TRAIN, AGNEWS_TEST),), texts=_source)
@with_text_options(max_tokens=100)
def agnews(
    files: Files,
    options: TextOptions,
    *,
    repair: bool = True,
) -> Dataset:
    """The topic of a news item, four classes: 120,000 training texts (61,658 in the partial file), 7,600 for test."""
    return text_classification(files, _source(repair), options)
