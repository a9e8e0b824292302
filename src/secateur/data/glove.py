"""GloVe vectors (Pennington et al. 2014) for the words of a vocabulary."""

from __future__ import annotations

import io
import zipfile
from collections.abc import Container, Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import IO

import numpy as np
import torch
from torch import Tensor

from secateur.canonical import digest
from secateur.data.corpus import SPECIALS
from secateur.data.dataset import Note
from secateur.data.files import Files
from secateur.data.parsed import Array, Parsed, parsed_once
from secateur.data.partition import shuffled_ranks, text_hashes
from secateur.data.raw import Found, Known, RawFile
from secateur.errors import DataError, InputError

VERSION = 1
DIMENSIONS = (25, 50, 100, 200, 300)

GLOVE_6B = RawFile(
    "glove",
    "glove.6B.zip",
    (Known("617afb2fe6cbd085c235baf7a465b96f4112bd7f7ccb2b2cbd649fed9cbcf2fb", "GloVe 6B"),),
    sources=("https://downloads.cs.stanford.edu/nlp/data/glove.6B.zip", "https://nlp.stanford.edu/data/glove.6B.zip"),
)
GLOVE_SUBSET = RawFile(
    "glove",
    "glove.6B.50d.subset.f16.npz",
    (Known("a0ed0f1dcc5e8571b011687baf02f3fadd9168e3ad9e04a27b8f0d0aaae359b1", "GloVe 6B 50d, 120,000 words in half precision"),),
)


def text_files(dimension: int) -> tuple[RawFile, ...]:
    """The published text files of that dimension, unzipped: any content is taken and its digest recorded."""
    return tuple(RawFile("glove", f"glove.{corpus}.{dimension}d.txt") for corpus in ("6B", "42B", "840B", "twitter.27B"))


@dataclass(frozen=True)
class WordVectors:
    """`rows` (specials + words, dimension) float32, row 0 zero; what to say of them in the report; what they were made of."""

    rows: Tensor
    notes: tuple[Note, ...]
    made_of: str


def word_vectors(files: Files, words: Sequence[str], dimension: int, specials: int = SPECIALS) -> WordVectors:
    """The GloVe vector of each word; a word in capitals takes its lower-case one where it has none of its own.

    A word without a vector gets one drawn uniformly from [-a, a], with a such that its variance is that of the vectors
    found (Kim 2014, section 3.2); the draw depends on the word alone. So do the special rows between padding and words.
    """
    if dimension not in DIMENSIONS:
        raise InputError(f"dimension = {dimension}: GloVe has {', '.join(map(str, DIMENSIONS))}")
    found = _find(files, dimension)
    made_of = {"glove": found.sha256, "dimension": dimension, "words": digest(list(words)), "specials": specials}

    def parse() -> Parsed:
        wanted = {*words, *(word.lower() for word in words)}
        rows, known = _look_up(_entries(found, dimension, wanted), words, dimension)
        if not known.any():
            raise DataError(f"{found.path}: has no vector for any of the {len(words):,} words")
        spread = float(rows[known].std()) * 3**0.5
        rows[~known] = _drawn([word for word, has in zip(words, known, strict=True) if not has], dimension, spread)
        first = _drawn([f"<special {place}>" for place in range(specials)], dimension, spread)
        first[0] = 0
        return Parsed({"vectors": np.concatenate([first, rows])}, {"without": int((~known).sum())})

    parsed = parsed_once(files.places, "glove", VERSION, made_of, parse, files.progress)
    notes = (
        Note(f"words of the vocabulary without a vector in {found.label or found.path.name}, drawn at random", parsed.facts["without"]),
    )
    return WordVectors(torch.from_numpy(np.array(parsed.arrays["vectors"])), notes, digest({**made_of, "version": VERSION}))


def _find(files: Files, dimension: int) -> Found:
    """The text file of that dimension; else the archive; else the reduced file. Fetches the archive where there is none."""
    for raw in (*text_files(dimension), GLOVE_6B, *([GLOVE_SUBSET] if dimension == 50 else [])):
        if (found := files.look(raw)) is not None:
            return found
    if dimension == 25:
        raise DataError("glove/glove.twitter.27B.25d.txt is missing: unzip it from https://nlp.stanford.edu/data/glove.twitter.27B.zip")
    return files.find(GLOVE_6B)


