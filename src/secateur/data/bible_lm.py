"""Language modelling on the World English Bible: running text that needs no network."""

from __future__ import annotations

import numpy as np

from secateur.data.bible import SECTIONS, WORLD_ENGLISH, verses
from secateur.data.dataset import Dataset, Note
from secateur.data.files import Files
from secateur.data.language import Cut, LanguageOptions, Sentences, language_modelling
from secateur.data.partition import TRAIN, partition, shuffled_ranks
from secateur.data.raw import Found
from secateur.data.tokens import Tokens
from secateur.errors import InputError
from secateur.registry import datasets


def _parse(found: Found, validation: float, test: float, split_seed: int) -> Sentences:
    """Verses in the order of the canon. Whole chapters are held out, so that the text of every split runs on; each section
    of the canon gives its share."""
    read = {number: text for number, text in verses(found).items() if text}
    chapters = np.array([number // 1000 for number in read], np.int64)
    names, of = np.unique(chapters, return_inverse=True)
    section = {book: place for place, books in enumerate(SECTIONS.values()) for book in books}
    strata = np.array([section[chapter // 1000] for chapter in names.tolist()])
    ranks = shuffled_ranks(names.astype(np.uint64), split_seed, "split/bible-lm")
    parts = partition(np.full(len(names), TRAIN, np.uint8), ranks, strata, validation, test)
    return Sentences(list(read.values()), parts[of], (Note("chapters, each whole in one split", len(names)),))


@datasets.register("bible-lm", forms=((WORLD_ENGLISH,),))
def bible_lm(
    files: Files,
    *,
    cut: Cut = "windows",
    window: int = 20,
    vocabulary: int | None = 10_000,
    min_count: int = 1,
    lower: bool = True,
    tokens: Tokens = "words-and-punctuation",
    validation: float = 0.05,
    test: float = 0.05,
    split_seed: int = 0,
    limit: int | None = None,
) -> Dataset:
    """Language modelling on the World English Bible, each verse a sentence; validation and test are whole chapters."""
    for name, value in (("validation", validation), ("test", test)):
        if not 0 <= value < 1:
            raise InputError(f"{name} = {value}: a fraction from 0 to below 1")
    found = files.find(WORLD_ENGLISH)
    variant = {"validation": validation, "test": test, "split_seed": split_seed}

    def parse() -> Sentences:
        return _parse(found, validation, test, split_seed)

    options = LanguageOptions(cut=cut, window=window, vocabulary=vocabulary, min_count=min_count, lower=lower, tokens=tokens, limit=limit)
    return language_modelling(files, "bible-lm", 1, "World English Bible, running text", [found], variant, parse, options)
