"""Splits and data sets for translation: pairs of sentences, batched by length."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import torch
from torch import Tensor

from secateur.canonical import digest
from secateur.data.corpus import array_lines, corpus_arrays, corpus_of, lines_array, vocabulary_of
from secateur.data.dataset import Batch, Dataset, DataShape, Note
from secateur.data.files import Files
from secateur.data.parsed import Array, Parsed, parsed_once
from secateur.data.partition import PREPARATION, TEST, TRAIN, VALID, first_of_each, partition, shuffled_ranks
from secateur.data.raw import Found
from secateur.data.splits import Ragged, bucketed
from secateur.data.text_options import check_counts, check_fractions
from secateur.data.tokens import Tokens

BEGIN, END = 2, 3
"""Ids of the begin and the end of a sentence, on both sides."""

SPECIALS = 4

Cutter = Callable[[Sequence[str]], Iterable[str]]
"""Texts in, their tokens out with a newline after each text."""


@dataclass(frozen=True, eq=False)
class PairSplit:
    """Pairs of sentences. A batch is ((source, target_in), target_out), each (batch, longest) int64 and padded with 0.

    Source and target are BEGIN w1 … wn END; target_in lacks the last token of the longest target, target_out the BEGIN.
    `sources` and `references` are the raw lines, in the split's own order.
    """

    source: tuple[Array, Array]
    target: tuple[Array, Array]
    sources: Sequence[str]
    references: Sequence[str]
    _source: Ragged = field(init=False, repr=False)
    _target: Ragged = field(init=False, repr=False)

    def __post_init__(self) -> None:
        object.__setattr__(self, "_source", Ragged(*self.source))
        object.__setattr__(self, "_target", Ragged(*self.target))

    def __len__(self) -> int:
        return len(self.references)

    def steps(self, batch: int) -> int:
        """Number of batches of an epoch; one of them may be smaller."""
        return -(-len(self) // batch)

    def epoch(self, batch: int, seed: int, epoch: int, start: int = 0) -> Iterator[Batch]:
        """Shuffled batches of pairs of about the same lengths, from number `start` on."""
        lengths = self._target.lengths * (1 + int(self._source.lengths.max(initial=0))) + self._source.lengths
        for rows in bucketed(lengths, batch, seed, epoch)[start:]:
            yield self._batch(rows)

    def in_order(self, batch: int) -> Iterator[Batch]:
        """Every pair once, in the split's own order."""
        for rows in torch.split(torch.arange(len(self)), batch):
            yield self._batch(rows)

    def _batch(self, rows: Tensor) -> Batch:
        target = self._target.padded(rows)
        return (self._source.padded(rows), target[:, :-1].contiguous()), target[:, 1:].contiguous()


@dataclass(frozen=True)
class Pairs:
    """What a parser reads: lines and their translations, and the published split of each pair."""

    sources: Sequence[str]
    targets: Sequence[str]
    parts: Array
    notes: tuple[Note, ...] = ()


@dataclass(frozen=True, kw_only=True)
class TranslationOptions:
    """The options that every translation data set has."""

    source_vocabulary: int | None
    target_vocabulary: int | None
    min_count: int
    max_tokens: int
    lower: bool
    tokens: Tokens
    validation: float
    test: float
    split_seed: int
    limit: int | None

    def __post_init__(self) -> None:
        check_fractions(self, "validation", "test")
        check_counts(self, "source_vocabulary", "target_vocabulary", "min_count", "max_tokens", "limit")