def _entries(found: Found, dimension: int, wanted: Container[str]) -> Iterator[tuple[str, Array]]:
    if found.path.suffix == ".npz":
        with np.load(io.BytesIO(found.read()), allow_pickle=False) as stored:
            vectors = stored["vectors"].astype(np.float32)
            if vectors.shape[1:] != (dimension,):
                raise DataError(f"{found.path}: vectors of shape {vectors.shape}, expected (words, {dimension})")
            yield from zip(stored["words"].tolist(), vectors, strict=True)
        return
    with _lines(found, dimension) as lines:
        yield from read_text(lines, dimension, found.path, wanted)


@contextmanager
def _lines(found: Found, dimension: int) -> Iterator[Iterable[bytes]]:
    if found.path.suffix == ".zip":
        with zipfile.ZipFile(found.path) as archive:
            name = f"glove.6B.{dimension}d.txt"
            if name not in archive.namelist():
                raise DataError(f"{found.path}: holds no {name}, but {', '.join(archive.namelist())}")
            with archive.open(name) as file:
                yield file
    elif found.path.suffix == ".gz":
        yield io.BytesIO(found.read())
    else:
        plain: IO[bytes]
        with found.path.open("rb") as plain:
            yield plain


def read_text(lines: Iterable[bytes], dimension: int, path: Path | str, wanted: Container[str]) -> Iterator[tuple[str, Array]]:
    """(word, (dimension,) float32) of each line whose word is wanted.

    `DataError` with the line that has another number of values, or no numbers. Words may hold spaces, as in GloVe 840B.
    """
    for number, line in enumerate(lines, 1):
        word, _, values = line.rstrip(b"\r\n").partition(b" ")
        if values.count(b" ") != dimension - 1:
            fields = line.rstrip(b"\r\n").rsplit(b" ", dimension)
            if len(fields) != dimension + 1:
                raise DataError(f"{path}, line {number}: {line.count(b' ')} values after the word, expected {dimension}")
            word, values = fields[0], b" ".join(fields[1:])
        try:
            name = word.decode("utf-8")
            if name in wanted:
                yield name, np.array(values.split(b" "), np.float32)
        except UnicodeDecodeError as error:
            raise DataError(f"{path}, line {number}: byte 0x{word[error.start]:02x} is not utf-8") from error
        except ValueError as error:
            raise DataError(f"{path}, line {number}: {error}") from error


def _look_up(entries: Iterable[tuple[str, Array]], words: Sequence[str], dimension: int) -> tuple[Array, Array]:
    """((words, dimension) float32, (words,) bool where there is a vector)."""
    place = {word: number for number, word in enumerate(words)}
    lowered: dict[str, list[int]] = {}
    for word, number in place.items():
        if (lower := word.lower()) != word:
            lowered.setdefault(lower, []).append(number)
    rows, known, own = np.zeros((len(words), dimension), np.float32), np.zeros(len(words), bool), np.zeros(len(words), bool)
    for word, vector in entries:
        at = place.get(word)
        if at is not None and not own[at]:
            rows[at], known[at], own[at] = vector, True, True
        for capitalised in lowered.get(word, ()):
            if not known[capitalised]:
                rows[capitalised], known[capitalised] = vector, True
    return rows, known


def _drawn(words: Sequence[str], dimension: int, bound: float) -> Array:
    """(words, dimension) float32, uniform in [-bound, bound), a function of the words alone."""
    columns = np.arange(1, dimension + 1, dtype=np.uint64) * np.uint64(0x9E3779B97F4A7C15)
    mixed = shuffled_ranks(text_hashes(words)[:, None] + columns[None, :], 0, "word vectors")
    uniform = (mixed >> np.uint64(11)).astype(np.float64) / (1 << 53)
    return ((2 * uniform - 1) * bound).astype(np.float32)
