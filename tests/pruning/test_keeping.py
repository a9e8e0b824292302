import math

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor, nn
from torch.nn.utils import prune as torch_prune

from secateur.errors import PruningError, UnknownName
from secateur.linear_maps import linear_maps, prunable_mask
from secateur.masks import Mask, Pattern
from secateur.pruning.keeping import keep
from secateur.registry import scores
from secateur.seeds import generator

quick = settings(deadline=None, max_examples=60)


def full(**tensors: Tensor) -> Mask:
    return Mask({name: torch.ones_like(tensor, dtype=torch.bool) for name, tensor in tensors.items()})


def test_global_and_layer_by_eye() -> None:
    values = {"a": torch.tensor([[4.0, 3.0], [2.0, 1.0]]), "b": torch.tensor([8.0, 7.0, 6.0, 5.0])}
    kept = keep(values, full(**values), 0.5)
    assert kept["a"].tolist() == [[False, False], [False, False]]
    assert kept["b"].all()
    kept = keep(values, full(**values), 0.5, scope="layer")
    assert kept["a"].tolist() == [[True, True], [False, False]]
    assert kept["b"].tolist() == [True, True, False, False]


def test_ties_go_to_the_lower_position_and_the_count_is_exact() -> None:
    values = {"a": torch.ones(3), "b": torch.ones(3)}
    kept = keep(values, full(**values), 2 / 3)
    assert (kept["a"].tolist(), kept["b"].tolist()) == ([True] * 3, [True, False, False])


def test_half_a_weight_rounds_up() -> None:
    values = {"a": torch.arange(5.0)}
    assert keep(values, full(**values), 0.5).kept == 3


@st.composite
def problems(draw: st.DrawFn) -> tuple[dict[str, Tensor], Mask]:
    draw_ = torch.Generator().manual_seed(draw(st.integers(0, 10_000)))
    levels = draw(st.sampled_from([1, 3, 1000]))
    tensors, patterns = {}, {}
    for number in range(draw(st.integers(1, 4))):
        shape = tuple(draw(st.lists(st.integers(1, 7), min_size=1, max_size=3)))
        rows = (0,) if draw(st.booleans()) else ()
        tensors[f"p{number}"] = torch.randint(-levels, levels, shape, generator=draw_).double()
        patterns[f"p{number}"] = Pattern.full(shape, rows)
    return tensors, Mask(patterns)


@quick
@given(problems(), st.floats(0, 1, allow_subnormal=False), st.floats(0, 1, allow_subnormal=False))
def test_counts_are_exact_for_any_density_shapes_ties_and_padding(
    problem: tuple[dict[str, Tensor], Mask], first: float, second: float
) -> None:
    values, mask = problem
    kept = keep(values, mask, first)
    assert kept.kept == math.floor(first * mask.prunable + 0.5)
    again = keep(values, kept, first * second)
    assert again.kept == math.floor(first * second * mask.prunable + 0.5)
    assert (again & kept) == again
    layered = keep(values, mask, first, scope="layer")
    for name, pattern in layered.patterns.items():
        assert pattern.kept == math.floor(first * pattern.prunable + 0.5)
        assert pattern.excluded_rows == mask.pattern(name).excluded_rows


@quick
@given(problems(), st.floats(0, 1, allow_subnormal=False), st.sampled_from(["global", "layer"]))
def test_nothing_pruned_beats_anything_kept(problem: tuple[dict[str, Tensor], Mask], density: float, scope: str) -> None:
    values, mask = problem
    kept = keep(values, mask, density, scope=scope)
    groups = [list(values)] if scope == "global" else [[name] for name in values]
    for group in groups:
        stays = torch.cat([values[name][kept[name]] for name in group])
        goes = torch.cat([values[name][mask[name] & ~kept[name]] for name in group])
        assert not len(stays) or not len(goes) or stays.min() >= goes.max()


@quick
@given(problems(), st.floats(0, 1, allow_subnormal=False))
def test_the_order_of_parameters_is_irrelevant(problem: tuple[dict[str, Tensor], Mask], density: float) -> None:
    values, mask = problem
    backwards = Mask(dict(reversed(list(mask.patterns.items()))))
    assert keep(dict(reversed(list(values.items()))), backwards, density) == keep(values, mask, density)


@quick
@given(problems(), st.floats(0, 1, allow_subnormal=False), st.integers(1, 5))
def test_a_floor_empties_no_layer_and_keeps_the_total(problem: tuple[dict[str, Tensor], Mask], density: float, floor: int) -> None:
    values, mask = problem
    target = math.floor(density * mask.prunable + 0.5)
    needed = sum(min(floor, pattern.prunable) for pattern in mask.patterns.values())
    if needed > target:
        with pytest.raises(PruningError, match="a floor of"):
            keep(values, mask, density, floor=floor)
    else:
        kept = keep(values, mask, density, floor=floor)
        assert kept.kept == target
        assert all(pattern.kept >= min(floor, pattern.prunable) for pattern in kept.patterns.values())
    layered = keep(values, mask, density, scope="layer", floor=floor)
    for pattern in layered.patterns.values():
        assert pattern.kept == max(math.floor(density * pattern.prunable + 0.5), min(floor, pattern.prunable))