def translation(
    files: Files,
    name: str,
    version: int,
    label: str,
    found: Sequence[Found],
    variant: Mapping[str, Any],
    parse: Callable[[], Pairs],
    options: TranslationOptions,
    cutters: tuple[Cutter | None, Cutter | None] = (None, None),
) -> Dataset:
    """Pairs as ids on both sides: 0 pads, 1 is an unknown word, 2 begins and 3 ends a sentence, then words by falling count.

    A sentence of more than `max_tokens` words is cut there. Splits that the files do not have are held out by a seeded hash
    of the target sentence. `cutters` replace the tokeniser of source and target; `variant` says so.
    """
    made_of = {"files": {one.raw.place: one.sha256 for one in found}, "tokens": options.tokens, "lower": options.lower, "variant": variant}

    def arrays() -> Parsed:
        read = parse()
        lines = {"source_lines": lines_array(read.sources), "target_lines": lines_array(read.targets)}
        source = corpus_arrays(read.sources, options.tokens, options.lower, cutters[0], "source_")
        target = corpus_arrays(read.targets, options.tokens, options.lower, cutters[1], "target_")
        facts = {"notes": [[note.what, note.count] for note in read.notes if note.count]}
        return Parsed({"parts": read.parts, **lines, **source, **target}, facts)

    parsed = parsed_once(files.places, name, version, made_of, arrays, files.progress)
    source, target = corpus_of(parsed, "source_"), corpus_of(parsed, "target_")
    ranks = shuffled_ranks(target.hashes, options.split_seed, f"split/{name}")
    parts = partition(parsed.arrays["parts"], ranks, np.zeros(len(target), np.int64), options.validation, options.test)
    kept = first_of_each(parts, shuffled_ranks(target.hashes, options.split_seed, f"limit/{name}"), options.limit)
    training = (parts == TRAIN) & kept
    source_words, source_ids = vocabulary_of(source, training, options.source_vocabulary, options.min_count, SPECIALS)
    target_words, target_ids = vocabulary_of(target, training, options.target_vocabulary, options.min_count, SPECIALS)
    lines = array_lines(parsed.arrays["source_lines"]), array_lines(parsed.arrays["target_lines"])
    notes = [Note(what, count) for what, count in parsed.facts["notes"]]
    pairs = source.hashes ^ (target.hashes * np.uint64(0x9E3779B97F4A7C15))
    splits = {}
    for split, part in {"train": TRAIN, "valid": VALID, "test": TEST}.items():
        rows = (parts == part) & kept
        chosen = np.flatnonzero(rows).tolist()
        splits[split] = PairSplit(
            _framed(*source.rows(rows, source_ids, options.max_tokens)),
            _framed(*target.rows(rows, target_ids, options.max_tokens)),
            tuple(lines[0][row] for row in chosen),
            tuple(lines[1][row] for row in chosen),
        )
        if part != TRAIN and (repeats := int(np.isin(pairs[rows], pairs[training]).sum())):
            notes.append(Note(f"pairs of {split} that stand in the training split too", repeats))
    longer = int(((source.lengths > options.max_tokens) | (target.lengths > options.max_tokens))[kept].sum())
    notes += [Note(f"pairs with a sentence cut to its first {options.max_tokens} words", longer)] if longer else []
    if not kept.all():
        label = f"{label}, cut to {len(splits['train']):,} training pairs"
        notes.append(Note(f"pairs left out by limit = {options.limit}", int((~kept).sum())))
    given = {key: getattr(options, key) for key in TranslationOptions.__dataclass_fields__}
    return Dataset(
        name=name,
        label=label,
        splits=splits,
        shape=DataShape(
            outputs=SPECIALS + len(target_words),
            vocabulary=SPECIALS + len(target_words),
            source_vocabulary=SPECIALS + len(source_words),
        ),
        digest=digest({"data": made_of, "parser": name, "version": version, "options": given, "preparation": PREPARATION}),
        words=("<pad>", "<unk>", "<bos>", "<eos>", *target_words),
        notes=tuple(notes),
        source={
            "begin": BEGIN,
            "end": END,
            "tokens": options.tokens,
            "lower": options.lower,
            "source_words": ("<pad>", "<unk>", "<bos>", "<eos>", *source_words),
        },
    )


def _framed(tokens: Array, offsets: Array) -> tuple[Array, Array]:
    """The same sentences with `BEGIN` before and `END` after each."""
    count = len(offsets) - 1
    framed = np.empty(len(tokens) + 2 * count, np.int32)
    longer = offsets + 2 * np.arange(count + 1)
    framed[longer[:-1]], framed[longer[1:] - 1] = BEGIN, END
    framed[np.arange(len(tokens)) + np.repeat(2 * np.arange(count) + 1, np.diff(offsets))] = tokens
    return framed, longer
