import math

import pytest
import torch
from small_networks import mlp

from secateur.errors import PruningError
from secateur.linear_maps import prunable_mask
from secateur.masks import Mask, Pattern
from secateur.pruning.movement import Movement
from secateur.registry import scores
from secateur.seeds import generator


def test_it_rises_where_training_moves_a_weight_away_from_zero() -> None:
    movement = Movement({"w": torch.zeros(4)})
    weights, gradients = {"w": torch.tensor([2.0, 2.0, -2.0, 0.0])}, {"w": torch.tensor([-1.0, 1.0, 3.0, 5.0])}
    movement.update_(weights, gradients, 0.5)
    assert movement.scores["w"].tolist() == [1.0, -1.0, 3.0, 0.0]
    movement.update_(weights, gradients, 0.5)
    assert movement.scores["w"].tolist() == [2.0, -2.0, 6.0, 0.0]


def test_it_is_the_straight_through_gradient_of_a_score() -> None:
    # y = x (w * m), m = step(S) with the gradient of the identity: dL/dS = dL/d(w m) * w.
    weight, mask = torch.randn(3, generator=generator(0)), torch.tensor([1.0, 0.0, 1.0], requires_grad=True)
    masked = weight * mask
    masked.retain_grad()
    masked.square().sum().sin().backward()
    movement = Movement({"w": torch.zeros(3)})
    movement.update_({"w": weight}, {"w": masked.grad}, 1.0)
    torch.testing.assert_close(movement.scores["w"], -mask.grad)


def test_the_regulariser_is_a_step_down_the_mean_of_sigmoids_over_all_parameters() -> None:
    start = {"a": torch.tensor([[2.0, 0.5], [-2.0, 0.1]]), "b": torch.tensor([-1.0])}
    movement = Movement({name: score.clone() for name, score in start.items()})
    weights = {name: torch.ones_like(score) for name, score in start.items()}
    gradients = {"a": torch.tensor([[1.0, 0.0], [0.0, 0.0]]), "b": torch.zeros(1)}
    movement.update_(weights, gradients, 0.5, strength=3.0)
    leaves = {name: score.double().requires_grad_(True) for name, score in start.items()}
    total = 3.0 * torch.cat([torch.sigmoid(leaf).reshape(-1) for leaf in leaves.values()]).mean() + leaves["a"][0, 0]
    for name, slope in zip(leaves, torch.autograd.grad(total, list(leaves.values())), strict=True):
        torch.testing.assert_close(movement.scores[name], (start[name] - 0.5 * slope).float())


def test_what_scores_above_the_threshold_is_kept() -> None:
    movement = Movement({"w": torch.tensor([[2.0, 2.0], [-2.0, 0.1]])})
    assert movement.kept_above(0.5, Mask({"w": Pattern.full((2, 2))}))["w"].tolist() == [[True, True], [False, True]]
    assert movement.kept_above(0.6, Mask({"w": Pattern.full((2, 2))}))["w"].tolist() == [[True, True], [False, False]]
    padded = Mask({"w": Pattern.full((2, 2), (0,))})
    assert movement.kept_above(0.5, padded)["w"].tolist() == [[False, False], [False, True]]
    assert movement.kept_above(0.0, padded) == padded, "a threshold of zero prunes nothing"
    pruned = Mask({"w": torch.tensor([[False, True], [True, True]])})
    assert movement.kept_above(0.5, pruned)["w"].tolist() == [[False, True], [False, True]], "what is pruned stays so"


def test_soft_movement_by_hand_over_three_steps() -> None:
    # w <- w - 0.1 g; S <- S - rate * (w g + strength / 3 * s (1 - s)), s = sigmoid(S); kept where s > threshold.
    gradients = [[-1.0, 0.5, 0.0], [-1.0, 0.5, 0.2], [0.5, -0.5, 0.1]]
    thresholds, rate, strength = [0.1, 0.3, 0.45], 2.0, 0.9
    weights = torch.tensor([1.0, -0.5, 0.8])
    movement, mask = Movement({"w": torch.zeros(3)}), Mask({"w": Pattern.full((3,))})
    by_hand, scores_by_hand, kept_by_hand = [1.0, -0.5, 0.8], [0.0, 0.0, 0.0], [True, True, True]
    for step, threshold in enumerate(thresholds):
        gradient = torch.tensor(gradients[step])
        movement.update_({"w": weights}, {"w": gradient}, rate, strength)
        weights = weights - 0.1 * gradient
        mask = movement.kept_above(threshold, mask)
        weights = weights * mask["w"]
        for place, g in enumerate(gradients[step]):
            s = 1 / (1 + math.exp(-scores_by_hand[place]))
            scores_by_hand[place] -= rate * (by_hand[place] * g + strength / 3 * s * (1 - s))
            by_hand[place] -= 0.1 * g
            kept_by_hand[place] = kept_by_hand[place] and 1 / (1 + math.exp(-scores_by_hand[place])) > threshold
            by_hand[place] *= kept_by_hand[place]
        assert movement.scores["w"].tolist() == pytest.approx(scores_by_hand, rel=1e-5)
        assert mask["w"].tolist() == kept_by_hand
        assert weights.tolist() == pytest.approx(by_hand, rel=1e-5)
    # After the first step: S = -2 * (-1 + 0.3 / 4), -2 * (-0.25 + 0.3 / 4), -2 * (0.3 / 4).
    assert kept_by_hand == [True, True, False]


def test_at_one_moment_there_is_nothing_to_score() -> None:
    model = mlp()
    assert scores.entry("movement").traits["in_loop"]
    with pytest.raises(PruningError, match="schedule 'gradual' or 'soft-movement'"):
        scores["movement"](model, prunable_mask(model), None, None, generator(0))
