"""MPAA ratings of films from their plots: the data of "Winning Ticket to the Movies"."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from functools import partial

import numpy as np

from secateur.data.dataset import Dataset, Note
from secateur.data.files import Files
from secateur.data.partition import TRAIN
from secateur.data.raw import Found, Known, RawFile
from secateur.data.tables import named_columns, rows
from secateur.data.text_classification import LabelledTexts, TextSource, text_classification
from secateur.data.text_options import TextOptions, with_text_options
from secateur.errors import DataError, InputError
from secateur.registry import datasets

CLASSES = ("G", "PG", "PG-13", "R")
_UNUSED_RATINGS = ("N/A", "NOT RATED", "UNRATED", "APPROVED", "PASSED", "NC-17", "GP", "M", "M/PG", "X")
_TELEVISION_RATINGS = ("TV-Y", "TV-Y7", "TV-Y7-FV", "TV-G", "TV-PG", "TV-14", "TV-MA")
OTHER_RATINGS = frozenset((*_UNUSED_RATINGS, *_TELEVISION_RATINGS))
MISSING = "N/A"
_SOURCE = "https://raw.githubusercontent.com/HaveANiceDay33/NLPTesting/master/Data"

MPAA = (
    RawFile(
        "movie_mpaa",
        "IMDB_MOVIES.csv",
        (Known("d240e2c7291748366178bf65bc4dad3826ac1fde3fd8d64a2a9df47c338239cd"),),
        sources=(f"{_SOURCE}/IMDB_MOVIES.csv",),
    ),
    RawFile(
        "movie_mpaa",
        "IMDB_MOVIES_2.csv",
        (Known("0779dc9f6a8f81a49245542cb62970be134a32651c9b312875031a151404fd7f"),),
        sources=(f"{_SOURCE}/IMDB_MOVIES_2.csv",),
    ),
)


def _parse(found: Sequence[Found], overlap: bool, repeats: int) -> LabelledTexts:
    """The films of both files; a film that stands in both (or twice) counts once, unless `overlap` is kept."""
    plots: list[str] = []
    labels: list[int] = []
    seen: set[str] = set()
    left_out: Counter[str] = Counter()
    for one in found:
        table = rows(one.text(), one.path)
        _, header = next(table, (1, []))
        rating, plot, film = named_columns(header, ("Rated", "Plot", "imdbID"), one.path)
        for line, fields in table:
            if fields[film] in seen and not overlap:
                left_out["rows of a film that was read already (the second file contains the first)"] += 1
                continue
            seen.add(fields[film])
            if fields[rating] not in CLASSES:
                if fields[rating] not in OTHER_RATINGS:
                    known = ", ".join((*CLASSES, *sorted(OTHER_RATINGS)))
                    raise DataError(f"{one.path}, line {line}: unknown rating {fields[rating]!r}; known: {known}")
                left_out["films without one of the four ratings, left out"] += 1
            elif fields[plot] == MISSING:
                left_out["films without a plot, left out"] += 1
            else:
                plots.append(fields[plot])
                labels.append(CLASSES.index(fields[rating]))
    notes = tuple(Note(what, count) for what, count in left_out.items())
    if repeats > 1:
        notes = (*notes, Note("times that every record stands in the data before it is split, as in the original", repeats))
    return LabelledTexts(
        plots * repeats, np.array(labels * repeats, np.int64), CLASSES, np.full(len(labels) * repeats, TRAIN, np.uint8), notes
    )


def _source() -> TextSource:
    return TextSource(
        "mpaa", 1, lambda files: [files.find(raw) for raw in MPAA], partial(_parse, overlap=False, repeats=1), "MPAA ratings", test=0.1135
    )


def _paper_source(repeats: int) -> TextSource:
    return TextSource(
        "mpaa-paper",
        1,
        lambda files: [files.find(raw) for raw in MPAA],
        partial(_parse, overlap=True, repeats=repeats),
        "MPAA ratings, with the original's overlap of training and test",
        {"repeats": repeats},
        by_row=True,
    )


@datasets.register("mpaa", forms=(MPAA,), texts=_source)
@with_text_options(vocabulary=13_561, max_tokens=40, tokens="words", padding="fixed", test=0.1135)
def mpaa(
    files: Files,
    options: TextOptions,
) -> Dataset:
    """The MPAA rating (G, PG, PG-13, R) of a film from its plot: 4,406 films, 500 of them for test."""
    return text_classification(files, _source(), options)


@datasets.register("mpaa-paper", forms=(MPAA,))
@with_text_options(vocabulary=13_561, max_tokens=40, tokens="words", padding="fixed", test=0.01135)
def mpaa_paper(
    files: Files,
    options: TextOptions,
    *,
    repeats: int = 5,
) -> Dataset:
    """As published, unsound: both files with their overlap, each record `repeats` times, and split only then: the test set is trained on.

    The notes count how many validation and test records stand in the training split too.
    """
    if repeats < 1:
        raise InputError(f"repeats = {repeats}: at least 1")
    return text_classification(files, _paper_source(repeats), options)
