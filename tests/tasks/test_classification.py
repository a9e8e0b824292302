import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from secateur.data.dataset import Dataset, DataShape
from secateur.errors import InputError
from secateur.registry import tasks
from secateur.tasks.classification import weights_by_class

LOGITS = torch.tensor([[2.0, 0.0, 0.0], [0.0, 1.0, 0.0], [3.0, 0.0, 1.0], [0.0, 0.0, 1.0]])
TARGETS = torch.tensor([0, 1, 2, 2])


class Rows:
    """A split over a matrix of inputs, one row an example."""

    def __init__(self, inputs: Tensor, targets: Tensor) -> None:
        self.inputs, self.targets = inputs, targets

    def __len__(self) -> int:
        return len(self.targets)

    def in_order(self, batch: int):
        for start in range(0, len(self), batch):
            yield self.inputs[start : start + batch], self.targets[start : start + batch]


def dataset(inputs: Tensor = LOGITS, targets: Tensor = TARGETS) -> Dataset:
    split = Rows(inputs, targets)
    return Dataset("rows", "rows", {"train": split, "validation": split}, DataShape(3), "0")


@pytest.mark.parametrize("batch", [1, 3, 100])
def test_metrics_by_hand_for_any_batch(batch: int) -> None:
    task = tasks["classification"](dataset())
    result = task.evaluate(nn.Identity().train(), dataset(), "validation", batch)
    assert result.metrics["accuracy"] == 0.75
    assert result.metrics["macro_f1"] == pytest.approx((2 * 1 / (2 + 1) + 1 + 2 * 1 / (1 + 2)) / 3)
    assert result.metrics["loss"] == pytest.approx(float(F.cross_entropy(LOGITS, TARGETS)))
    assert result.predictions.tolist() == [0, 1, 0, 2]
    assert result.targets.tolist() == TARGETS.tolist()


def test_the_deciding_metric() -> None:
    metric = tasks["classification"](dataset()).metric
    assert (metric.name, metric.higher_is_better, metric.margin, metric.relative) == ("accuracy", True, 0.005, False)


def test_evaluation_is_in_eval_mode_and_builds_no_graph() -> None:
    model = nn.Sequential(nn.Linear(3, 3), nn.Dropout(0.9)).train()
    task = tasks["classification"](dataset())
    first, second = (task.evaluate(model.train(), dataset(), "validation", 2) for _ in range(2))
    assert first.metrics == second.metrics
    assert not model.training


def test_balanced_weights_by_hand() -> None:
    assert weights_by_class(TARGETS, 3, "balanced").tolist() == pytest.approx([4 / 3, 4 / 3, 2 / 3])
    assert weights_by_class(TARGETS, 3, "none") is None


def test_study_a_weights_by_hand() -> None:
    # (1 / count) x total / strength
    assert weights_by_class(TARGETS, 3, "inverse-frequency", 10).tolist() == pytest.approx([0.4, 0.4, 0.2])


def test_weights_come_from_the_training_split_and_scale_the_loss() -> None:
    task = tasks["classification"](dataset(), class_weights="inverse-frequency", strength=5.0)
    outputs, carried = task.outputs(nn.Identity(), LOGITS)
    each = F.cross_entropy(LOGITS, TARGETS, reduction="none")
    assert float(task.loss(outputs, TARGETS)) == pytest.approx(float((each * torch.tensor([0.8, 0.8, 0.4, 0.4])).mean()))
    assert carried is None
    plain = tasks["classification"](dataset())
    assert (
        task.evaluate(nn.Identity(), dataset(), "validation", 2).metrics
        == plain.evaluate(nn.Identity(), dataset(), "validation", 2).metrics
    )


def test_a_class_without_training_examples_is_an_error() -> None:
    with pytest.raises(InputError, match="class 1"):
        tasks["classification"](dataset(targets=torch.tensor([0, 0, 2, 2])), class_weights="balanced")


def test_several_inputs_come_as_a_tuple() -> None:
    class Sum(nn.Module):
        def forward(self, a: Tensor, b: Tensor) -> Tensor:
            return a + b

    outputs, _ = tasks["classification"](dataset()).outputs(Sum(), (LOGITS, LOGITS))
    assert torch.equal(outputs, 2 * LOGITS)


def test_an_empty_split_is_an_error() -> None:
    with pytest.raises(InputError, match="empty"):
        tasks["classification"](dataset()).evaluate(nn.Identity(), dataset(LOGITS[:0], TARGETS[:0]), "validation", 2)
