import pytest

from secateur.data.mpaa import MPAA, _parse, mpaa, mpaa_paper
from secateur.data.raw import Found
from secateur.errors import DataError

HEADER = "Title,Rated,Plot,imdbID\n"


def found(tmp_path, *tables):
    for raw, table in zip(MPAA, tables, strict=True):
        (tmp_path / raw.name).write_text(table, encoding="utf-8")
    return [Found(raw, tmp_path / raw.name, "0") for raw in MPAA]


FIRST = HEADER + 'A,R,"A plot, with\na line",tt1\nB,NOT RATED,Plot,tt2\nC,PG,N/A,tt3\n'
SECOND = FIRST + "D,PG-13,Another,tt4\n"


def test_a_film_counts_once_and_what_is_left_out_is_counted(tmp_path):
    read = _parse(found(tmp_path, FIRST, SECOND), overlap=False, repeats=1)
    assert list(read.texts) == ["A plot, with\na line", "Another"]
    assert read.labels.tolist() == [3, 2]
    assert sorted(note.count for note in read.notes) == [1, 1, 3]


def test_the_papers_overlap_is_kept_and_repeated(tmp_path):
    read = _parse(found(tmp_path, FIRST, SECOND), overlap=True, repeats=2)
    assert read.labels.tolist() == [3, 3, 2] * 2


@pytest.mark.parametrize(
    ("table", "message"),
    [
        (HEADER + "A,R,Plot,tt1\nB,PG\n", r"MOVIES\.csv, line 3: 2 columns, expected 4"),
        (HEADER + "A,15,Plot,tt1\n", r"MOVIES\.csv, line 2: unknown rating '15'"),
        ("Title,Rating,Plot,imdbID\n", r"MOVIES\.csv, line 1: no column 'Rated'"),
    ],
)
def test_what_is_wrong_is_named_with_its_line(tmp_path, table, message):
    with pytest.raises(DataError, match=message):
        _parse(found(tmp_path, table, HEADER), overlap=False, repeats=1)


def test_the_sound_split(real_files):
    data = mpaa(real_files)
    assert {name: len(split) for name, split in data.splits.items()} == {"train": 3_515, "valid": 391, "test": 500}
    counts = sum(split.targets.bincount() for split in data.splits.values())
    assert counts.tolist() == [123, 720, 1_436, 2_127]
    assert data.shape.length == 40
    assert next(data.splits["train"].epoch(20, 0, 0))[0].shape == (20, 40)
    assert not any("training split too" in note.what for note in data.notes)


def test_the_papers_split_leaks_and_says_so(real_files):
    data = mpaa_paper(real_files)
    assert len(data.splits["test"]) == 500
    assert sum(len(split) for split in data.splits.values()) == 5 * (4_407 + 4_407) - 10
    leak = {note.what: note.count for note in data.notes}
    assert leak["test texts that stand in the training split too"] == 500
