"""Splits and data sets for language modelling: fixed windows with the state carried over, or sentence by sentence."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Literal

import numpy as np
import torch
from torch import Tensor

from secateur.canonical import digest
from secateur.data.corpus import Corpus, corpus_arrays, corpus_of, vocabulary_of
from secateur.data.dataset import PADDING, UNKNOWN, Batch, Dataset, DataShape, Note
from secateur.data.files import Files
from secateur.data.parsed import Array, Parsed, parsed_once
from secateur.data.partition import PREPARATION, TEST, TRAIN, VALID
from secateur.data.raw import Found
from secateur.data.splits import Ragged, bucketed
from secateur.data.text_options import check_counts
from secateur.data.tokens import Tokens

END = 2
"""The id that ends every sentence, and that stands before the first."""

Cut = Literal["windows", "sentences"]


@dataclass(frozen=True, eq=False)
class WindowSplit:
    """A text cut into `batch` contiguous rows, read `window` tokens at a time; the state is carried from batch to batch.

    A batch is (tokens, targets), both (batch, window) int64: targets are the tokens that follow. Every token of the text
    is a target exactly once: the first is predicted from `END`, the rows differ in length by one token at most, and what
    is missing at the end of the shorter ones is `PADDING` in both. With batch 1 nothing is padded: that evaluation is exact.
    """

    stream: Tensor
    window: int
    carried: bool = field(default=True, init=False)

    def __len__(self) -> int:
        """The number of tokens to predict."""
        return len(self.stream)

    def steps(self, batch: int) -> int:
        """Number of batches of an epoch; the last one may be narrower."""
        return -(-self._longest(batch) // self.window)

    def epoch(self, batch: int, seed: int, epoch: int, start: int = 0) -> Iterator[Batch]:
        """The text from window number `start` on; the order is the text's, whatever `seed` and `epoch`."""
        tokens, targets = self._rows(batch)
        for first in range(start * self.window, tokens.shape[1], self.window):
            columns = slice(first, first + self.window)
            yield tokens[:, columns].contiguous(), targets[:, columns].contiguous()

    def in_order(self, batch: int) -> Iterator[Batch]:
        """The whole text, as `epoch` gives it."""
        return self.epoch(batch, 0, 0)

    def _longest(self, batch: int) -> int:
        return -(-len(self.stream) // batch)

    def _rows(self, batch: int) -> tuple[Tensor, Tensor]:
        before = torch.cat([torch.tensor([END]), self.stream[:-1]])
        short, longer = divmod(len(self.stream), batch)
        tokens = torch.full((batch, self._longest(batch)), PADDING)
        targets = tokens.clone()
        at = 0
        for row in range(batch):
            length = short + (row < longer)
            tokens[row, :length] = before[at : at + length]
            targets[row, :length] = self.stream[at : at + length]
            at += length
        return tokens, targets


@dataclass(frozen=True, eq=False)
class SentenceSplit:
    """Sentences one by one, each beginning from nothing: (tokens, targets), both (batch, longest) int64, padded with 0.

    A sentence w1 … wn is read as END w1 … wn and predicted as w1 … wn END. `tokens` and `offsets` hold w1 … wn END.
    """

    tokens: Array
    offsets: Array
    carried: bool = field(default=False, init=False)
    _ragged: Ragged = field(init=False, repr=False)

    def __post_init__(self) -> None:
        object.__setattr__(self, "_ragged", Ragged(self.tokens, self.offsets))

    def __len__(self) -> int:
        return len(self.offsets) - 1

    def steps(self, batch: int) -> int:
        """Number of batches of an epoch; one of them may be smaller."""
        return -(-len(self) // batch)

    def epoch(self, batch: int, seed: int, epoch: int, start: int = 0) -> Iterator[Batch]:
        """Shuffled batches of sentences of about the same length, from number `start` on."""
        for rows in bucketed(self._ragged.lengths, batch, seed, epoch)[start:]:
            yield self._batch(rows)

    def in_order(self, batch: int) -> Iterator[Batch]:
        """Every sentence once, in the text's order."""
        for rows in torch.split(torch.arange(len(self)), batch):
            yield self._batch(rows)

    def _batch(self, rows: Tensor) -> Batch:
        targets = self._ragged.padded(rows)
        tokens = torch.cat([torch.full((len(rows), 1), END), targets[:, :-1]], dim=1)
        return tokens.masked_fill_(targets == PADDING, PADDING), targets


@dataclass(frozen=True)
class Sentences:
    """What a parser reads: sentences in the text's order, and the split of each."""

    texts: Sequence[str]
    parts: Array
    notes: tuple[Note, ...] = ()


@dataclass(frozen=True, kw_only=True)
class LanguageOptions:
    """The options that every language-modelling data set has."""

    cut: Cut
    window: int
    vocabulary: int | None
    min_count: int
    lower: bool
    tokens: Tokens
    limit: int | None

    def __post_init__(self) -> None:
        check_counts(self, "window", "vocabulary", "min_count", "limit")


def language_modelling(
    files: Files,
    name: str,
    version: int,
    label: str,
    found: Sequence[Found],
    variant: Mapping[str, Any],
    parse: Callable[[], Sentences],
    options: LanguageOptions,
    unknown_word: str | None = None,
) -> Dataset:
    """A text as a stream of ids: 0 pads, 1 is an unknown word (and `unknown_word`), 2 ends a sentence, then words by falling count.

    `limit` keeps the first so many sentences of each split, so that what is left is still running text.
    """
    made_of = {"files": {one.raw.place: one.sha256 for one in found}, "tokens": options.tokens, "lower": options.lower, "variant": variant}

    def arrays() -> Parsed:
        read = parse()
        facts = {"notes": [[note.what, note.count] for note in read.notes if note.count]}
        return Parsed({"parts": read.parts} | corpus_arrays(read.texts, options.tokens, options.lower), facts)

    parsed = parsed_once(files.places, name, version, made_of, arrays, files.progress)
    corpus, parts = corpus_of(parsed), parsed.arrays["parts"]
    kept = np.ones(len(parts), bool)
    if options.limit is not None:
        for part in (TRAIN, VALID, TEST):
            kept[np.flatnonzero(parts == part)[options.limit :]] = False
    words, new_ids = _vocabulary(corpus, (parts == TRAIN) & kept, options, unknown_word)
    splits: dict[str, WindowSplit | SentenceSplit] = {}
    notes = [Note(what, count) for what, count in parsed.facts["notes"]]
    for split, part in {"train": TRAIN, "valid": VALID, "test": TEST}.items():
        tokens, offsets = _with_ends(*corpus.rows((parts == part) & kept, new_ids, None))
        if part != TRAIN and (unknown := int((tokens == UNKNOWN).sum())):
            notes.append(Note(f"unknown words among the {len(tokens):,} tokens of {split}", unknown))
        if options.cut == "windows":
            splits[split] = WindowSplit(torch.from_numpy(tokens.astype(np.int64)), options.window)
        else:
            splits[split] = SentenceSplit(tokens, offsets)
    if not kept.all():
        label = f"{label}, cut to {options.limit:,} training sentences"
        notes.append(Note(f"sentences left out by limit = {options.limit}", int((~kept).sum())))
    given = {key: getattr(options, key) for key in LanguageOptions.__dataclass_fields__}
    return Dataset(
        name=name,
        label=label,
        splits=splits,
        shape=DataShape(
            outputs=END + 1 + len(words),
            vocabulary=END + 1 + len(words),
            length=options.window if options.cut == "windows" else None,
        ),
        digest=digest({"data": made_of, "parser": name, "version": version, "options": given, "preparation": PREPARATION}),
        words=("<pad>", "<unk>", "<eos>", *words),
        notes=tuple(notes),
        source={"end": END, "cut": options.cut, "tokens": options.tokens, "lower": options.lower},
    )


def _vocabulary(corpus: Corpus, training: Array, options: LanguageOptions, unknown_word: str | None) -> tuple[list[str], Array]:
    """`vocabulary_of` with an id for `END` below the words, and without the word that a file has for unknown ones."""
    words, _ = vocabulary_of(corpus, training, None, options.min_count)
    chosen = [word for word in words if word != unknown_word][: options.vocabulary]
    place = {word: number for number, word in enumerate(chosen, END + 1)}
    ids = np.fromiter((place.get(word, UNKNOWN) for word in corpus.words), np.int32, len(corpus.words))
    return chosen, ids


def _with_ends(tokens: Array, offsets: Array) -> tuple[Array, Array]:
    """The same sentences with `END` after each."""
    count = len(offsets) - 1
    ended = np.full(len(tokens) + count, END, np.int32)
    ended[np.arange(len(tokens)) + np.repeat(np.arange(count), np.diff(offsets))] = tokens
    return ended, offsets + np.arange(count + 1)
