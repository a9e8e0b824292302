import os
from pathlib import Path

import pytest

from secateur.data.files import Files
from secateur.data.places import Places


@pytest.fixture
def files(tmp_path):
    """Files of an empty data folder, with a cache of their own and no network."""
    (tmp_path / "data").mkdir()
    return Files(Places((tmp_path / "data",), tmp_path / "cache"), fetch=False)


@pytest.fixture(scope="session")
def real_files(tmp_path_factory):
    """The raw data of $SECATEUR_DATA, parsed into a cache of this test run."""
    folder = os.environ.get("SECATEUR_DATA")
    if not folder:
        pytest.skip("SECATEUR_DATA is not set: it names the folder of raw data")
    return Files(Places((Path(folder),), tmp_path_factory.mktemp("cache")), fetch=False)


@pytest.fixture(scope="session")
def package_files(tmp_path_factory):
    """What installed packages hold, and nothing else."""
    return Files(Places((), tmp_path_factory.mktemp("cache")), fetch=False)
