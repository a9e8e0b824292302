import json

import pytest
import torch

from secateur.data.bible import WORLD_ENGLISH, bible, verses
from secateur.data.bible_lm import bible_lm
from secateur.data.encoder import Encoder
from secateur.data.splits import NARROWEST
from secateur.errors import InputError

TOY = Encoder(("<pad>", "<unk>", "the", "cat"), "words", lower=True, max_tokens=3)


def test_ids_are_padded_and_cut():
    assert TOY.ids(["The cat sat on the mat", "cat", ""]).tolist() == [[2, 3, 1, 0, 0, 0, 0, 0], [3] + [0] * 7, [0] * 8]


def test_no_texts_are_no_rows():
    assert TOY.ids([]).shape == (0, NARROWEST)


def test_a_word_that_looks_like_a_special_one_is_unknown():
    assert Encoder(("pad", "<unk>", "the"), "words", True, None).ids(["pad the"]).tolist()[0][:2] == [1, 2]


def test_an_encoder_survives_json():
    assert Encoder.from_json(json.loads(json.dumps(TOY.to_json()))) == TOY


@pytest.mark.parametrize("padding", ["batch", "fixed"])
def test_training_texts_get_the_ids_that_they_were_trained_with(package_files, padding):
    data = bible(package_files, padding=padding)
    ids = Encoder.of(data).ids(list(verses(package_files.find(WORLD_ENGLISH)).values())[:3_000])
    known = {tuple(row[row > 0].tolist()) for split in data.splits.values() for inputs, _ in split.in_order(500) for row in inputs}
    assert {tuple(row[row > 0].tolist()) for row in ids} <= known
    assert ids.dtype == torch.int64
    assert ids.shape[1] == 64


def test_other_data_sets_have_no_encoder(package_files):
    with pytest.raises(InputError, match="bible-lm: no data set of labelled texts"):
        Encoder.of(bible_lm(package_files))
