import math
from typing import get_args

import pytest
import torch

from secateur.analysis.supermasks import Criterion, criterion, mask_0_action, mask_1_action
from secateur.errors import UnknownName
from secateur.masks import Mask, Pattern
from secateur.pruning.keeping import keep

INITIAL = {"w": torch.tensor([1.0, -2.0, 3.0, -4.0]), "bias": torch.tensor([9.0])}
FINAL = {"w": torch.tensor([4.0, 3.0, 2.0, -1.0]), "bias": torch.tensor([8.0])}
ALL = Mask({"w": Pattern.full((4,))})


@pytest.mark.parametrize(
    ("name", "scores"),
    [
        ("large_final", [4, 3, 2, 1]),
        ("small_final", [-4, -3, -2, -1]),
        ("large_init", [1, 2, 3, 4]),
        ("small_init", [-1, -2, -3, -4]),
        ("large_init_large_final", [1, 2, 2, 1]),
        ("small_init_small_final", [-4, -3, -3, -4]),
        ("magnitude_increase", [3, 1, -1, -3]),
        ("movement", [3, 5, 1, 3]),
    ],
)
def test_criteria_by_eye(name: str, scores: list[float]) -> None:
    assert criterion(name, INITIAL, FINAL, ALL)["w"].tolist() == scores


@pytest.mark.parametrize(
    ("name", "order"),
    [
        ("large_final_same_sign", [0, 2, 3, 1]),
        ("large_final_diff_sign", [1, 0, 2, 3]),
        ("magnitude_increase_same_sign", [0, 2, 3, 1]),
        ("magnitude_increase_diff_sign", [1, 0, 2, 3]),
    ],
)
def test_signs_come_first_and_size_second(name: str, order: list[int]) -> None:
    assert criterion(name, INITIAL, FINAL, ALL)["w"].argsort(descending=True).tolist() == order


def test_criteria_are_scores_for_keep() -> None:
    for name in get_args(Criterion):
        assert keep(criterion(name, INITIAL, FINAL, ALL), ALL, 0.5, scope="layer").kept == 2


def test_what_becomes_of_kept_weights() -> None:
    mask = Mask({"w": torch.tensor([True, False, True, False])})
    assert mask_1_action("rewind", INITIAL, FINAL, mask)["w"].tolist() == [1, -2, 3, -4]
    assert mask_1_action("final", INITIAL, FINAL, mask)["w"].tolist() == [4, -2, 2, -4]
    deviation = math.sqrt(((1.5) ** 2 + 1.5**2 + 3.5**2 + 3.5**2) / 4)
    assert mask_1_action("signed-constant", INITIAL, FINAL, mask)["w"].tolist() == pytest.approx([deviation, -2, deviation, -4])
    assert mask_1_action("signed-constant", INITIAL, FINAL, mask)["bias"].tolist() == [9.0]


def test_what_becomes_of_the_others() -> None:
    mask = Mask({"w": torch.tensor([True, False, True, False])})
    kept = mask_1_action("final", INITIAL, FINAL, mask)
    assert mask_0_action("zero", kept, INITIAL, FINAL, mask)["w"].tolist() == [4, 0, 2, 0]
    assert mask_0_action("init", kept, INITIAL, FINAL, mask)["w"].tolist() == [4, -2, 2, -4]
    assert mask_0_action("zero-if-shrunk", kept, INITIAL, FINAL, mask)["w"].tolist() == [4, -2, 2, 0]


def test_unknown_names_are_refused() -> None:
    with pytest.raises(UnknownName, match="Did you mean 'large_final'"):
        criterion("large-final", INITIAL, FINAL, ALL)
    with pytest.raises(UnknownName):
        mask_1_action("reinit", INITIAL, FINAL, ALL)
    with pytest.raises(UnknownName):
        mask_0_action("one", INITIAL, INITIAL, FINAL, ALL)
