"""Language modelling: the next token; perplexity over all tokens, the recurrent state carried where the text runs on."""

from __future__ import annotations

from typing import Any, Literal

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from secateur.data.dataset import PADDING, Dataset, Inputs
from secateur.errors import InputError
from secateur.metrics import perplexity
from secateur.registry import tasks
from secateur.tasks.task import Evaluation, Metric, call

LossOver = Literal["tokens", "windows"]


class LanguageModelling:
    """Cross-entropy of logits (batch, time, vocabulary) against the tokens that follow (batch, time) int64; padding is no target.

    Where batches of a split go on from one another (`carries`), a model with a method `carry(tokens, state)` starts each
    window from the state after the last, detached: gradients end at the window (truncated back-propagation).
    """

    def __init__(self, carries: bool, loss_over: LossOver = "tokens", evaluate_batch: int = 20) -> None:
        self.metric = Metric("perplexity", higher_is_better=False, margin=0.01, relative=True)
        self.carries = carries
        self.loss_over = loss_over
        self.evaluate_batch = evaluate_batch

    def outputs(self, model: nn.Module, inputs: Inputs, carried: Any = None) -> tuple[Tensor, Any]:
        """(logits (batch, time, vocabulary), the state after the window: a tuple of detached tensors, or None)."""
        carry: Any = getattr(model, "carry", None)
        if not self.carries or carry is None:
            return call(model, inputs), None
        logits, state = carry(inputs, carried)
        return logits, tuple(tensor.detach() for tensor in state)

    def loss(self, outputs: Tensor, targets: Tensor) -> Tensor:
        """The mean negative log-likelihood of a token, in nats; over `windows`, that of a row's tokens together (Zaremba et al. 2014)."""
        if self.loss_over == "tokens":
            return F.cross_entropy(outputs.flatten(0, 1), targets.flatten(), ignore_index=PADDING)
        return F.cross_entropy(outputs.flatten(0, 1), targets.flatten(), ignore_index=PADDING, reduction="sum") / len(targets)

    @torch.no_grad()
    def evaluate(self, model: nn.Module, dataset: Dataset, split: str, batch: int) -> Evaluation:
        """`perplexity` = exp(total nats / total tokens) over every token of the split, and `loss`, its logarithm.

        Running text is cut into `evaluate_batch` rows (not `batch`), each of which starts from nothing; with 1 the
        perplexity is that of the text as one piece.
        """
        model.eval()
        total, tokens = 0.0, 0
        carried = None
        for inputs, targets in dataset.splits[split].in_order(self.evaluate_batch if self.carries else batch):
            logits, carried = self.outputs(model, inputs, carried)
            total += float(F.cross_entropy(logits.flatten(0, 1), targets.flatten(), ignore_index=PADDING, reduction="sum"))
            tokens += int((targets != PADDING).sum())
        if tokens == 0:
            raise InputError(f"{dataset.name}: the split {split!r} is empty")
        rows = f"{self.evaluate_batch} rows" if self.carries else "sentence by sentence"
        return Evaluation(
            {"perplexity": perplexity(total, tokens), "loss": total / tokens}, notes={"perplexity": f"over {tokens} tokens, {rows}"}
        )


@tasks.register("language-modelling")
def language_modelling(dataset: Dataset, *, loss_over: LossOver = "tokens", evaluate_batch: int = 20) -> LanguageModelling:
    """The next token: perplexity. `loss_over` = `windows` sums the loss over a window's time, as Zaremba et al.'s rates presume."""
    if evaluate_batch < 1:
        raise InputError(f"evaluate_batch = {evaluate_batch}: at least 1")
    return LanguageModelling(bool(getattr(dataset.splits["train"], "carried", False)), loss_over, evaluate_batch)
