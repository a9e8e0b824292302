import math

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor, nn

from secateur.errors import PruningError
from secateur.linear_maps import linear_maps, prunable_mask
from secateur.masks import Mask, Pattern
from secateur.pruning.keeping import keep
from secateur.pruning.pools import allocate
from secateur.registry import scopes

quick = settings(deadline=None, max_examples=60)


def random_scores(model: nn.Module, mask: Mask, seed: int = 0) -> dict[str, Tensor]:
    draw = torch.Generator().manual_seed(seed)
    return {name: torch.rand(model.get_parameter(name).shape, generator=draw) for name in mask}


def test_gate_ranks_each_block_and_layer_the_whole_matrix() -> None:
    lstm = nn.LSTM(2, 1, bias=False)
    mask = prunable_mask(lstm)
    values = {"weight_ih_l0": torch.tensor([[8.0, 7.0], [6.0, 5.0], [4.0, 3.0], [2.0, 1.0]]), "weight_hh_l0": torch.ones(4, 1)}
    by_layer = keep(values, mask, 0.5, scope="layer", maps=linear_maps(lstm))
    by_gate = keep(values, mask, 0.5, scope="gate", maps=linear_maps(lstm))
    assert by_layer["weight_ih_l0"].tolist() == [[True, True], [True, True], [False, False], [False, False]]
    assert by_gate["weight_ih_l0"].tolist() == [[True, False]] * 4


def test_neuron_ranks_each_row_and_an_embeddings_columns() -> None:
    model = nn.ModuleDict({"fc": nn.Linear(4, 2), "embedding": nn.Embedding(4, 2, padding_idx=0)})
    mask = prunable_mask(model, ["linear", "embedding"])
    values = {
        "fc.weight": torch.tensor([[9.0, 8, 7, 6], [1, 2, 3, 4]]),
        "embedding.weight": torch.tensor([[9.0, 9], [1, 6], [2, 5], [3, 4]]),
    }
    kept = keep(values, mask, 0.5, scope="neuron", maps=linear_maps(model))
    assert kept["fc.weight"].tolist() == [[True, True, False, False], [False, False, True, True]]
    assert kept["embedding.weight"].tolist() == [[False, False], [False, True], [True, True], [True, False]]


@quick
@given(st.floats(0, 1, allow_subnormal=False), st.integers(0, 50), st.sampled_from(["gate", "neuron"]))
def test_each_gate_and_each_neuron_has_its_exact_count(density: float, seed: int, scope: str) -> None:
    model = nn.LSTM(3, 2, bidirectional=True)
    mask = prunable_mask(model)
    kept = keep(random_scores(model, mask, seed), mask, density, scope=scope, maps=linear_maps(model))
    for name, pattern in kept.patterns.items():
        rows = torch.from_numpy(pattern.flags())
        groups = rows.reshape(4, -1) if scope == "gate" else rows
        assert (groups.sum(1) == math.floor(density * groups.shape[1] + 0.5)).all(), name


@quick
@given(st.floats(0, 1, allow_subnormal=False), st.integers(0, 50), st.sampled_from(["uniform", "erk", "lamp"]), st.integers(0, 3))
def test_allocations_are_exact_in_total_at_any_density(density: float, seed: int, scope: str, floor: int) -> None:
    model = nn.ModuleDict({"a": nn.Linear(7, 9), "b": nn.Linear(9, 2), "e": nn.Embedding(5, 3, padding_idx=0), "c": nn.Conv1d(3, 2, 2)})
    mask = prunable_mask(model, ["linear", "embedding", "conv", "bias"])
    target = math.floor(density * mask.prunable + 0.5)
    values = random_scores(model, mask, seed)
    if target < floor * len(mask):
        return
    kept = keep(values, mask, density, scope=scope, floor=floor)
    assert kept.kept == target
    assert all(pattern.kept >= min(floor, pattern.prunable) for pattern in kept.patterns.values())
    again = keep(values, kept, density / 2, scope=scope)
    assert again.kept == math.floor(density / 2 * mask.prunable + 0.5)
    assert (again & kept) == again


