"""From labelled texts to a data set for classification: the part that all such data sets share."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass, field, replace
from typing import Any

import numpy as np
import torch
from torch import Tensor

from secateur.canonical import digest
from secateur.data.corpus import SPECIALS, Corpus, chosen_words, corpus_arrays, corpus_of, new_ids, vocabulary_of
from secateur.data.dataset import Dataset, DataShape, Note
from secateur.data.files import Files
from secateur.data.glove import word_vectors
from secateur.data.parsed import Array, Parsed, parsed_once
from secateur.data.partition import PREPARATION, TEST, TRAIN, VALID, first_of_each, partition, repeats_across, shuffled_ranks
from secateur.data.raw import Found
from secateur.data.splits import TextSplit
from secateur.data.text_options import TextOptions
from secateur.errors import DataError, UnknownName
from secateur.registry import datasets

SPLITS = {"train": TRAIN, "valid": VALID, "test": TEST}


@dataclass(frozen=True)
class LabelledTexts:
    """What a parser reads from raw files: texts, the class of each (or a (texts, classes) 0/1 array), the published split of each."""

    texts: Sequence[str]
    labels: Array
    classes: Sequence[str]
    parts: Array
    notes: tuple[Note, ...] = ()


@dataclass(frozen=True)
class TextSource:
    """A labelled-text data set: `find` its raw files, `parse` them. `version` changes whenever `parse` does.

    `variant` is whatever else decides what `parse` returns. `label` is what the data are called in reports, where the raw
    files do not say. Examples of equal text go to the same split, unless `by_row`. `test` is the fraction held out for test
    when another data set takes these words in, for sources without a published test split.
    """

    name: str
    version: int
    find: Callable[[Files], Sequence[Found]]
    parse: Callable[[Sequence[Found]], LabelledTexts]
    label: str
    variant: Mapping[str, Any] = field(default_factory=dict)
    by_row: bool = False
    test: float = 0.0


@dataclass(frozen=True)
class Labelled:
    """A parsed labelled-text data set, divided into splits: `parts` (texts,), and `kept` (texts,) where `limit` leaves a text."""

    corpus: Corpus
    labels: Array
    classes: tuple[str, ...]
    parts: Array
    kept: Array
    notes: tuple[Note, ...]
    label: str
    made_of: Mapping[str, Any]

    def rows(self, part: int) -> Array:
        """(texts,) bool: the texts of one split."""
        rows: Array = (self.parts == part) & self.kept
        return rows


def labelled(files: Files, source: TextSource, options: TextOptions) -> Labelled:
    """The data set parsed (once) and divided into splits."""
    found = source.find(files)
    made_of = {
        "files": {one.raw.place: one.sha256 for one in found},
        "tokens": options.tokens,
        "lower": options.lower,
        "variant": dict(source.variant),
    }

    def parse() -> Parsed:
        read = source.parse(found)
        if not len(read.texts):
            raise DataError(f"{source.name}: no text in {', '.join(str(one.path) for one in found)}")
        facts = {"classes": list(read.classes), "notes": [[note.what, note.count] for note in read.notes if note.count]}
        arrays = {"labels": read.labels, "parts": read.parts.astype(np.uint8)}
        return Parsed(arrays | corpus_arrays(read.texts, options.tokens, options.lower), facts)

    parsed = parsed_once(files.places, source.name, source.version, made_of, parse, files.progress)
    corpus, labels = corpus_of(parsed), parsed.arrays["labels"]
    strata = labels if labels.ndim == 1 else np.zeros(len(corpus), np.int64)
    examples = np.arange(len(corpus), dtype=np.uint64) if source.by_row else corpus.hashes
    ranks = shuffled_ranks(examples, options.split_seed, f"split/{source.name}")
    parts = partition(parsed.arrays["parts"], ranks, strata, options.validation, options.test)
    kept = first_of_each(parts, shuffled_ranks(examples, options.split_seed, f"limit/{source.name}"), options.limit)
    label = next((one.label for one in found if one.label), source.label)
    notes = tuple(Note(what, count) for what, count in parsed.facts["notes"])
    version = {"parser": source.name, "version": source.version}
    return Labelled(corpus, labels, tuple(parsed.facts["classes"]), parts, kept, notes, label, made_of | version)


def text_classification(files: Files, source: TextSource, options: TextOptions) -> Dataset:
    """The data set of `source` as token ids, with a vocabulary of its training texts (and of those `vocabulary_from` names)."""
    data = labelled(files, source, options)
    joined = [_other(name) for name in sorted(set(options.vocabulary_from) - {source.name})]
    others = [labelled(files, other, replace(options, test=other.test)) for other in joined]
    training = data.rows(TRAIN)
    if others:
        words = chosen_words(_joint_counts([data, *others]), options.vocabulary, options.min_count)
        ids = new_ids(data.corpus, words)
    else:
        words, ids = vocabulary_of(data.corpus, training, options.vocabulary, options.min_count)
    vectors = word_vectors(files, words, options.dimension) if options.vectors == "glove" else None
    splits = {}
    for name, part in SPLITS.items():
        rows = data.rows(part)
        tokens, offsets = data.corpus.rows(rows, ids, options.max_tokens)
        width = options.max_tokens if options.padding == "fixed" else None
        splits[name] = TextSplit(tokens, offsets, _targets(data.labels[rows]), width)
    made_of = {
        "data": data.made_of,
        "others": [other.made_of for other in others],
        "vectors": vectors.made_of if vectors else None,
        "options": {**asdict(options), "dimension": options.dimension if vectors else None},
        "preparation": PREPARATION,
    }
    return Dataset(
        name=source.name,
        label=_label(data.label, splits, options),
        splits=splits,
        shape=DataShape(
            outputs=len(data.classes),
            vocabulary=SPECIALS + len(words),
            length=options.max_tokens if options.padding == "fixed" else None,
            vectors=vectors.rows if vectors else None,
        ),
        digest=digest(made_of),
        outputs=data.classes,
        words=("<pad>", "<unk>", *words),
        notes=(*data.notes, *_counted(data, options), *(vectors.notes if vectors else ())),
        source={"tokens": options.tokens, "lower": options.lower, "max_tokens": options.max_tokens},
    )


def _other(name: str) -> TextSource:
    """The source of another data set's texts: what it was registered with as `texts`."""
    known = {entry.name: entry.traits["texts"] for entry in datasets if "texts" in entry.traits}
    if name not in known:
        raise UnknownName("labelled-text data set", name, known, "vocabulary_from")
    source: TextSource = known[name]()
    return source


