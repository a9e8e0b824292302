import io
import json
import tarfile

import numpy as np
import pytest

from secateur.data.imdb import IMDB_ARCHIVE, IMDB_LINES, _parse, _source, imdb
from secateur.data.raw import Found
from secateur.data.text_classification import labelled
from secateur.data.text_options import TextOptions
from secateur.errors import DataError

OPTIONS = TextOptions(
    vocabulary=None,
    min_count=1,
    max_tokens=None,
    lower=True,
    tokens="words-and-punctuation",
    padding="batch",
    vectors="none",
    dimension=50,
    vocabulary_from=(),
    validation=0.1,
    test=0.0,
    split_seed=0,
    limit=None,
)

REVIEWS = [
    ("train/neg/0_3.txt", "bad<br /><br />film"),
    ("train/pos/0_9.txt", "gut\u0085good"),
    ("test/neg/1_2.txt", "é"),
    ("test/pos/2_10.txt", "yes"),
]


def lines(tmp_path, first=""):
    found = []
    for raw, part in zip(IMDB_LINES, ("train", "test"), strict=True):
        written = [
            json.dumps({"file": name, "label": name.split("/")[1], "rating": 3, "text": text}, ensure_ascii=False)
            for name, text in REVIEWS
            if name.startswith(part)
        ]
        path = tmp_path / raw.name
        path.write_text("\n".join([*written, first] if part == "train" and first else written) + "\n", encoding="utf-8", newline="\n")
        found.append(Found(raw, path, part))
    return found


def archive(tmp_path):
    path = tmp_path / "aclImdb_v1.tar.gz"
    with tarfile.open(path, "w:gz") as tar:
        for name, text in [*reversed(REVIEWS), ("train/unsup/0_0.txt", "unlabelled"), ("README", "about")]:
            content = text.encode()
            member = tarfile.TarInfo(f"aclImdb/{name}")
            member.size = len(content)
            tar.addfile(member, io.BytesIO(content))
    return Found(IMDB_ARCHIVE, path, "archive")


def test_the_archive_and_the_lines_hold_the_same(tmp_path):
    of_lines, of_archive = _parse(lines(tmp_path)), _parse([archive(tmp_path)])
    assert list(of_lines.texts) == list(of_archive.texts) == ["bad  film", "gut\u0085good", "é", "yes"]
    assert of_lines.labels.tolist() == of_archive.labels.tolist() == [0, 1, 0, 1]
    assert of_lines.parts.tolist() == of_archive.parts.tolist() == [0, 0, 2, 2]


@pytest.mark.parametrize(
    ("line", "message"),
    [
        ('{"label": "meh", "text": "x"}', r"train\.jsonl, line 3: unknown label 'meh'"),
        ('{"label": "neg"}', r"train\.jsonl, line 3: not a JSON object with label and text"),
        ('{"label": "neg", "te', r"train\.jsonl, line 3: not a JSON object"),
    ],
)
def test_what_is_wrong_is_named_with_its_line(tmp_path, line, message):
    with pytest.raises(DataError, match=message):
        _parse(lines(tmp_path, line))


def test_a_cut_archive_is_named(tmp_path):
    found = archive(tmp_path)
    found.path.write_bytes(found.path.read_bytes()[:-40])
    with pytest.raises(DataError, match=r"aclImdb_v1\.tar\.gz: truncated or damaged"):
        _parse([found])


@pytest.mark.slow
def test_counts(real_files):
    data = imdb(real_files)
    assert {name: len(split) for name, split in data.splits.items()} == {"train": 22_500, "valid": 2_500, "test": 25_000}
    for split in data.splits.values():
        assert np.ptp(np.bincount(split.targets)) == 0
    assert max(data.splits["train"].lengths) == 400
    assert (
        len(np.unique(labelled(real_files, _source(), OPTIONS).corpus.hashes)) == 49_581
    )  # 49,582 to the byte; two differ in line breaks only
    assert any("stand in the training split too" in note.what for note in data.notes)
