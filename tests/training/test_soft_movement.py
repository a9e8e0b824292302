"""Soft movement through the loop, against numpy in double precision."""

from __future__ import annotations

import numpy as np
import pytest
from numpy.typing import NDArray
from test_loop import DATASET, a_run
from torch import nn

from secateur.masks import Mask
from secateur.pruning.schedules import SoftMovement
from secateur.seeds import generator
from secateur.steps import Step
from secateur.training.changing_masks import SoftMovementPruning
from secateur.training.loop import Run, train
from secateur.training.masking import KeepPruned

Array = NDArray[np.float64]
STEPS, RATE, STRENGTH, THRESHOLD, BEGIN, END, EVERY = 12, 4.0, 2.0, 0.4, 2, 9, 3


def classifier() -> nn.Linear:
    """15 weights."""
    layer = nn.Linear(5, 3)
    nn.init.normal_(layer.weight, generator=generator(11))
    nn.init.zeros_(layer.bias)
    return layer


def trained() -> tuple[Run, dict[int, Mask]]:
    drawn: dict[int, Mask] = {}
    schedule = SoftMovement(
        strength=(STRENGTH,), threshold=THRESHOLD, rate=RATE, begin=Step.parse(f"{BEGIN}it"), end=Step.parse(f"{END}it"),
        every=Step.parse(f"{EVERY}it"),
    )  # fmt: skip
    run = a_run(classifier(), length=Step.parse(f"{STEPS}it"), optimizer={"name": "sgd", "lr": 0.1}, learning_rate={"name": "linear"})
    keeper = KeepPruned()
    pruning = SoftMovementPruning(schedule, STRENGTH, ("linear",), keeper, drawn.__setitem__)
    gradients, updated = [pruning.gradients, keeper.mask_gradients], [keeper.mask_weights, pruning.updated]
    train(run, {"start": [pruning.start], "gradients": gradients, "updated": updated})
    return run, drawn


def by_numpy() -> tuple[Array, Array, dict[int, NDArray[np.bool_]]]:
    """Softmax regression by stochastic gradient descent: weights and scores at the end, and every mask; the formulas of the paper."""
    weight, bias = classifier().weight.detach().double().numpy().copy(), np.zeros(3)
    scores, kept, masks = np.zeros_like(weight), np.ones_like(weight, dtype=bool), {0: np.ones_like(weight, dtype=bool)}
    batches = [batch for epoch in range(4) for batch in DATASET.splits["train"].epoch(16, 3, epoch)]
    for step, (inputs, targets) in enumerate(batches[:STEPS]):
        x, wanted = inputs.double().numpy(), np.eye(3)[targets.numpy()]
        outputs = x @ weight.T + bias
        odds = np.exp(outputs - outputs.max(1, keepdims=True))
        error = (odds / odds.sum(1, keepdims=True) - wanted) / len(x)
        gradient, factor = error.T @ x, 1 - step / (STEPS - 1)
        sigmoid = 1 / (1 + np.exp(-scores))
        scores = scores - RATE * factor * (weight * gradient + STRENGTH * sigmoid * (1 - sigmoid) / scores.size)
        weight, bias = weight - 0.1 * factor * gradient * kept, bias - 0.1 * factor * error.sum(0)
        if step + 1 in (2, 5, 8, 9):
            threshold = THRESHOLD * (1 - (1 - (step + 1 - BEGIN) / (END - BEGIN)) ** 3)
            still = kept & (1 / (1 + np.exp(-scores)) > threshold)
            if (still != kept).any():
                masks[step + 1] = still
            kept, weight = still, weight * still
    return weight, scores, masks


def test_every_score_mask_and_weight_is_that_of_numpy() -> None:
    run, drawn = trained()
    weight, scores, masks = by_numpy()
    assert {step: mask["weight"].tolist() for step, mask in drawn.items()} == {step: kept.tolist() for step, kept in masks.items()}
    assert len(masks) >= 3
    assert 0 < masks[max(masks)].sum() < 15
    assert run.gathered["weight"].numpy() == pytest.approx(scores, rel=1e-4, abs=1e-6)
    assert run.model.weight.detach().numpy() == pytest.approx(weight, rel=1e-4, abs=1e-6)
