import math

import pytest
import torch

from secateur.analysis.signs import ablated, same_sign, with_signs_of
from secateur.errors import UnknownName
from secateur.masks import Mask

WEIGHTS = {"w": torch.tensor([3.0, -4.0, 7.0, 0.5]), "bias": torch.tensor([1.0])}
MASK = Mask({"w": torch.tensor([True, True, False, False])})
RMS = math.sqrt(12.5)


def test_signs_and_constants_by_eye() -> None:
    assert ablated(WEIGHTS, MASK, "signs", 0)["w"].tolist() == pytest.approx([RMS, -RMS, 7.0, 0.5])
    assert ablated(WEIGHTS, MASK, "constant", 0)["w"].tolist() == pytest.approx([RMS, RMS, 7.0, 0.5])
    assert ablated(WEIGHTS, MASK, "signs", 0)["bias"].tolist() == [1.0]
    assert WEIGHTS["w"].tolist() == [3.0, -4.0, 7.0, 0.5]


@pytest.mark.parametrize("ablation", ["magnitudes", "shuffled", "shuffled-magnitudes"])
def test_what_each_ablation_preserves(ablation: str) -> None:
    draw = torch.Generator().manual_seed(0)
    weights = {"w": torch.randn(40, 25, generator=draw)}
    mask = Mask({"w": torch.rand(40, 25, generator=draw) < 0.5})
    kept = mask["w"]
    changed = ablated(weights, mask, ablation, 1)["w"]
    assert torch.equal(changed[~kept], weights["w"][~kept])
    assert torch.equal(changed[kept].abs().sort().values, weights["w"][kept].abs().sort().values)
    assert torch.equal(changed[kept].abs(), weights["w"][kept].abs()) == (ablation == "magnitudes")
    assert torch.equal(changed[kept].sign(), weights["w"][kept].sign()) == (ablation == "shuffled-magnitudes")
    assert torch.equal(changed[kept].sort().values, weights["w"][kept].sort().values) == (ablation == "shuffled")
    assert torch.equal(changed, ablated(weights, mask, ablation, 1)["w"])
    assert not torch.equal(changed, ablated(weights, mask, ablation, 2)["w"])


def test_new_weights_may_take_the_old_signs() -> None:
    new = {"w": torch.tensor([-1.0, -2.0, -3.0, 4.0])}
    assert with_signs_of(new, WEIGHTS, MASK)["w"].tolist() == [1.0, -2.0, -3.0, 4.0]


def test_same_signs_are_counted_among_kept_weights() -> None:
    other = {"w": torch.tensor([1.0, 1.0, -1.0, -1.0])}
    assert same_sign(WEIGHTS, other, MASK) == {"w": 0.5}


def test_an_unknown_ablation_is_refused() -> None:
    with pytest.raises(UnknownName, match="Did you mean 'shuffled'"):
        ablated(WEIGHTS, MASK, "shuffle", 0)
