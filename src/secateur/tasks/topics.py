"""Topics: any number of topics an example; binary cross-entropy, micro- and macro-F1 at a threshold chosen on validation."""

from __future__ import annotations

from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from secateur.data.dataset import Dataset, Inputs
from secateur.errors import InputError
from secateur.metrics import best_threshold, macro_f1, micro_f1, subset_accuracy, topic_counts
from secateur.registry import tasks
from secateur.tasks.task import Evaluation, Metric, call


class Topics:
    """Binary cross-entropy over logits (batch, topics) against targets (batch, topics) of 0 and 1.

    A topic is predicted where its probability is above one threshold for all topics: `threshold`, or, where that is None,
    the one of best micro-F1 on the validation split, sought anew at each evaluation.
    """

    def __init__(self, threshold: float | None = None) -> None:
        self.metric = Metric("micro_f1", higher_is_better=True, margin=0.005)
        self.threshold = threshold

    def outputs(self, model: nn.Module, inputs: Inputs, carried: Any = None) -> tuple[Tensor, None]:
        """(logits (batch, topics), None)."""
        return call(model, inputs), None

    def loss(self, outputs: Tensor, targets: Tensor) -> Tensor:
        """The mean binary cross-entropy of all decisions of a batch, in nats."""
        return F.binary_cross_entropy_with_logits(outputs, targets.to(outputs.dtype))

    @torch.no_grad()
    def evaluate(self, model: nn.Module, dataset: Dataset, split: str, batch: int) -> Evaluation:
        """`micro_f1`, `macro_f1` (over topics that are true or predicted), `subset_accuracy` (the whole set right), `loss`
        (nats a decision) and the probability used as `threshold`; predictions and targets are bool (n, topics)."""
        model.eval()
        logits, targets = _read(model, dataset, split, batch)
        if self.threshold is not None:
            cut = float(torch.logit(torch.tensor(self.threshold, dtype=torch.float64)))
        else:
            cut, _ = best_threshold(*((logits, targets) if split == "valid" else _read(model, dataset, "valid", batch)))
        predictions = logits.double() > cut
        counts = topic_counts(predictions, targets)
        metrics = {
            "micro_f1": micro_f1(counts),
            "macro_f1": macro_f1(counts),
            "subset_accuracy": subset_accuracy(predictions, targets),
            "loss": float(self.loss(logits.double(), targets)),
            "threshold": float(torch.sigmoid(torch.tensor(cut, dtype=torch.float64))),
        }
        return Evaluation(metrics, predictions, targets)


def _read(model: nn.Module, dataset: Dataset, split: str, batch: int) -> tuple[Tensor, Tensor]:
    """(logits, bool targets) of a whole split, each (n, topics)."""
    read = [(call(model, inputs).cpu(), targets.cpu() > 0.5) for inputs, targets in dataset.splits[split].in_order(batch)]
    if not read:
        raise InputError(f"{dataset.name}: the split {split!r} is empty")
    return torch.cat([logits for logits, _ in read]), torch.cat([targets for _, targets in read])


@tasks.register("topics")
def topics(dataset: Dataset, *, threshold: float | None = None) -> Topics:
    """Any number of topics an example: binary cross-entropy; micro- and macro-F1. `threshold` is fixed, or chosen on validation."""
    if threshold is not None and not 0 < threshold < 1:
        raise InputError(f"threshold = {threshold}: a probability between 0 and 1")
    return Topics(threshold)
