import gzip
import shutil
import time

import numpy as np
import pytest

from secateur.data.agnews import AGNEWS_TEST, AGNEWS_TRAIN, _parse, agnews, repaired
from secateur.data.files import Files
from secateur.data.places import Places
from secateur.data.raw import Found
from secateur.errors import DataError


def found(tmp_path, train, test='"1","a","b"\n'):
    (tmp_path / "train.csv").write_bytes(train.encode() if isinstance(train, str) else train)
    (tmp_path / "test.csv").write_text(test)
    return [Found(AGNEWS_TRAIN, tmp_path / "train.csv", "0"), Found(AGNEWS_TEST, tmp_path / "test.csv", "0")]


def test_both_forms_of_the_file_are_read(tmp_path):
    read = _parse(found(tmp_path, '"3","Oil","rises"\n"4","Chip","new"\n'), repair=False)
    assert list(read.texts) == ["Oil rises", "Chip new", "a b"]
    assert read.labels.tolist() == [2, 3, 0]
    assert read.parts.tolist() == [0, 0, 2]


@pytest.mark.parametrize(
    ("raw", "mended"),
    [
        ("We #39;ll go", "We'll go"),
        ("it is  quot;fast quot; now", 'it is "fast" now'),
        (r"dwindling\band", "dwindling band"),
        ("&lt;b&gt;Title&lt;/b&gt; text", " Title  text"),
        (" #36;10 million", "$10 million"),
        ("AT amp;T; a < b", "AT&T; a < b"),
    ],
)
def test_the_publishers_defects_are_mended(raw, mended):
    assert repaired(raw) == mended


@pytest.mark.parametrize(
    ("train", "message"),
    [
        ('"1","a","b"\n"5","a","b"\n', r"train.csv, line 2: unknown label '5'"),
        ('"1","a","b"\n"2"\n', r"train.csv, line 2: 1 columns"),
        ('"1","a","b"\n"2","a\n', r"train.csv, line 2: not well-formed CSV"),
        (b'"1","a","b"\n"2","\xff","b"\n', r"train.csv, line 2: byte 0xff is not utf-8"),
    ],
)
def test_what_is_wrong_is_named_with_its_line(tmp_path, train, message):
    with pytest.raises(DataError, match=message):
        _parse(found(tmp_path, train), repair=True)


def test_the_partial_file_is_called_partial(real_files):
    data = agnews(real_files)
    assert data.label == "AG News, partial train (61,658)"
    assert len(data.splits["train"]) + len(data.splits["valid"]) == 61_658
    assert np.bincount(data.splits["test"].targets).tolist() == [1_900] * 4
    both = np.bincount(np.r_[data.splits["train"].targets, data.splits["valid"].targets])
    assert both.tolist() == [15_844, 14_912, 14_922, 15_980]
    assert data.shape.vocabulary == 25_002


def test_an_altered_file_is_refused_by_name(real_files, tmp_path):
    folder = tmp_path / "agnews"
    shutil.copytree(real_files.places.folders[0] / "agnews", folder)
    folder.chmod(0o755)
    test = folder / "test.csv.gz"
    content = bytearray(gzip.decompress(test.read_bytes()))
    content[1_000_000] ^= 1
    test.chmod(0o644)
    test.write_bytes(gzip.compress(bytes(content)))
    altered = Files(Places((tmp_path,), tmp_path / "cache"), fetch=False)
    with pytest.raises(DataError, match=r"test\.csv\.gz: not the published file"):
        agnews(altered)
    assert not altered.places.parsed.exists()


def test_cached_ids_come_back_at_once(real_files):
    agnews(real_files)
    seconds = []
    for _ in range(3):
        begun = time.process_time()
        agnews(real_files)
        seconds.append(time.process_time() - begun)
    assert min(seconds) < 0.4  # 0.1 s on an idle core; the margin is for a busy one
