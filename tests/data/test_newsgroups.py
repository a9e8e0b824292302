import io
import tarfile

import pytest

from secateur.data.newsgroups import CLASSES, NEWSGROUPS, _parse
from secateur.data.raw import Found
from secateur.errors import DataError


def posting(text, name="20news-bydate-train/sci.med/100", path=None):
    return name, f"From: someone\nSubject: {text} subject\n\n{text} body\n".encode("latin-1")


def found(tmp_path, *members):
    path = tmp_path / NEWSGROUPS.name
    with tarfile.open(path, "w:gz") as tar:
        for name, content in members:
            member = tarfile.TarInfo(name)
            member.size = len(content)
            tar.addfile(member, io.BytesIO(content))
    return [Found(NEWSGROUPS, path, "0")]


def test_postings_by_split_group_and_number(tmp_path):
    archive = found(
        tmp_path,
        posting("three", "20news-bydate-test/alt.atheism/9"),
        posting("two é"),
        posting("one", "20news-bydate-train/alt.atheism/300"),
        ("20news-bydate-train/alt.atheism/301", b"From: nobody\n\n"),
    )
    read = _parse(archive, headers=False)
    assert list(read.texts) == ["one body\n", "two é body\n", "three body\n"]
    assert read.labels.tolist() == [0, CLASSES.index("sci.med"), 0]
    assert read.parts.tolist() == [0, 0, 2]
    assert read.notes[0].count == 1
    assert "one subject" in _parse(archive, headers=True).texts[0]


def test_an_unknown_group_is_named(tmp_path):
    with pytest.raises(DataError, match=r"20news-bydate\.tar\.gz, 20news-bydate-train/sci\.magic/1: unknown group 'sci\.magic'"):
        _parse(found(tmp_path, posting("x", "20news-bydate-train/sci.magic/1")), headers=False)


def test_a_cut_archive_is_named(tmp_path):
    archive = found(tmp_path, posting("x"), posting("y" * 100_000, "20news-bydate-train/sci.med/101"))
    content = archive[0].path.read_bytes()
    archive[0].path.write_bytes(content[: len(content) // 2])
    with pytest.raises(DataError, match=r"20news-bydate\.tar\.gz: truncated or damaged"):
        _parse(archive, headers=False)
