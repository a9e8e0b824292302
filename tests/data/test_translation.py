import gzip

import numpy as np
import pytest
import torch

from secateur.data.bible_translation import bible_translation
from secateur.data.multi30k import MULTI30K, _parse, multi30k
from secateur.data.raw import Found
from secateur.data.translation import BEGIN, END, PairSplit
from secateur.errors import DataError


def pair_split(count):
    lengths = [3 + row * 5 % 11 for row in range(count)]
    tokens = np.concatenate([np.array([BEGIN, *[10 + row] * (length - 2), END]) for row, length in enumerate(lengths)]).astype(np.int32)
    side = (tokens, np.r_[0, np.cumsum(lengths)])
    return PairSplit(side, side, tuple(map(str, range(count))), tuple(map(str, range(count))))


def test_a_batch_is_source_target_in_and_target_out():
    side = (np.array([BEGIN, 7, 8, END, BEGIN, 9, END], np.int32), np.array([0, 4, 7]))
    (source, target_in), target_out = next(PairSplit(side, side, ("a", "b"), ("c", "d")).in_order(2))
    assert source.tolist() == [[BEGIN, 7, 8, END], [BEGIN, 9, END, 0]]
    assert target_in.tolist() == [[BEGIN, 7, 8], [BEGIN, 9, END]]
    assert target_out.tolist() == [[7, 8, END], [9, END, 0]]


def test_an_epoch_holds_every_pair_once_and_starts_anywhere():
    split = pair_split(57)
    whole = list(split.epoch(8, 3, 0))
    assert sorted(target for _, out in whole for target in out[:, 0].tolist()) == list(range(10, 67))
    assert all(torch.equal(source[:, 1], out[:, 0]) for (source, _), out in whole)
    tail = list(split.epoch(8, 3, 0, start=5))
    assert [out.tolist() for _, out in tail] == [out.tolist() for _, out in whole[5:]]
    assert [out.tolist() for _, out in split.epoch(8, 3, 1)] != [out.tolist() for _, out in whole]


def found(tmp_path, name, content):
    path = tmp_path / f"{name}.gz"
    path.write_bytes(gzip.compress(content))
    return Found(MULTI30K[name], path, "0")


def files_of(tmp_path, german):
    short = [(found(tmp_path, f"{part}.de", b"x\n"), found(tmp_path, f"{part}.en", b"x\n")) for part in ("val", "test_2016_flickr")]
    return [(found(tmp_path, "train.de", german), found(tmp_path, "train.en", b"A man.\nA dog.\n")), *short]


def test_lines_are_stripped_and_paired(tmp_path):
    read = _parse(files_of(tmp_path, b" Ein Mann. \nEin Hund.\n"))
    assert list(read.sources) == ["Ein Mann.", "Ein Hund.", "x", "x"]
    assert read.parts.tolist() == [0, 0, 1, 2]


@pytest.mark.parametrize(
    ("german", "message"),
    [
        (b"Ein Mann.\n", r"train\.de\.gz has 1 lines, .*train\.en\.gz has 2"),
        (b"Ein Mann.\n\n", r"train\.de\.gz, line 2: empty"),
        (b"Ein Mann.\nEin H\xfcnd.\n", r"train\.de\.gz, line 2: byte 0xfc is not utf-8"),
    ],
)
def test_what_is_wrong_is_named_with_its_line(tmp_path, german, message):
    with pytest.raises(DataError, match=message):
        _parse(files_of(tmp_path, german))


def test_multi30k_counts(real_files):
    data = multi30k(real_files)
    assert {name: len(split) for name, split in data.splits.items()} == {"train": 29_000, "valid": 1_014, "test": 1_000}
    assert data.splits["test"].sources[0] == "Ein Mann mit einem orangefarbenen Hut, der etwas anstarrt."
    assert data.splits["test"].references[0] == "A man in an orange hat starring at something."
    assert len(data.words) == data.shape.outputs == data.shape.vocabulary
    assert len(data.source["source_words"]) == data.shape.source_vocabulary
    (source, target_in), _ = next(data.splits["test"].in_order(1))
    words = data.source["source_words"]
    assert [words[place] for place in source[0, :4]] == ["<bos>", "Ein", "Mann", "mit"]
    assert [data.words[place] for place in target_in[0, :4]] == ["<bos>", "A", "man", "in"]


def test_multi30k_the_other_way(real_files):
    data = multi30k(real_files, source_language="en", limit=500)
    assert len(data.splits["train"]) == 500
    assert data.splits["test"].references[0] in multi30k(real_files).splits["test"].sources
    assert data.label == "Multi30k, English to German, cut to 500 training pairs"


def test_spacys_tokeniser_gives_the_published_vocabularies(real_files):
    pytest.importorskip("spacy", reason="spaCy is not installed: pip install 'secateur[spacy]'")
    data = multi30k(real_files, tokenizer="spacy")
    assert data.shape.source_vocabulary == pytest.approx(19_214, abs=5)  # study C's, which kept line ends as tokens
    assert data.shape.vocabulary == pytest.approx(10_837, abs=5)


def test_verses_are_paired_by_number(package_files):
    data = bible_translation(package_files, limit=2_000)
    assert [len(data.splits[name]) for name in ("train", "valid", "test")] == [2_000, 1_477, 1_555]
    everything = dict(zip(data.splits["train"].sources, data.splits["train"].references, strict=True))
    assert not any("[" in source for source in everything)
    whole = bible_translation(package_files)
    assert sum(len(split) for split in whole.splits.values()) == 31_099
    pairs = {source: target for split in whole.splits.values() for source, target in zip(split.sources, split.references, strict=True)}
    assert pairs["In the beginning God created the heaven and the earth."] == "In the beginning God created the heavens and the earth."
