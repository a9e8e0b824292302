"""Every score on every network of the house."""

from typing import Any

import pytest
import torch
from torch import Tensor, nn

from secateur.data.dataset import DataShape
from secateur.linear_maps import linear_maps, prunable_mask
from secateur.pruning.prune import prune, score
from secateur.registry import models, scores
from secateur.seeds import generator

SHAPE = DataShape(5, vocabulary=12, length=8, image=(1, 28, 28), source_vocabulary=12)
SMALL: dict[str, dict[str, Any]] = {
    "lenet-300-100": {"hidden": (12, 8)}, "embedding-bag": {"embedding": 6}, "kim-cnn": {"embedding": 6, "filters": 4},
    "text-cnn": {"embedding": 6, "width": 3}, "text-mlp": {"embedding": 4, "hidden": (6, 5)},
    "transformer": {"layers": (2, 2), "width": 8, "inner": 10, "heads": 2},
    **{name: {"embedding": 6, "hidden": 4} for name in ("simple-rnn", "gru", "lstm-v1", "lstm-v2", "bi-lstm")},
    **{f"lstm-lm-{size}": {"embedding": 6, "hidden": 6} for size in ("small", "medium", "large", "wide")},
}  # fmt: skip
SCORES = [name for name in scores.names() if name != "movement"]


def small(name: str) -> nn.Module:
    options = dict(SMALL[name])
    allowed = models.entry(name).options
    if isinstance(options.get("hidden"), int) and "tuple" in str(allowed["hidden"].annotation):
        options["hidden"] = (4, 3, 4) if name == "lstm-v2" else (4, 4)
    shape = DataShape(12, vocabulary=12) if name.startswith("lstm-lm") else SHAPE
    model: nn.Module = models[name](shape, generator(0), **options)
    return model


def batches_for(name: str) -> list[tuple[Any, Tensor]]:
    draw = generator(1)
    if name == "lenet-300-100":
        return [(torch.rand(3, 1, 28, 28, generator=draw), torch.randint(5, (3,), generator=draw)) for _ in range(2)]
    tokens = [torch.randint(1, 12, (3, 8), generator=draw) for _ in range(4)]
    if name == "transformer":
        return [((a, b), torch.randint(5, (3, 8), generator=draw)) for a, b in zip(tokens[:2], tokens[2:], strict=True)]
    if name.startswith("lstm-lm"):
        return [(a, b) for a, b in zip(tokens[:2], tokens[2:], strict=True)]
    return [(a, torch.randint(5, (3,), generator=draw)) for a in tokens[:2]]


def loss(outputs: Any, targets: Tensor) -> Tensor:
    return nn.functional.cross_entropy(outputs.flatten(0, -2), targets.flatten())


def test_every_model_of_the_house_is_here() -> None:
    assert set(SMALL) == set(models.names())


@pytest.mark.parametrize("name", sorted(SMALL))
@pytest.mark.parametrize("by", SCORES)
def test_every_score_ranks_every_weight(name: str, by: str) -> None:
    model = small(name)
    kinds = {entry.kind for entry in linear_maps(model)} - ({"embedding"} if by == "sparsegpt" else set())
    found = score(model, by, batches=batches_for(name), loss=loss, prunable=kinds)
    mask = prunable_mask(model, kinds)
    assert set(found) == set(mask)
    for parameter, values in found.items():
        assert values.shape == model.get_parameter(parameter).shape
        assert torch.isfinite(values).all(), parameter
        if not parameter.startswith(("embedding", "source_embedding")):
            assert values.abs().max() > 0, f"{by} says nothing about {parameter}"
    assert abs(prune(model, 0.3, score=by, batches=batches_for(name), loss=loss, prunable=kinds).kept - 0.3 * mask.prunable) <= 0.5


@pytest.mark.parametrize("name", ["transformer", "bi-lstm", "lstm-lm-large", "kim-cnn"])
def test_synflow_in_rounds_never_cuts_the_network(name: str) -> None:
    """A branch beside another (recurrence, a residual block) may empty; what all flow passes through may not."""
    model = small(name)
    mask = prune(model, 0.05, score="synflow", rounds=50, batches=batches_for(name))
    assert score(model, "synflow", mask=mask, batches=batches_for(name))["output.weight"].sum() > 0
    assert "output.weight" not in mask.emptied()


@pytest.mark.parametrize("rounds", [1, 7])
def test_pruning_leaves_the_model_alone(rounds: int) -> None:
    model = small("bi-lstm")
    before = {name: value.clone() for name, value in model.state_dict().items()}
    for by in ("magnitude", "snip", "synflow"):
        prune(model, 0.2, score=by, rounds=rounds, batches=batches_for("bi-lstm"), loss=loss)
    assert all(torch.equal(value, before[name]) for name, value in model.state_dict().items())


def test_heads_of_our_own_transformer() -> None:
    model = small("transformer")
    mask = prune(model, 0.5, score="magnitude", unit="head", scope="layer", prunable=["attention"])
    assert mask.density == 0.5
    for name in mask:
        kept = mask[name] if not name.endswith("out_proj.weight") else mask[name].T
        heads = kept.reshape(2, 4, 8).flatten(1)
        assert torch.equal(heads.any(1), heads.all(1))
        assert int(heads.any(1).sum()) == 1


def test_our_own_loops_of_a_user_work_in_three_lines() -> None:
    model = small("lenet-300-100")
    batches = iter(batches_for("lenet-300-100"))
    mask = prune(model, 0.1, score="snip", batches=batches, loss=loss, rounds=3)
    assert abs(mask.density - 0.1) < 1e-3
