"""Classification: one class an example; cross-entropy, accuracy, macro-F1."""

from __future__ import annotations

from typing import Any, Literal

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from secateur.data.dataset import Dataset, Inputs
from secateur.errors import InputError
from secateur.metrics import accuracy, class_counts, macro_f1
from secateur.registry import tasks
from secateur.tasks.task import Evaluation, Metric, call

ClassWeights = Literal["none", "balanced", "inverse-frequency"]


class Classification:
    """Cross-entropy over logits (batch, classes) against class numbers (batch,) int64.

    With class weights the training loss of a batch is the sum of its weighted terms over the number of its examples (as
    in Keras: an unbiased estimate of the weighted risk, which torch's division by the batch's own weights is not).
    The loss that is *reported* is never weighted, so that arms with and without weights compare.
    """

    def __init__(self, classes: int, weights: Tensor | None = None) -> None:
        self.metric = Metric("accuracy", higher_is_better=True, margin=0.005)
        self.classes = classes
        self.weights = weights

    def outputs(self, model: nn.Module, inputs: Inputs, carried: Any = None) -> tuple[Tensor, None]:
        """(logits (batch, classes), None)."""
        return call(model, inputs), None

    def loss(self, outputs: Tensor, targets: Tensor) -> Tensor:
        """The mean cross-entropy of a batch, in nats."""
        if self.weights is None:
            return F.cross_entropy(outputs, targets)
        weights = self.weights.to(outputs.device, outputs.dtype)
        return F.cross_entropy(outputs, targets, weights, reduction="sum") / len(targets)

    @torch.no_grad()
    def evaluate(self, model: nn.Module, dataset: Dataset, split: str, batch: int) -> Evaluation:
        """`accuracy`, `macro_f1` (over the classes that occur or are predicted) and `loss` (nats an example) of a whole split."""
        model.eval()
        predicted: list[Tensor] = []
        true: list[Tensor] = []
        loss = 0.0
        for inputs, targets in dataset.splits[split].in_order(batch):
            logits = call(model, inputs)
            loss += float(F.cross_entropy(logits, targets, reduction="sum"))
            predicted.append(logits.argmax(1).cpu())
            true.append(targets.cpu())
        if not true:
            raise InputError(f"{dataset.name}: the split {split!r} is empty")
        predictions, targets = torch.cat(predicted), torch.cat(true)
        metrics = {
            "accuracy": accuracy(predictions, targets),
            "macro_f1": macro_f1(class_counts(predictions, targets, self.classes)),
            "loss": loss / len(targets),
        }
        return Evaluation(metrics, predictions, targets)


def weights_by_class(targets: Tensor, classes: int, how: ClassWeights, strength: float = 10.0) -> Tensor | None:
    """Weights (classes,) float32 from the training targets (n,) int64, or None for `none`.

    `balanced`: n / (classes x count); `inverse-frequency`: (1 / count) x n / strength, the formula of study A (Munro &
    Parkhurst). `InputError` when a class has no example.
    """
    if how == "none":
        return None
    counts = torch.bincount(targets, minlength=classes)
    if bool((counts == 0).any()):
        raise InputError(f"class_weights = {how!r}: no training example of class {int((counts == 0).nonzero()[0])}")
    return (len(targets) / counts.double() / (classes if how == "balanced" else strength)).float()


@tasks.register("classification")
def classification(dataset: Dataset, *, class_weights: ClassWeights = "none", strength: float = 10.0) -> Classification:
    """One class an example: cross-entropy; accuracy, macro-F1. `strength` divides the weights of `inverse-frequency`."""
    classes = dataset.shape.outputs
    if class_weights == "none":
        return Classification(classes)
    targets = torch.cat([targets for _, targets in dataset.splits["train"].in_order(4096)])
    return Classification(classes, weights_by_class(targets, classes, class_weights, strength))
