"""The loop: what is pruned stays pruned under every optimiser, and a run goes on from any checkpoint bit for bit."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from dataclasses import replace
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from secateur.data.dataset import Batch, Dataset, DataShape
from secateur.dropout import Dropout
from secateur.linear_maps import prunable_mask
from secateur.masks import Mask
from secateur.registry import learning_rates, optimizers, tasks
from secateur.seeds import generator
from secateur.steps import Step
from secateur.tasks.task import Evaluation
from secateur.training.loop import Run, Seeds, Settings, make_run, train
from secateur.training.masking import KeepPruned
from secateur.training.states import State, capture_model


class Points:
    def __init__(self, count: int, seed: int) -> None:
        draw = generator(seed)
        self.targets = torch.arange(count) % 3
        self.inputs = torch.randn(3, 5, generator=generator(99))[self.targets] + torch.randn(count, 5, generator=draw)

    def __len__(self) -> int:
        return len(self.targets)

    def steps(self, batch: int) -> int:
        return -(-len(self) // batch)

    def epoch(self, batch: int, seed: int, epoch: int, start: int = 0) -> Iterator[Batch]:
        order = torch.randperm(len(self), generator=generator(seed, epoch))
        for first in range(start * batch, len(self), batch):
            chosen = order[first : first + batch]
            yield self.inputs[chosen], self.targets[chosen]

    def in_order(self, batch: int) -> Iterator[Batch]:
        yield self.inputs, self.targets


DATASET = Dataset(
    "points", "Points", {"train": Points(50, 1), "valid": Points(30, 2), "test": Points(30, 3)}, DataShape(3, image=(5,)), "points"
)
OPTIMIZERS: list[dict[str, Any]] = [
    {"name": "sgd", "lr": 0.1},
    {"name": "sgd", "lr": 0.1, "momentum": 0.9, "weight_decay": 0.01, "nesterov": True},
    {"name": "adam", "lr": 0.01},
    {"name": "adam", "lr": 0.01, "weight_decay": 0.1},
    {"name": "adamw", "lr": 0.01, "weight_decay": 0.1},
]


def network(dropout: nn.Module | None = None) -> nn.Module:
    torch.manual_seed(0)
    return nn.Sequential(nn.Linear(5, 8), nn.BatchNorm1d(8), nn.ReLU(), dropout or Dropout(0.3), nn.Linear(8, 3))


def a_run(model: nn.Module, **settings: Any) -> Run:
    table: dict[str, Any] = {"length": Step.parse("4ep"), "batch": 16, "optimizer": {"name": "adam", "lr": 0.01}, **settings}
    return make_run(model, tasks["classification"](DATASET), DATASET, Settings(**table), Seeds(3, 4))


def masked(run: Run, density: float = 0.5) -> tuple[Run, dict[str, list[Callable[[Run], None]]]]:
    keeper = KeepPruned()
    run.mask = prunable_mask(run.model).map(
        lambda name, p: p.with_kept(torch.rand(p.shape, generator=generator(5, name)).numpy() < density)
    )
    return run, {"start": [keeper.enforce], "gradients": [keeper.mask_gradients], "updated": [keeper.mask_weights]}


def pruned_weights(model: nn.Module, mask: Mask) -> Tensor:
    parameters = dict(model.named_parameters())
    return torch.cat([parameters[name].detach()[~mask[name]] for name in mask])


@pytest.mark.parametrize("optimizer", OPTIMIZERS)
def test_pruned_weights_stay_exactly_zero_after_every_step(optimizer: dict[str, Any]) -> None:
    run, actions = masked(a_run(network(), optimizer=optimizer, clip=0.5))
    seen = []
    actions["updated"].append(lambda run: seen.append(float(pruned_weights(run.model, run.mask).abs().max())))  # type: ignore[arg-type]
    train(run, actions)  # type: ignore[arg-type]
    assert len(seen) == run.total == 16
    assert max(seen) == 0.0


def test_a_mask_that_arrives_late_silences_momentum_and_weight_decay() -> None:
    run = a_run(network(), optimizer={"name": "adamw", "lr": 0.01, "weight_decay": 0.1})
    train(run, {})
    run.total += 8
    run, actions = masked(run)
    train(run, actions)  # type: ignore[arg-type]
    assert run.mask is not None
    assert pruned_weights(run.model, run.mask).abs().max() == 0.0
    moments = [value for state in run.optimizer.state.values() for value in state.values() if isinstance(value, torch.Tensor)]
    masks = [run.mask[name] for name in ("0.weight", "4.weight")]
    assert all(bool((value[~mask] == 0).all()) for mask in masks for value in moments if value.shape == mask.shape)


def test_clipping_counts_survivors_only() -> None:
    """The norm that is clipped is that of what is there: the same step as that of a network without the pruned weights."""
    run, actions = masked(a_run(network(), optimizer={"name": "sgd", "lr": 1.0}, clip=1e-3, length=Step.parse("1it")))
    before = capture_model(run.model)
    assert run.mask is not None
    start = {name: before[name] * run.mask[name] if name in run.mask else before[name] for name in before}
    train(run, actions)  # type: ignore[arg-type]
    moved = sum(float(((after.detach() - start[name]) ** 2).sum()) for name, after in dict(run.model.named_parameters()).items())
    assert moved**0.5 == pytest.approx(1e-3, rel=1e-4)


@pytest.mark.parametrize("dropout", [Dropout(0.3), nn.Dropout(0.3)])
@pytest.mark.parametrize("stop", [1, 4, 7, 15])
def test_a_run_goes_on_from_a_checkpoint_bit_for_bit(stop: int, dropout: nn.Module) -> None:
    settings = {"learning_rate": {"name": "cosine", "warmup": Step.parse("3it")}, "evaluate": Step.parse("2it")}
    whole, actions = masked(a_run(network(dropout), **settings))
    train(whole, actions)  # type: ignore[arg-type]

    first, actions = masked(a_run(network(dropout), **settings))
    first.until = stop
    train(first, actions)  # type: ignore[arg-type]
    checkpoint = State.from_bytes(first.checkpoint().to_bytes())
    best = None if first.best is None else State.from_bytes(first.best.to_bytes())

    second, actions = masked(a_run(network(dropout), **settings))
    torch.manual_seed(12345)
    second.resume(checkpoint, best)
    train(second, actions)  # type: ignore[arg-type]
    assert second.history == whole.history
    assert second.state(resumable=True).to_bytes() == whole.state(resumable=True).to_bytes()
    assert second.best is not None
    assert whole.best is not None
    assert second.best.to_bytes() == whole.best.to_bytes()


def test_rewinding_replays_the_schedule_and_the_data_order() -> None:
    """From the state at step 5, with the optimiser it had there, training ends where it ended the first time."""
    kept: list[State] = []
    whole = a_run(network(), learning_rate={"name": "linear"})
    train(whole, {"updated": [lambda run: kept.append(run.state(resumable=True)) if run.step == 5 else None]})
    again = a_run(network(), learning_rate={"name": "linear"})
    again.start_from(kept[0], optimizer="kept")
    train(again, {})
    assert again.state(resumable=True).to_bytes() == whole.state(resumable=True).to_bytes()


def test_a_captured_state_does_not_alias_the_live_weights() -> None:
    run = a_run(network())
    before = run.state(resumable=True)
    copy = {name: tensor.clone() for name, tensor in before.model.items()}
    train(run, {})
    assert all(torch.equal(before.model[name], copy[name]) for name in copy)
    assert not torch.equal(before.model["0.weight"], dict(run.model.named_parameters())["0.weight"])


def test_a_loss_that_is_not_finite_ends_the_run() -> None:
    run = a_run(network(), optimizer={"name": "sgd", "lr": 1e30})
    train(run, {})
    assert run.diverged
    assert run.step < run.total


def test_early_stopping_ends_after_the_patience_and_keeps_the_best() -> None:
    run = a_run(network(), optimizer={"name": "sgd", "lr": 0.0}, patience=2, length=Step.parse("50ep"))
    train(run, {})
    assert run.step == 2 * run.steps_per_epoch
    assert run.best is not None
    assert run.best.step == 0


@pytest.mark.parametrize("first", [math.nan, math.inf, -math.inf])
def test_a_first_value_that_is_not_finite_gives_way_to_the_next(first: float) -> None:
    run = a_run(network())
    read, values = run.task.evaluate, iter([first, 0.25, math.nan, 0.5, 0.125])
    name = run.task.metric.name

    def evaluate(*arguments: Any) -> Evaluation:
        found = read(*arguments)
        return replace(found, metrics={**found.metrics, name: next(values)})

    run.task.evaluate = evaluate  # type: ignore[method-assign]
    assert run.task.metric.higher_is_better
    train(run, {})
    assert run.best is not None
    assert (run.best.step, run.best_value) == (3 * run.steps_per_epoch, 0.5)


def test_a_checkpoint_whose_best_is_not_finite_is_read_back() -> None:
    run = a_run(network())
    run.best, run.best_value = run.state(resumable=False), math.nan
    checkpoint = State.from_bytes(run.checkpoint().to_bytes())
    run.resume(checkpoint, run.best)
    assert math.isnan(run.best_value)


def test_survivors_and_mask_make_the_state_file_small() -> None:
    model = nn.Sequential(nn.Linear(200, 200))
    mask = prunable_mask(model).map(lambda name, p: p.with_kept(torch.rand(p.shape, generator=generator(1)).numpy() < 0.05))
    whole, pruned = (
        State(0, capture_model(model)),
        State(0, {n: t * mask[n] if n in mask else t for n, t in capture_model(model).items()}, mask=mask),
    )
    assert len(pruned.to_bytes()) < 0.12 * len(whole.to_bytes())
    back = State.from_bytes(pruned.to_bytes())
    assert all(torch.equal(back.whole()[name], tensor) for name, tensor in pruned.model.items())
    assert back.mask == mask


def test_learning_rate_schedules_by_hand() -> None:
    assert [learning_rates["constant"](10, 5, warmup=Step.parse("4it"))(s) for s in (0, 1, 3, 9)] == [0.25, 0.5, 1.0, 1.0]
    assert [learning_rates["linear"](5, 5)(s) for s in range(5)] == [1.0, 0.75, 0.5, 0.25, 0.0]
    cosine = learning_rates["cosine"](5, 5)
    assert [round(cosine(s), 6) for s in (0, 2, 4)] == [1.0, 0.5, 0.0]
    zaremba = learning_rates["step"](100, 10, after=Step.parse("4ep"), every=Step.parse("1ep"), factor=0.5)
    assert [zaremba(s) for s in (0, 39, 40, 49, 50)] == [1.0, 1.0, 0.5, 0.5, 0.25]
    assert [learning_rates["milestones"](10, 5, at=(Step.parse("1ep"),))(s) for s in (4, 5)] == [1.0, 0.1]


@pytest.mark.parametrize("name", ["sgd", "adam", "adamw"])
def test_fused_optimisers_take_torchs_own_steps(name: str) -> None:
    """One step of ours from the same gradients is torch's plain step, to rounding."""
    ours, theirs = nn.Linear(4, 3), nn.Linear(4, 3)
    theirs.load_state_dict(ours.state_dict())
    plain = {"sgd": torch.optim.SGD, "adam": torch.optim.Adam, "adamw": torch.optim.AdamW}[name]
    steps = [optimizers[name](ours.parameters(), lr=0.1), plain(theirs.parameters(), lr=0.1)]
    inputs = torch.randn(6, 4, generator=generator(0))
    for _ in range(3):
        for model, optimizer in zip((ours, theirs), steps, strict=True):
            optimizer.zero_grad()
            model(inputs).square().mean().backward()
            optimizer.step()
    assert torch.allclose(ours.weight, theirs.weight, atol=1e-6)
