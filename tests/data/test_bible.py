import numpy as np
import pytest

from secateur.data.bible import SECTIONS, WORLD_ENGLISH, bible, verses


@pytest.fixture(scope="module")
def data(package_files):
    return bible(package_files)


def test_the_verses_are_numbered_and_plain(package_files):
    read = verses(package_files.find(WORLD_ENGLISH))
    assert len(read) == 31_102
    assert read[1001001] == "In the beginning God created the heavens and the earth."
    assert read[1008016].startswith('"Go forth from the ark')
    assert not any("`" in verse or "  " in verse for verse in read.values())


def test_eight_sections_split_ten_ten_eighty(data):
    assert data.outputs == tuple(SECTIONS)
    assert {name: len(split) for name, split in data.splits.items()} == {"train": 25_193, "valid": 2_799, "test": 3_110}


def test_every_section_has_its_share_of_each_split(data):
    shares = [np.bincount(data.splits[name].targets.numpy(), minlength=8) / len(data.splits[name]) for name in ("train", "valid", "test")]
    assert np.abs(shares[0] - shares[1]).max() < 1e-3
    assert np.abs(shares[0] - shares[2]).max() < 1e-3


def test_another_split_seed_is_another_split_and_another_digest(package_files, data):
    other = bible(package_files, split_seed=1)
    assert other.digest != data.digest
    assert len(other.splits["test"]) == len(data.splits["test"])
    assert not np.array_equal(other.splits["test"].tokens[:100], data.splits["test"].tokens[:100])


def test_a_limit_cuts_every_split(package_files):
    small = bible(package_files, limit=200)
    assert [len(small.splits[name]) for name in ("train", "valid", "test")] == [200, 200, 200]
    assert "200 training texts" in small.label
    assert small.shape.vocabulary == len(small.words) < 3_000