def test_erk_is_the_formula_and_hands_on_what_a_full_layer_cannot_take() -> None:
    shapes = {"a": (100, 50), "b": (50, 4), "c": (40, 40)}
    mask = Mask({name: Pattern.full(shape) for name, shape in shapes.items()})
    values = {name: torch.rand(shape) for name, shape in shapes.items()}
    low = keep(values, mask, 0.05, scope="erk")
    raw = {name: sum(shape) for name, shape in shapes.items()}
    epsilon = 0.05 * mask.prunable / sum(raw.values())
    for name in shapes:
        assert abs(low.pattern(name).kept - epsilon * raw[name]) < 1
    high = keep(values, mask, 0.7, scope="erk")
    assert high.kept == math.floor(0.7 * mask.prunable + 0.5)
    assert high.pattern("b").density == 1.0
    rest = 0.7 * mask.prunable - 200
    assert high.pattern("a").kept == math.floor(rest * 150 / 230 + 0.5)
    assert high.pattern("c").kept == math.floor(rest * 80 / 230 + 0.5)


def test_uniform_by_largest_remainders() -> None:
    mask = Mask({name: Pattern.full((3,)) for name in "abc"})
    kept = keep({name: torch.rand(3) for name in "abc"}, mask, 0.5, scope="uniform")
    assert [pattern.kept for pattern in kept.patterns.values()] == [2, 2, 1]


def lamp_by_the_paper(weights: dict[str, Tensor]) -> dict[str, Tensor]:
    found = {}
    for name, weight in weights.items():
        flat = weight.double().flatten()
        found[name] = torch.stack([value**2 / (flat[flat.abs() >= value.abs()] ** 2).sum() for value in flat]).view_as(weight)
    return found


def test_lamp_equals_its_formula() -> None:
    draw = torch.Generator().manual_seed(0)
    weights = {
        "a": torch.randn(6, 5, generator=draw),
        "b": 10 * torch.randn(4, 6, generator=draw),
        "c": 0.01 * torch.randn(8, generator=draw),
    }
    mask = Mask({name: Pattern.full(tuple(weight.shape)) for name, weight in weights.items()})
    magnitudes = {name: weight.abs() for name, weight in weights.items()}
    for density in (0.05, 0.3, 0.7):
        assert keep(magnitudes, mask, density, scope="lamp") == keep(lamp_by_the_paper(weights), mask, density)


def test_lamp_never_empties_a_layer_while_it_may_keep_one_weight_of_each() -> None:
    values = {"a": torch.rand(50), "b": 1e-6 * torch.rand(50), "zero": torch.zeros(5)}
    mask = Mask({name: Pattern.full(tuple(value.shape)) for name, value in values.items()})
    assert keep(values, mask, 2 / 105, scope="global").pattern("b").kept == 0
    kept = keep(values, mask, 2 / 105, scope="lamp")
    assert (kept.pattern("a").kept, kept.pattern("b").kept) == (1, 1)


def test_lamp_refuses_negative_scores() -> None:
    with pytest.raises(PruningError, match="non-negative"):
        keep({"a": torch.tensor([1.0, -1.0])}, Mask({"a": Pattern.full((2,))}), 0.5, scope="lamp")


@quick
@given(
    st.lists(st.tuples(st.floats(0, 10, allow_subnormal=False), st.integers(0, 20)), min_size=1, max_size=6),
    st.floats(0, 1, allow_subnormal=False),
)
def test_a_split_is_whole_exact_and_within_capacity(parts: list[tuple[float, int]], fraction: float) -> None:
    shares, capacities = [share for share, _ in parts], [capacity for _, capacity in parts]
    total = int(fraction * sum(capacities))
    split = allocate(shares, capacities, total)
    assert sum(split) == total
    assert all(0 <= part <= capacity for part, capacity in zip(split, capacities, strict=True))
    scale = max(
        (part / share for part, share, capacity in zip(split, shares, capacities, strict=True) if share > 0 and part < capacity), default=0
    )
    for part, share, capacity in zip(split, shares, capacities, strict=True):
        if share > 1e-3 and part < capacity:
            assert abs(part - scale * share) <= 1 + share / 1e-3


def test_more_than_there_is_cannot_be_split() -> None:
    with pytest.raises(PruningError, match="cannot be split"):
        allocate([1.0], [3], 4)


def test_scopes_say_whether_rates_go_with_them() -> None:
    assert {entry.name for entry in scopes if entry.traits["rates"]} == {"layer", "gate", "neuron"}
