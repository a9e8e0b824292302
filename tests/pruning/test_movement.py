import pytest
import torch
from small_networks import batches_of, loss, mlp

from secateur.errors import PruningError
from secateur.linear_maps import prunable_mask
from secateur.masks import Mask, Pattern
from secateur.pruning.keeping import keep
from secateur.pruning.movement import Movement
from secateur.registry import scores
from secateur.seeds import generator


def test_it_rises_where_training_moves_a_weight_away_from_zero() -> None:
    start = Movement({"w": torch.zeros(4)})
    weights, gradients = {"w": torch.tensor([2.0, 2.0, -2.0, 0.0])}, {"w": torch.tensor([-1.0, 1.0, 3.0, 5.0])}
    assert start.updated(weights, gradients, 0.5).scores["w"].tolist() == [1.0, -1.0, 3.0, 0.0]
    assert start.scores["w"].tolist() == [0.0] * 4


def test_in_place_is_the_same_as_pure() -> None:
    model = mlp()
    mask = prunable_mask(model)
    pure, in_place = Movement.zero(model, mask), Movement.zero(model, mask)
    for inputs, targets in batches_of(model, count=3):
        weights = {name: model.get_parameter(name) for name in mask}
        gradients = dict(zip(mask, torch.autograd.grad(loss(model(inputs), targets), list(weights.values())), strict=True))
        pure = pure.updated(weights, gradients, 0.1)
        in_place.update_(weights, gradients, 0.1)
    assert all(torch.allclose(pure.scores[name], in_place.scores[name]) for name in mask)
    assert keep(pure.scores, mask, 0.2).kept == 7


def test_it_is_the_straight_through_gradient_of_a_score() -> None:
    # y = x (w * m), m = step(S) with the gradient of the identity: dL/dS = dL/d(w m) * w.
    weight, mask = torch.randn(3, generator=generator(0)), torch.tensor([1.0, 0.0, 1.0], requires_grad=True)
    masked = weight * mask
    masked.retain_grad()
    masked.square().sum().sin().backward()
    moved = Movement({"w": torch.zeros(3)}).updated({"w": weight}, {"w": masked.grad}, 1.0)
    torch.testing.assert_close(moved.scores["w"], -mask.grad)


def test_soft_movement_thresholds_and_penalises() -> None:
    movement = Movement({"w": torch.tensor([[2.0, 2.0], [-2.0, 0.1]])})
    prunable = Mask({"w": Pattern.full((2, 2))})
    assert movement.kept_above(0.5, prunable)["w"].tolist() == [[True, True], [False, True]]
    padded = Mask({"w": Pattern.full((2, 2), (0,))})
    assert movement.kept_above(0.5, padded)["w"].tolist() == [[False, False], [False, True]]
    score = movement.scores["w"].clone().requires_grad_(True)
    gradient = torch.autograd.grad(torch.sigmoid(score).mean(), score)[0]
    torch.testing.assert_close(movement.penalised(3.0).scores["w"], movement.scores["w"] - 3.0 * gradient)
    with pytest.raises(PruningError, match="threshold"):
        movement.kept_above(1.0, prunable)


def test_at_one_moment_there_is_nothing_to_score() -> None:
    model = mlp()
    assert scores.entry("movement").traits["in_loop"]
    with pytest.raises(PruningError, match="schedule 'gradual'"):
        scores["movement"](model, prunable_mask(model), None, None, generator(0))
