"""Survivors that move, in networks that are never dense."""

from __future__ import annotations

import tracemalloc

import numpy as np
import pytest
import torch
from torch import nn

from secateur.errors import PruningError
from secateur.masks import Pattern, random_pattern
from secateur.sparse import SparseLinear, SparseWeight, evolve, move_survivors, sparse_weights


def test_moved_survivors_take_their_adam_state_along() -> None:
    # 1 x 6: places 0, 2, 4 move to 2, 3, 4; the one at 3 is new.
    weight = SparseWeight(Pattern.from_indices((1, 6), np.array([0, 2, 4])), torch.tensor([1.0, 2.0, 3.0]))
    adam = torch.optim.Adam([weight.values], lr=0.1)
    weight.values.grad = torch.tensor([1.0, 2.0, 3.0])
    adam.step()
    before, moments = weight.values.detach().clone(), adam.state[weight.values]["exp_avg"].clone()
    held = weight.values
    move_survivors(weight, Pattern.from_indices((1, 6), np.array([2, 3, 4])), adam)
    assert weight.values is held
    assert weight.values.tolist() == [before[1].item(), 0.0, before[2].item()]
    assert adam.state[held]["exp_avg"].tolist() == [moments[1].item(), 0.0, moments[2].item()]
    assert held.grad is not None
    assert held.grad.tolist() == [2.0, 0.0, 3.0]
    adam.step()
    move_survivors(weight, Pattern.from_indices((1, 6), np.array([0, 5])), adam, grown=torch.arange(6.0).view(1, 6))
    assert weight.values.tolist() == [0.0, 5.0]
    assert adam.state[held]["exp_avg_sq"].tolist() == [0.0, 0.0]


@pytest.mark.parametrize("excluded", [(), (0,), (1, 3)])
def test_places_are_drawn_evenly_among_the_free(excluded: tuple[int, ...]) -> None:
    shape, taken = (5, 3), np.array([6, 8, 12])
    without = Pattern.from_indices(shape, taken, excluded)
    free = [place for place in range(15) if place // 3 not in excluded and place not in taken]
    drawn = np.zeros(15, int)
    for seed in range(2000):
        pattern = random_pattern(shape, 2, seed, "w", excluded, without=without)
        assert pattern.kept == 2
        drawn[pattern.indices()] += 1
    assert set(np.flatnonzero(drawn)) == set(free)
    wanted = 2000 * 2 / len(free)
    assert np.abs(drawn[free] - wanted).max() < 5 * wanted**0.5, "five standard deviations"
    assert list(random_pattern(shape, len(free), 0, "w", excluded, without=without).indices()) == free
    with pytest.raises(PruningError, match=f"{len(free)} prunable weights that are free; {len(free) + 1} cannot be kept"):
        random_pattern(shape, len(free) + 1, 0, "w", excluded, without=without)


def test_the_smallest_go_and_as_many_grow_at_zero() -> None:
    layer = SparseLinear(SparseWeight(Pattern.from_indices((2, 4), np.array([0, 3, 4, 6])), torch.tensor([0.5, -2.0, 1.0, -0.5])))
    adam = torch.optim.Adam(layer.parameters(), lr=0.0)
    layer.weight.values.grad = torch.tensor([1.0, 2.0, 3.0, 4.0])
    adam.step()
    held = layer.weight.values
    mask = evolve(nn.Sequential(layer), adam, drop=0.5, seed=3)
    places = layer.weight.places().tolist()
    assert {3, 4} < set(places), "the two largest stay"
    assert len(places) == 4
    assert layer.weight.values is held
    assert mask.pattern("0.weight").indices().tolist() == places
    known = {0: (0.5, 1.0), 3: (-2.0, 2.0), 4: (1.0, 3.0), 6: (-0.5, 4.0)}
    for place, value, moment in zip(places, held.tolist(), adam.state[held]["exp_avg"].tolist(), strict=True):
        value_before, gradient = known.get(place, (0.0, 0.0))
        assert value == pytest.approx(value_before)
        assert moment == pytest.approx(0.1 * gradient)


def test_a_fraction_of_none_and_of_all() -> None:
    layer = SparseLinear.random(30, 20, density=0.2, seed=0)
    before = layer.weight.pattern
    assert evolve(layer, drop=0.0, seed=0).pattern("weight") == before
    assert evolve(layer, drop=1.0, seed=0).pattern("weight").kept == before.kept
    full = SparseLinear.random(6, 5, density=1.0, seed=0)
    values = full.weight.values.detach().clone()
    evolve(full, drop=0.3, seed=1)
    assert torch.equal(full.weight.values, values), "what is dropped and grown again stays as it was"
    with pytest.raises(PruningError, match="1.5"):
        evolve(layer, drop=1.5, seed=0)


def test_memory_follows_the_survivors() -> None:
    layer = SparseLinear.random(200_000, 200_000, density=1e-7, seed=0)  # 5 GB as a bitmap
    tracemalloc.start()
    try:
        mask = evolve(layer, drop=0.3, seed=1)
        peak = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    assert mask.pattern("weight").kept == 4000
    assert peak < 30e6


def test_training_finds_inputs_that_a_fixed_pattern_does_not_have() -> None:
    x = torch.randn(512, 64, generator=torch.Generator().manual_seed(0))
    y = x[:, :8].sum(1, keepdim=True)

    def loss_after(drop: float) -> float:
        model = nn.Sequential(SparseLinear.random(64, 1, density=0.25, seed=0))
        sgd = torch.optim.SGD(model.parameters(), lr=0.1, momentum=0.5)
        for step in range(400):
            loss = nn.functional.mse_loss(model(x), y)
            sgd.zero_grad()
            loss.backward()
            sgd.step()
            if step % 20 == 19 and step < 380:
                evolve(model, sgd, drop=drop, seed=step)
        assert next(iter(sparse_weights(model).values())).pattern.kept == 16
        return float(loss.detach())

    assert loss_after(0.0) > 4.0
    assert loss_after(0.4) < 1e-3
