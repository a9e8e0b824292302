import io
import zipfile

import numpy as np
import pytest
import torch

from secateur.data.glove import GLOVE_6B, read_text, word_vectors
from secateur.errors import DataError, InputError

DIMENSION = 25


def line(word, value, dimension=DIMENSION):
    return f"{word} {' '.join([str(value)] * dimension)}\n"


@pytest.fixture
def glove(files):
    """A published text file's format, small."""
    folder = files.places.folders[0] / "glove"
    folder.mkdir()
    (folder / "glove.twitter.27B.25d.txt").write_text(line("cat", 1.0) + line("dog", -2.0) + line("us", 0.5), encoding="utf-8")
    return files


def test_words_take_their_vectors_and_padding_is_zero(glove):
    vectors = word_vectors(glove, ["dog", "cat"], DIMENSION)
    assert vectors.rows.shape == (4, DIMENSION)
    assert vectors.rows[0].abs().sum() == 0
    assert vectors.rows[2].tolist() == [-2.0] * DIMENSION
    assert vectors.rows[3].tolist() == [1.0] * DIMENSION
    assert vectors.notes[0].count == 0


def test_capitals_fall_back_on_the_lower_case_word(glove):
    rows = word_vectors(glove, ["US", "Cat", "us"], DIMENSION).rows
    assert rows[2].tolist() == rows[4].tolist() == [0.5] * DIMENSION
    assert rows[3].tolist() == [1.0] * DIMENSION


def test_a_word_without_a_vector_gets_the_same_draw_in_every_vocabulary(glove):
    one = word_vectors(glove, ["cat", "zyzzyva", "dog"], DIMENSION)
    other = word_vectors(glove, ["dog", "cat", "qwop", "zyzzyva"], DIMENSION)
    assert torch.equal(one.rows[3], other.rows[5])
    assert torch.equal(one.rows[1], other.rows[1])
    assert not torch.equal(other.rows[4], other.rows[5])
    assert other.notes[0].count == 2
    bound = 3**0.5 * torch.tensor([1.0, -2.0]).std(unbiased=False)
    assert other.rows[[1, 4, 5]].abs().max() < bound


def test_drawn_values_are_uniform(glove):
    rows = word_vectors(glove, ["cat", "dog", *(f"w{number}" for number in range(2_000))], DIMENSION).rows[4:]
    bound = 3**0.5 * 1.5
    assert rows.mean().abs() < 0.03 * bound
    assert rows.std() == pytest.approx(1.5, rel=0.02)
    assert np.histogram(rows.numpy(), 10, (-bound, bound))[0].min() > 0.9 * rows.numel() / 10


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"cat 1 2\n", r"f, line 1: 2 values after the word, expected 3"),
        (b"cat 1 2 3\ndog 1 x 3\n", r"f, line 2: could not convert"),
        (b"cat 1 2 3\n\xff 1 2 3\n", r"f, line 2: byte 0xff is not utf-8"),
    ],
)
def test_what_is_wrong_is_named_with_its_line(content, message):
    with pytest.raises(DataError, match=message):
        list(read_text(io.BytesIO(content), 3, "f", {"cat", "dog"}))


def test_words_with_spaces_are_read():
    assert [word for word, _ in read_text(io.BytesIO(b". . . 1 2 3\ncat 1 2 3\n"), 3, "f", {". . .", "cat"})] == [". . .", "cat"]


def test_the_archive_is_read_in_place(files, monkeypatch):
    folder = files.places.folders[0] / "glove"
    folder.mkdir()
    with zipfile.ZipFile(folder / "glove.6B.zip", "w") as archive:
        archive.writestr("glove.6B.100d.txt", line("cat", 1.0, 100) + line("dog", 2.0, 100))
    with pytest.raises(DataError, match=r"glove\.6B\.zip: not the published file"):
        word_vectors(files, ["cat"], 100)
    monkeypatch.setattr("secateur.data.glove.GLOVE_6B", type(GLOVE_6B)("glove", "glove.6B.zip"))
    assert word_vectors(files, ["dog"], 100).rows[2].tolist() == [2.0] * 100
    with pytest.raises(DataError, match=r"holds no glove\.6B\.300d\.txt"):
        word_vectors(files, ["cat"], 300)


def test_missing_vectors_and_unknown_dimensions_are_refused(files):
    with pytest.raises(DataError, match=r"glove/glove\.6B\.zip is missing"):
        word_vectors(files, ["cat"], 100)
    with pytest.raises(InputError, match="dimension = 64"):
        word_vectors(files, ["cat"], 64)


def test_the_reduced_file(real_files):
    rows = word_vectors(real_files, ["the", "of", "qqqqzzz"], 50)
    assert rows.rows[2, :3].tolist() == pytest.approx([0.418, 0.24968, -0.41242], abs=2e-3)
    assert rows.notes[0].count == 1
