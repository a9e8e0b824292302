import threading

import numpy as np
import pytest

from secateur.data.parsed import Parsed, parsed_once
from secateur.data.places import Places
from secateur.errors import DataError


class Parser:
    def __init__(self, value=1):
        self.calls = 0
        self.value = value

    def __call__(self):
        self.calls += 1
        return Parsed({"big": np.full((3000, 2), self.value), "empty": np.zeros(0, np.uint8)}, {"classes": ["a", "b"]})


@pytest.fixture
def places(tmp_path):
    return Places((), tmp_path)


def test_the_second_load_reads_the_cache(places):
    parse = Parser()
    first = parsed_once(places, "toy", 1, {"file": "x"}, parse)
    second = parsed_once(places, "toy", 1, {"file": "x"}, parse)
    assert parse.calls == 1
    assert np.array_equal(first.arrays["big"], second.arrays["big"])
    assert second.arrays["empty"].shape == (0,)
    assert second.facts == {"classes": ["a", "b"]}


@pytest.mark.parametrize(("version", "made_of"), [(2, {"file": "x"}), (1, {"file": "y"}), (1, {"file": "x", "lower": True})])
def test_another_version_file_or_setting_is_parsed_anew(places, version, made_of):
    parsed_once(places, "toy", 1, {"file": "x"}, Parser(1))
    assert parsed_once(places, "toy", version, made_of, Parser(2)).arrays["big"][0, 0] == 2


def test_what_fails_leaves_nothing_behind(places):
    def fail():
        raise DataError("line 3: too few columns")

    with pytest.raises(DataError):
        parsed_once(places, "toy", 1, {}, fail)
    assert not places.parsed.exists() or list(places.parsed.iterdir()) == []


def test_what_is_cut_short_in_the_cache_is_parsed_again(places):
    parsed_once(places, "toy", 1, {}, Parser())
    (kept,) = places.parsed.iterdir()
    content = (kept / "big.npy").read_bytes()
    (kept / "big.npy").write_bytes(content[:-8])
    parse = Parser()
    assert parsed_once(places, "toy", 1, {}, parse).arrays["big"].shape == (3000, 2)
    assert parse.calls == 1
    assert [entry.name for entry in places.parsed.iterdir()] == [kept.name]


def test_two_who_parse_at_once_get_the_same_and_leave_one_copy(places):
    def load():
        started.wait()
        loaded.append(parsed_once(places, "toy", 1, {}, Parser()).arrays["big"].sum())

    loaded, started = [], threading.Barrier(4)
    threads = [threading.Thread(target=load) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert loaded == [6000] * 4
    assert len(list(places.parsed.iterdir())) == 1


def test_reading_is_announced_once(places):
    said = []
    for _ in range(2):
        parsed_once(places, "toy", 1, {}, Parser(), lambda *told: said.append(told))
    assert said == [("reading toy", 0, 1), ("reading toy", 1, 1)]


def test_changing_what_was_loaded_does_not_change_the_cache(places):
    parsed_once(places, "toy", 1, {}, Parser()).arrays["big"][:] = 9
    assert parsed_once(places, "toy", 1, {}, Parser()).arrays["big"].max() == 1
