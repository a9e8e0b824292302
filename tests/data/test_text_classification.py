import gzip
import json

import numpy as np
import pytest
import torch

from secateur.data.polarity import polarity
from secateur.data.subjectivity import subjectivity
from secateur.data.text_files import text_files
from secateur.errors import DataError, InputError

ROWS = [("text %d of kind %s" % (row, "ab"[row % 2]), "ab"[row % 2]) for row in range(40)]  # noqa: UP031


def written(tmp_path, form, rows=ROWS):
    path = tmp_path / f"mine.{form}"
    if form in ("csv", "tsv"):
        cell = "\t".join if form == "tsv" else ",".join
        path.write_text("\n".join(cell(row) for row in [("text", "label"), *rows]) + "\n", encoding="utf-8")
    elif form == "jsonl":
        path.write_text("".join(json.dumps({"text": text, "label": label}) + "\n" for text, label in rows), encoding="utf-8")
    elif form == "csv.gz":
        path.write_bytes(gzip.compress(("text,label\n" + "\n".join(",".join(row) for row in rows)).encode()))
    else:
        path = tmp_path / "folder"
        for number, (text, label) in enumerate(rows):
            (path / label).mkdir(parents=True, exist_ok=True)
            (path / label / f"{number:03}.txt").write_text(text, encoding="utf-8")
    return str(path)


def texts_of(data, split):
    return {" ".join(data.words[place] for place in row if place) for inputs, _ in data.splits[split].in_order(100) for row in inputs}


@pytest.mark.parametrize("form", ["csv", "tsv", "jsonl", "csv.gz", "folder"])
def test_every_format_holds_the_same_texts(files, tmp_path, form):
    data = text_files(files, path=written(tmp_path, form))
    assert {name: len(split) for name, split in data.splits.items()} == {"train": 32, "valid": 4, "test": 4}
    assert data.outputs == ("a", "b")
    whole = [targets for split in data.splits.values() for _, targets in split.in_order(100)]
    assert torch.cat(whole).bincount().tolist() == [20, 20]
    assert len(texts_of(data, "train")) == 32
    assert texts_of(data, "train") < {text for text, _ in ROWS}


def test_named_columns_and_files_of_their_own_for_each_split(files, tmp_path):
    train, test = tmp_path / "train.csv", tmp_path / "test.csv"
    train.write_text("id,body,kind\n1,good one,x\n2,bad one,y\n3,good two,x\n4,bad two,y\n", encoding="utf-8")
    test.write_text("kind,body\ny,bad three\n", encoding="utf-8")
    data = text_files(files, path=str(train), test_path=str(test), text="body", label="kind", validation=0.25)
    assert {name: len(split) for name, split in data.splits.items()} == {"train": 3, "valid": 1, "test": 1}
    assert texts_of(data, "test") == {"bad <unk>"}


@pytest.mark.parametrize(
    ("name", "content", "message"),
    [
        ("a.csv", "text,kind\nx,1\n", r"a\.csv, line 1: no column 'label'; the columns are text, kind"),
        ("a.csv", "text,label\nx,1\ny\n", r"a\.csv, line 3: 1 columns, expected 2"),
        ("a.csv", 'text,label\n"x,1\n', r"a\.csv, line 2: not well-formed CSV"),
        ("a.csv", "text,label\nx,1\ny,\n", r"a\.csv, line 3: no label"),
        ("a.csv", "text,label\nx,1\ny,1\n", r"a\.csv: 1 classes, expected two or more"),
        ("a.csv", b"text,label\nx,1\n\xe9,2\n", r"a\.csv, line 3: byte 0xe9 is not utf-8"),
        (
            "a.jsonl",
            '{"text": "x", "label": 1}\n{"text": "y"}\n',
            r"a\.jsonl, line 2: expected an object with 'text' and 'label'",
        ),
        ("a.jsonl", '{"text": "x", "label": 1}\n{"text"\n', r"a\.jsonl, line 2: not JSON"),
        ("a.jsonl", '{"text": 5, "label": 1}\n', r"a\.jsonl, line 1: 'text' must be a string"),
    ],
)
def test_what_is_wrong_is_named_with_its_line_and_nothing_stays(files, tmp_path, name, content, message):
    path = tmp_path / name
    path.write_bytes(content if isinstance(content, bytes) else content.encode())
    with pytest.raises(DataError, match=message):
        text_files(files, path=str(path))
    assert not files.places.parsed.exists()


