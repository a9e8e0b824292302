"""Text to tokens: three tokenisers, and the ids of a whole corpus in one pass."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Sequence
from typing import Literal

import numpy as np

from secateur.data.parsed import Array

Tokens = Literal["words-and-punctuation", "words", "whitespace"]
"""`words-and-punctuation`: runs of letters and digits, each other sign by itself, English contractions cut as in the Penn
Treebank and GloVe (do n't, it 's). `words`: the same without the signs. `whitespace`: what stands between white space."""

_CONTRACTION = r"n't\b|(?<=\w)'(?:s|re|ve|ll|d|m)\b"
_PATTERNS = {
    "words-and-punctuation": re.compile(rf"\n|{_CONTRACTION}|\w+|[^\w\s]", re.IGNORECASE),
    "words": re.compile(rf"\n|{_CONTRACTION}|\w+", re.IGNORECASE),
}
_BEFORE_NOT = re.compile(r"(?<=\w)(?=n't\b)", re.IGNORECASE)
_TEXTS_AT_ONCE = 4096


class _Index(dict[str, int]):
    """Word -> number, counted in order of first sight."""

    def __missing__(self, word: str) -> int:
        self[word] = number = len(self)
        return number


def tokenise(text: str, tokens: Tokens = "words-and-punctuation", lower: bool = True) -> list[str]:
    """The tokens of one text."""
    return [token for token in _cut([text], tokens, lower) if token != "\n"]


def _cut(texts: Sequence[str], tokens: Tokens, lower: bool) -> list[str]:
    """The tokens of the texts in a row, a newline after each text."""
    if tokens == "whitespace":
        cut: list[str] = []
        for text in texts:
            cut += (text.lower() if lower else text).split()
            cut.append("\n")
        return cut
    joined = "\n".join(text.replace("\n", " ") for text in texts) + "\n"
    if "n't" in joined or "N'T" in joined:
        joined = _BEFORE_NOT.sub(" ", joined)
    return _PATTERNS[tokens].findall(joined.lower() if lower else joined)


def corpus_ids(
    texts: Sequence[str], tokens: Tokens, lower: bool, cut: Callable[[Sequence[str]], Iterable[str]] | None = None
) -> tuple[Array, Array, list[str]]:
    """(ids (tokens,) int32, offsets (texts + 1,) int64, words): ids number the distinct words in alphabetical order.

    Text i has the ids from offsets[i] to offsets[i + 1]. `cut` may replace the tokeniser: texts in, their tokens with a
    newline after each text out. Alphabetical is the order of code points.
    """
    index = _Index({"\n": 0})
    parts = []
    for first in range(0, len(texts), _TEXTS_AT_ONCE):
        some = texts[first : first + _TEXTS_AT_ONCE]
        found = list(cut(some)) if cut is not None else _cut(some, tokens, lower)
        parts.append(np.fromiter(map(index.__getitem__, found), np.int32, len(found)))
    seen = np.concatenate(parts) if parts else np.zeros(0, np.int32)
    ends = np.flatnonzero(seen == 0)
    offsets = np.zeros(len(texts) + 1, np.int64)
    offsets[1:] = ends - np.arange(len(ends))
    del index["\n"]
    words = sorted(index)
    place = np.empty(len(words) + 1, np.int32)
    place[np.fromiter((index[word] for word in words), np.int64, len(words))] = np.arange(len(words), dtype=np.int32)
    return place[seen[seen != 0]], offsets, words


_NO_SPACE_BEFORE = re.compile(r" (?=[.,:;!?)\]}%]|n't\b|'(?:s|re|ve|ll|d|m)\b)", re.IGNORECASE)
_NO_SPACE_AFTER = re.compile(r"(?<=[(\[{$#]) ")
_HYPHEN = re.compile(r"(?<=\w) ([-/]) (?=\w)")
_QUOTED = re.compile(r'" ([^"]*) "')


def detokenise(tokens: Iterable[str]) -> str:
    """Tokens of `words-and-punctuation` as a line of text again: signs drawn to the words that they belong to."""
    text = _QUOTED.sub(r'"\1"', " ".join(tokens))
    text = _NO_SPACE_AFTER.sub("", _NO_SPACE_BEFORE.sub("", text))
    return _HYPHEN.sub(r"\1", text)
