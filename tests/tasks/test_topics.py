import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from secateur.data.dataset import Dataset, DataShape
from secateur.errors import InputError
from secateur.registry import tasks

LOGITS = torch.tensor([[3.0, -1.0, -2.0], [-2.0, 1.0, -3.0], [1.0, 2.0, -4.0]])
TARGETS = torch.tensor([[1.0, 0.0, 0.0], [0.0, 1.0, 0.0], [0.0, 1.0, 0.0]])


class Rows:
    def __init__(self, inputs: Tensor, targets: Tensor) -> None:
        self.inputs, self.targets = inputs, targets

    def __len__(self) -> int:
        return len(self.targets)

    def in_order(self, batch: int):
        for start in range(0, len(self), batch):
            yield self.inputs[start : start + batch], self.targets[start : start + batch]


def dataset(valid: Tensor = LOGITS) -> Dataset:
    splits = {"valid": Rows(valid, TARGETS), "test": Rows(LOGITS, TARGETS), "empty": Rows(LOGITS[:0], TARGETS[:0])}
    return Dataset("rows", "rows", splits, DataShape(3), "0")


def test_at_a_fixed_threshold_by_hand() -> None:
    task = tasks["topics"](dataset(), threshold=0.5)
    result = task.evaluate(nn.Identity().train(), dataset(), "test", 2)
    # Predicted: {0}, {1}, {0, 1}; true: {0}, {1}, {1}.
    assert result.predictions.tolist() == [[True, False, False], [False, True, False], [True, True, False]]
    assert result.metrics["micro_f1"] == pytest.approx(2 * 3 / (4 + 3))
    assert result.metrics["macro_f1"] == pytest.approx((2 / 3 + 1) / 2)
    assert result.metrics["subset_accuracy"] == pytest.approx(2 / 3)
    assert result.metrics["threshold"] == pytest.approx(0.5)
    assert result.metrics["loss"] == pytest.approx(float(F.binary_cross_entropy_with_logits(LOGITS, TARGETS)))


@pytest.mark.parametrize("batch", [1, 2, 50])
def test_the_threshold_is_the_validation_splits_best(batch: int) -> None:
    task = tasks["topics"](dataset())
    valid = task.evaluate(nn.Identity(), dataset(), "valid", batch)
    # Best cut: above 1.0 lie 3.0 and 2.0, both true; between 1.0 and 1.0 none. {3, 2} gives 2*2/(2+3), {3, 2, 1, 1} gives 2*3/(4+3).
    assert valid.metrics["micro_f1"] == pytest.approx(6 / 7)
    assert valid.metrics["threshold"] == pytest.approx(0.5)


def test_test_is_cut_where_validation_says_not_where_test_would_like() -> None:
    # On validation (logits shifted by 5) the best cut lies at 5; on test it is taken over and predicts nothing.
    task = tasks["topics"](dataset())
    result = task.evaluate(nn.Identity(), dataset(LOGITS + 5), "test", 2)
    assert not result.predictions.any()
    assert result.metrics["micro_f1"] == 0.0


def test_the_deciding_metric_and_the_loss() -> None:
    task = tasks["topics"](dataset())
    assert (task.metric.name, task.metric.higher_is_better, task.metric.margin, task.metric.relative) == ("micro_f1", True, 0.005, False)
    outputs, carried = task.outputs(nn.Identity(), LOGITS)
    assert torch.equal(task.loss(outputs, TARGETS.bool()), F.binary_cross_entropy_with_logits(LOGITS, TARGETS))
    assert carried is None


def test_errors() -> None:
    with pytest.raises(InputError, match="threshold"):
        tasks["topics"](dataset(), threshold=1.0)
    with pytest.raises(InputError, match="empty"):
        tasks["topics"](dataset()).evaluate(nn.Identity(), dataset(), "empty", 2)
