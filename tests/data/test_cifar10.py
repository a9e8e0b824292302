import io
import pickle
import tarfile

import numpy as np
import pytest

from secateur.data.cifar10 import CIFAR10_BINARY, CIFAR10_PYTHON, _parse, cifar10
from secateur.data.raw import Found
from secateur.errors import DataError

NAMES = [*(f"data_batch_{number}" for number in range(1, 6)), "test_batch"]


def batches(count=4):
    random = np.random.default_rng(0)
    return {name: (random.integers(0, 256, (count, 3072), np.uint8), random.integers(0, 10, count, np.uint8)) for name in NAMES}


def archive(tmp_path, raw, members):
    path = tmp_path / raw.name
    with tarfile.open(path, "w:gz") as tar:
        for name, content in members.items():
            member = tarfile.TarInfo(name)
            member.size = len(content)
            tar.addfile(member, io.BytesIO(content))
    return Found(raw, path, "0")


def binary(made):
    members = {
        f"cifar-10-batches-bin/{name}.bin": np.hstack([labels[:, None], images]).tobytes() for name, (images, labels) in made.items()
    }
    return members | {"cifar-10-batches-bin/batches.meta.txt": b"airplane\n"}


def python(made):
    return {
        f"cifar-10-batches-py/{name}": pickle.dumps({b"data": images, b"labels": labels.tolist(), b"batch_label": b"x"}, protocol=2)
        for name, (images, labels) in made.items()
    }


def test_both_archives_hold_the_same_images(tmp_path):
    made = batches()
    of_binary = _parse(archive(tmp_path, CIFAR10_BINARY, binary(made)))
    of_python = _parse(archive(tmp_path, CIFAR10_PYTHON, python(made)))
    for name, array in of_binary.arrays.items():
        assert np.array_equal(array, of_python.arrays[name])
    assert of_binary.arrays["images"].shape == (24, 3, 32, 32)
    assert of_binary.arrays["images"][0, 1, 0, 2] == made["data_batch_1"][0][0, 1024 + 2]
    assert of_binary.arrays["parts"].tolist() == [0] * 20 + [2] * 4


@pytest.mark.parametrize(
    ("name", "change", "message"),
    [
        ("data_batch_2", lambda content: content[:-1], r"data_batch_2\.bin: 12,291 bytes, not a whole number of records of 3,073"),
        ("data_batch_3", lambda content: content[:3073] + b"\x0b" + content[3074:], r"data_batch_3\.bin, record 2: unknown label 11"),
        ("test_batch", lambda content: None, r"no test_batch in it"),
    ],
)
def test_what_is_wrong_is_named(tmp_path, name, change, message):
    members = binary(batches())
    changed = change(members.pop(f"cifar-10-batches-bin/{name}.bin"))
    if changed is not None:
        members[f"cifar-10-batches-bin/{name}.bin"] = changed
    with pytest.raises(DataError, match=message):
        _parse(archive(tmp_path, CIFAR10_BINARY, members))


class Evil:
    def __reduce__(self):
        return (eval, ("1 / 0",))


def test_a_pickle_that_runs_code_is_refused(tmp_path):
    members = python(batches())
    members["cifar-10-batches-py/data_batch_1"] = pickle.dumps({b"data": Evil(), b"labels": []})
    with pytest.raises(DataError, match=r"data_batch_1: not a batch of CIFAR-10: (builtins|__builtin__)\.eval is no array"):
        _parse(archive(tmp_path, CIFAR10_PYTHON, members))


def test_the_data_set(files, monkeypatch, tmp_path):
    folder = files.places.folders[0] / "cifar10"
    folder.mkdir()
    archive(folder, CIFAR10_BINARY, binary(batches(10)))
    with pytest.raises(DataError, match=r"cifar-10-binary\.tar\.gz: not the published file"):
        cifar10(files)
    monkeypatch.setattr("secateur.data.cifar10.CIFAR10_BINARY", type(CIFAR10_BINARY)("cifar10", CIFAR10_BINARY.name))
    data = cifar10(files)
    assert {name: len(split) for name, split in data.splits.items()} == {"train": 45, "valid": 5, "test": 10}
    assert data.shape.image == (3, 32, 32)
    images = next(data.splits["train"].in_order(45))[0]
    assert images.mean((0, 2, 3)).tolist() == pytest.approx([0, 0, 0], abs=1e-5)
    assert images.std((0, 2, 3), unbiased=False).tolist() == pytest.approx([1, 1, 1], abs=1e-5)