def test_a_label_that_training_never_saw_is_an_error(files, tmp_path):
    path, test = written(tmp_path, "csv"), tmp_path / "test.csv"
    test.write_text("text,label\nx,c\n", encoding="utf-8")
    with pytest.raises(DataError, match=r"test\.csv, line 2: unknown label 'c'; the training data have a, b"):
        text_files(files, path=path, test_path=str(test))


def test_other_encodings_are_read_when_named(files, tmp_path):
    path = tmp_path / "a.csv"
    path.write_bytes("text,label\ncafé,1\ncafé,2\ncafé olé,1\nthé,2\n".encode("latin-1"))
    data = text_files(files, path=str(path), encoding="latin-1", validation=0.0, test=0.0)
    assert set(data.words) == {"<pad>", "<unk>", "café", "olé", "thé"}


def test_unknown_formats_and_options_are_refused(files, tmp_path):
    (tmp_path / "a.dat").write_text("x")
    with pytest.raises(InputError, match="cannot tell its format"):
        text_files(files, path=str(tmp_path / "a.dat"))
    path = written(tmp_path, "csv")
    with pytest.raises(InputError, match=r"validation = 1\.5"):
        text_files(files, path=path, validation=1.5)
    with pytest.raises(InputError, match="max_tokens = 0"):
        text_files(files, path=path, max_tokens=0)
    with pytest.raises(InputError, match="padding = 'fixed' needs max_tokens"):
        text_files(files, path=path, padding="fixed", max_tokens=None)
    with pytest.raises(InputError, match="vocabulary_from: unknown labelled-text data set 'nothing'"):
        text_files(files, path=path, vocabulary_from=("nothing",))
    with pytest.raises(DataError, match="no such file"):
        text_files(files, path=str(tmp_path / "nowhere.csv"))


def test_the_digest_follows_content_and_options_not_the_place(files, tmp_path):
    path = written(tmp_path, "csv")
    digest = text_files(files, path=path).digest
    (tmp_path / "moved").mkdir()
    assert text_files(files, path=written(tmp_path / "moved", "csv")).digest == digest
    assert text_files(files, path=path, lower=False).digest != digest
    assert text_files(files, path=path, max_tokens=7).digest != digest
    assert text_files(files, path=written(tmp_path, "csv", [*ROWS, ("one more", "a")])).digest != digest


def test_truncation_and_repeats_are_counted(files, tmp_path):
    rows = [("same words here again", "a"), ("others", "b")] * 50
    data = text_files(files, path=written(tmp_path, "csv", rows), max_tokens=2)
    notes = {note.what: note.count for note in data.notes}
    assert notes["texts cut to their first 2 tokens"] == 50
    assert data.splits["train"].lengths.max() == 2


def test_counts_of_the_sentence_sets(real_files):
    for load, name, count in ((polarity, "polarity", 5_331), (subjectivity, "subjectivity", 5_000)):
        data = load(real_files)
        assert data.name == name
        assert sum(split.targets.bincount() for split in data.splits.values()).tolist() == [count, count]
        assert len(data.splits["test"]) == int(np.floor(0.1 * 2 * count + 0.5))


def test_a_joint_vocabulary_is_the_same_from_either_side(real_files):
    one = polarity(real_files, vocabulary_from=("subjectivity",), vocabulary=5_000)
    other = subjectivity(real_files, vocabulary_from=("polarity",), vocabulary=5_000)
    assert one.words == other.words
    assert len(one.words) == 5_002
    alone = polarity(real_files, vocabulary=5_000)
    assert alone.words != one.words
    assert alone.digest != one.digest


def test_vectors_of_a_joint_vocabulary_are_shared_too(real_files):
    one = polarity(real_files, vocabulary_from=("subjectivity",), vocabulary=500, vectors="glove")
    other = subjectivity(real_files, vocabulary_from=("polarity",), vocabulary=500, vectors="glove")
    assert one.shape.vectors.shape == (502, 50)
    assert torch.equal(one.shape.vectors, other.shape.vectors)
    assert one.digest != polarity(real_files, vocabulary_from=("subjectivity",), vocabulary=500).digest
