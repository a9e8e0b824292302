"""Small sets of sentences, one a line, one file a class, in a zip archive."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np

from secateur.data.archives import zip_member
from secateur.data.files import Files
from secateur.data.partition import TRAIN
from secateur.data.raw import Found, RawFile, decode
from secateur.data.text_classification import LabelledTexts, TextSource


def sentence_source(name: str, label: str, archive: RawFile, classes: Mapping[str, str]) -> TextSource:
    """The data set whose zip `archive` holds one file a class; `classes`: file name -> name of the class."""

    def find(files: Files) -> Sequence[Found]:
        return [files.find(archive)]

    def parse(found: Sequence[Found]) -> LabelledTexts:
        texts: list[str] = []
        labels: list[int] = []
        for place, member in enumerate(classes):
            content = decode(zip_member(found[0].path, member), "utf-8", f"{found[0].path}, {member}")
            lines = [line for line in content.split("\n") if line.strip()]
            texts += lines
            labels += [place] * len(lines)
        return LabelledTexts(texts, np.array(labels, np.int64), tuple(classes.values()), np.full(len(labels), TRAIN, np.uint8))

    return TextSource(name, 1, find, parse, label, test=0.1)
