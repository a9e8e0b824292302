import numpy as np
import pytest
import torch

from secateur import _kernels
from secateur.masks import Pattern
from secateur.pruning import subnetwork
from secateur.pruning.subnetwork import Subnetwork
from secateur.seeds import generator

# Without fused multiplication and addition, which torch has, only products by powers of two round alike.
FUSED = _kernels.instruction_set() != "baseline"
RULE = {"rate": 0.1 if FUSED else 0.125, "momentum": 0.9, "decay": 1e-2 if FUSED else 2.0**-7}


def walked(size: int, dtype: torch.dtype, share: float, kept: float, slope: float, start: str) -> list[torch.Tensor]:
    """What is used before and after each of six steps, and the scores after the last."""
    draw = generator(0, "subnetwork")
    weights, scores = (2 * torch.rand(size, generator=draw, dtype=dtype) - 1 for _ in range(2))
    if start == "ties":
        scores = (scores * 4).round() / 4
    pattern = Pattern.from_tensor(torch.rand(size, generator=draw) < kept)
    its = Subnetwork(weights, scores, pattern, round(share * size), 1.0)
    found = [its.used.detach().clone()]
    for step in range(6):
        slopes = slope * torch.randn(size, generator=draw, dtype=dtype)
        its.step(slopes, last=step == 5, **RULE)
        found.append(its.used.detach().clone())
    return [*found, its.scores]


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
@pytest.mark.parametrize(
    ("size", "share", "kept", "slope", "start"),
    [
        (7, 0.5, 1.0, 0.1, "uniform"),
        (70, 1.0, 1.0, 0.1, "uniform"),
        (1000, 0.0, 1.0, 0.1, "uniform"),
        (5003, 0.3, 0.5, 0.1, "uniform"),
        (5003, 0.3, 0.5, 0.0, "ties"),
        (100_003, 0.5, 1.0, 1e-4, "uniform"),  # the bracket holds
        (100_003, 0.5, 1.0, 10.0, "uniform"),  # it is missed at each step
        (100_003, 0.2, 0.4, 0.1, "ties"),
        (100_003, 0.9, 0.4, 0.1, "uniform"),  # more than there are candidates
    ],
)
def test_kernels_step_and_choose_as_torch_does(
    monkeypatch: pytest.MonkeyPatch, dtype: torch.dtype, size: int, share: float, kept: float, slope: float, start: str
) -> None:
    by_kernels = walked(size, dtype, share, kept, slope, start)
    monkeypatch.setattr(subnetwork, "alike", lambda *tensors: False)
    by_torch = walked(size, dtype, share, kept, slope, start)
    assert all(torch.equal(mine, its) for mine, its in zip(by_kernels, by_torch, strict=True))


def test_the_choice_passes_gradients_straight_through() -> None:
    scores, weights = torch.tensor([0.3, -0.9, 0.1, 0.5]), torch.tensor([5.0, 6.0, 7.0, 8.0])
    its = Subnetwork(weights, scores, Pattern.from_tensor(torch.tensor([True, True, True, False])), 2, 1.0)
    assert its.used.tolist() == [5.0, 6.0, 0.0, 0.0]
    (its.used * torch.tensor([1.0, 2.0, 3.0, 4.0])).sum().backward()
    assert its.used.grad is not None
    its.step(its.used.grad, rate=0.5, momentum=0.9, decay=0.0, last=False)
    torch.testing.assert_close(scores, torch.tensor([-2.2, 5.1, -10.4, -15.5]))
    assert its.used.tolist() == [0.0, 6.0, 7.0, 0.0]


def test_numbers_are_drawn_by_splitmix64() -> None:
    # the published sequence of seed 1234567
    known = np.array([6457827717110365317, 3203168211198807973, 9817491932198370423, 4593380528125082431, 16408922859458223821], np.uint64)
    upper = known.view(np.uint32) >> np.uint32(8)
    for dtype in (np.float32, np.float64):
        drawn = np.empty(10, dtype)
        _kernels.uniform(drawn, 0.5, 1234567)
        assert drawn.tolist() == ((upper.astype(dtype) * dtype(2.0**-23) - dtype(1)) * dtype(0.5)).tolist()
        longer = np.empty(1003, dtype)
        _kernels.uniform(longer, 0.5, 1234567)
        assert longer[:10].tolist() == drawn.tolist()
        assert abs(longer.mean()) < 0.03
        assert -0.5 <= longer.min() < -0.48
        assert 0.48 < longer.max() < 0.5
