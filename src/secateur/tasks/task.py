"""What a task is to the loop: a batch in, loss and metrics out."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Protocol

from torch import Tensor, nn

from secateur.data.dataset import Dataset, Inputs


@dataclass(frozen=True)
class Metric:
    """The metric that decides: which state is best, and whether a ticket wins.

    `margin` is the default of a recipe: what a ticket may lose and still match, absolute or, where `relative`, as a
    fraction of dense's value.
    """

    name: str
    higher_is_better: bool
    margin: float
    relative: bool = False


@dataclass(frozen=True)
class Evaluation:
    """Metrics over one split, and what was predicted where the task can say: class numbers or a (n, topics) bool tensor.

    `notes` say how a metric was computed where its name does not (BLEU's signature).
    """

    metrics: Mapping[str, float]
    predictions: Tensor | None = None
    targets: Tensor | None = None
    samples: tuple[Mapping[str, Any], ...] = field(default=())
    notes: Mapping[str, str] = field(default_factory=dict)


class Task(Protocol):
    """One kind of problem over one data set."""

    metric: Metric

    def outputs(self, model: nn.Module, inputs: Inputs, carried: Any = None) -> tuple[Any, Any]:
        """(what the loss takes, what the next batch's call takes as `carried`: a recurrent state, or None)."""
        ...

    def loss(self, outputs: Any, targets: Tensor) -> Tensor:
        """The mean loss of a batch: a scalar tensor."""
        ...

    def evaluate(self, model: nn.Module, dataset: Dataset, split: str, batch: int) -> Evaluation:
        """Metrics of `model` (in eval mode) over a whole split; `loss` is among them. Reads the test split only when asked to."""
        ...


def call(model: nn.Module, inputs: Inputs) -> Any:
    """What the model gives for a batch's inputs: a tensor passed as it is, a tuple as several arguments."""
    return model(*inputs) if isinstance(inputs, tuple) else model(inputs)