def test_a_pruned_weight_is_no_candidate_however_high_its_score() -> None:
    values = {"a": torch.tensor([9.0, -1.0, -2.0, -3.0])}
    mask = Mask({"a": torch.tensor([False, True, True, True])})
    assert keep(values, mask, 0.5)["a"].tolist() == [False, True, True, False]


def test_lenets_output_layer_is_pruned_at_half_the_rate() -> None:
    values = {"fc1.weight": torch.rand(300, 784), "fc2.weight": torch.rand(100, 300), "output.weight": torch.rand(10, 100)}
    mask = full(**values)
    counts = {"fc1.weight": 300 * 784, "fc2.weight": 30_000, "output.weight": 1000}
    for level in range(1, 21):
        mask = keep(values, mask, 0.8**level, scope="layer", rates={"output*": 0.5})
        for name, size in counts.items():
            keeps = 0.9 if name.startswith("output") else 0.8
            assert abs(mask.pattern(name).kept - keeps**level * size) <= (5 if name.startswith("output") else 0.5)
    assert mask.pattern("output.weight").density == pytest.approx(0.9**20, abs=0.005)


def test_rates_by_kind_and_a_rate_of_zero() -> None:
    model = nn.ModuleDict({"embedding": nn.Embedding(10, 4, padding_idx=0), "fc": nn.Linear(4, 10, bias=False)})
    mask = prunable_mask(model, ["embedding", "linear"])
    values = {name: torch.rand(p.shape) for name, p in model.named_parameters()}
    kept = keep(values, mask, 0.1, scope="layer", rates={"embedding": 0.0}, maps=linear_maps(model))
    assert (kept.pattern("embedding.weight").kept, kept.pattern("fc.weight").kept) == (36, 4)


def test_what_cannot_be_is_refused() -> None:
    values = {"a": torch.rand(4)}
    with pytest.raises(PruningError, match=r"outside of \[0, 1\]"):
        keep(values, full(**values), 1.5)
    with pytest.raises(PruningError, match="cannot bring weights back"):
        keep(values, keep(values, full(**values), 0.25), 0.5)
    with pytest.raises(PruningError, match="no score for 'b'"):
        keep(values, full(a=values["a"], b=torch.rand(2)), 0.5)
    with pytest.raises(PruningError, match="shape"):
        keep({"a": torch.rand(2, 2)}, full(**values), 0.5)
    with pytest.raises(PruningError, match="not finite"):
        keep({"a": torch.tensor([1.0, math.nan, 2.0, 3.0])}, full(**values), 0.5)
    with pytest.raises(PruningError, match="rates cannot be combined with scopes global"):
        keep(values, full(**values), 0.5, rates={"a": 0.5})
    with pytest.raises(UnknownName, match="rates: unknown selector 'z'"):
        keep(values, full(**values), 0.5, scope="layer", rates={"z": 0.5})
    with pytest.raises(UnknownName, match="unknown scope"):
        keep(values, full(**values), 0.5, scope="locally")


def test_scores_in_half_precision_keep_exact_counts() -> None:
    values = {"a": torch.rand(1000).bfloat16()}
    assert keep(values, full(**values), 0.123).kept == 123


def test_magnitude_ranks_like_torch() -> None:
    layer = nn.Linear(20, 30)
    mask = prunable_mask(layer)
    ours = keep(scores["magnitude"](layer, mask, None, None, generator(0)), mask, 0.3)
    weight = layer.weight.detach().clone()
    torch_prune.l1_unstructured(layer, "weight", amount=0.7)
    assert torch.equal(ours["weight"], layer.weight_mask.bool())
    assert torch.equal(weight * ours["weight"], layer.weight)


def test_global_magnitude_ranks_like_torch() -> None:
    model = nn.Sequential(nn.Linear(20, 30), nn.Linear(30, 5))
    mask = prunable_mask(model)
    ours = keep(scores["magnitude"](model, mask, None, None, generator(0)), mask, 0.25)
    torch_prune.global_unstructured([(model[0], "weight"), (model[1], "weight")], torch_prune.L1Unstructured, amount=0.75)
    assert torch.equal(ours["0.weight"], model[0].weight_mask.bool())
    assert torch.equal(ours["1.weight"], model[1].weight_mask.bool())


def test_random_has_torchs_counts_and_repeats_and_depends_on_the_name_alone() -> None:
    model = nn.Sequential(nn.Linear(20, 30), nn.Linear(30, 5))
    mask = prunable_mask(model)
    drawn = scores["random"](model, mask, None, None, generator(3))
    kept = keep(drawn, mask, 0.3, scope="layer")
    assert kept == keep(scores["random"](model, mask, None, None, generator(3)), mask, 0.3, scope="layer")
    assert kept != keep(scores["random"](model, mask, None, None, generator(4)), mask, 0.3, scope="layer")
    alone = scores["random"](model, Mask({"1.weight": mask["1.weight"]}), None, None, generator(3))
    assert torch.equal(alone["1.weight"], drawn["1.weight"])
    torch_prune.random_unstructured(model[0], "weight", amount=0.7)
    assert kept.pattern("0.weight").kept == int(model[0].weight_mask.sum())