def _joint_counts(datasets: Sequence[Labelled]) -> dict[str, int]:
    counts: dict[str, int] = {}
    for data in datasets:
        for word, count in zip(data.corpus.words, data.corpus.counts(data.rows(TRAIN)).tolist(), strict=True):
            counts[word] = counts.get(word, 0) + count
    return counts


def _targets(labels: Array) -> Tensor:
    """(n,) int64 for one class a text, (n, classes) float32 of 0 and 1 for several."""
    return torch.from_numpy(labels.astype(np.int64 if labels.ndim == 1 else np.float32))


def _label(label: str, splits: Mapping[str, TextSplit], options: TextOptions) -> str:
    return label if options.limit is None else f"{label}, cut to {len(splits['train']):,} training texts"


def _counted(data: Labelled, options: TextOptions) -> list[Note]:
    """Notes on repeats across splits, and on what truncation and `limit` leave out."""
    parts = np.where(data.kept, data.parts, 255)
    notes = [
        Note(f"{name} texts that stand in the training split too", repeats)
        for name, part in (("validation", VALID), ("test", TEST))
        if (repeats := repeats_across(parts, data.corpus.hashes, part))
    ]
    if options.max_tokens is not None and (longer := int((data.corpus.lengths[data.kept] > options.max_tokens).sum())):
        notes.append(Note(f"texts cut to their first {options.max_tokens} tokens", longer))
    if not data.kept.all():
        notes.append(Note(f"texts left out by limit = {options.limit}", int((~data.kept).sum())))
    return notes
