import copy
from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import nn

from secateur.errors import PruningError
from secateur.masks import Mask, Pattern, apply, random_pattern

quick = settings(deadline=None, max_examples=60)


@st.composite
def flags(draw: st.DrawFn) -> np.ndarray:  # type: ignore[type-arg]
    shape = tuple(draw(st.lists(st.integers(1, 9), min_size=1, max_size=3)))
    probability = draw(st.sampled_from([0.0, 0.01, 0.3, 1.0]))
    return np.random.default_rng(draw(st.integers(0, 1000))).random(shape) < probability


def test_a_pattern_by_eye() -> None:
    pattern = Pattern.from_tensor(torch.tensor([[True, False, True], [False, False, True]]))
    assert pattern.kept == 3
    assert pattern.prunable == 6
    assert pattern.density == 0.5
    assert pattern.indices().tolist() == [0, 2, 5]
    assert pattern.tensor().tolist() == [[True, False, True], [False, False, True]]


def test_the_smaller_form_is_stored() -> None:
    many, few = torch.ones(64, 64, dtype=torch.bool), torch.zeros(64, 64, dtype=torch.bool)
    few[3, 5] = True
    assert Pattern.from_tensor(many).stored()[0] == "bits"
    assert Pattern.from_tensor(few).stored()[0] == "indices"
    assert Pattern.from_tensor(few).nbytes == 8


def test_a_network_too_big_to_exist_dense_has_a_mask() -> None:
    shape = (1_000_000, 1_000_000)
    mask = Mask({"big": random_pattern(shape, 1000, seed=1, name="big")})
    assert mask.kept == 1000
    assert mask.prunable == 10**12
    assert mask.pattern("big").nbytes == 8000
    assert mask == Mask.from_tensors(*mask.tensors())


@quick
@given(flags())
def test_flags_and_indices_describe_the_same_pattern(kept: np.ndarray) -> None:  # type: ignore[type-arg]
    pattern = Pattern.from_tensor(torch.from_numpy(kept))
    again = Pattern.from_indices(kept.shape, np.flatnonzero(kept))
    assert pattern == again
    assert np.array_equal(pattern.flags(), kept)
    assert pattern.kept == kept.sum()
    assert Mask({"w": pattern}).digest == Mask({"w": again}).digest


@quick
@given(flags(), st.integers(0, 5))
def test_algebra(kept: np.ndarray, seed: int) -> None:  # type: ignore[type-arg]
    mask = Mask({"a": torch.from_numpy(kept)})
    other = mask.shuffled(seed)
    assert other.kept == mask.kept
    assert ~~mask == mask
    assert mask & mask == mask
    assert (mask | ~mask).density == 1.0
    assert (mask & ~mask).kept == 0
    assert mask.distance(other) == other.distance(mask) == ((mask | other).kept - (mask & other).kept) / mask.prunable


def test_padding_rows_are_never_prunable_and_never_kept() -> None:
    pattern = Pattern.full((4, 3), excluded_rows=(0,))
    assert (pattern.kept, pattern.prunable, pattern.density) == (9, 9, 1.0)
    mask = Mask({"embedding.weight": pattern})
    assert (~mask).kept == 0
    assert not (~(~mask))["embedding.weight"][0].any()
    with pytest.raises(PruningError, match="padding row"):
        Pattern.from_tensor(torch.ones(4, 3, dtype=torch.bool), (0,))
    with pytest.raises(PruningError, match="padding row"):
        Pattern.from_indices((4, 3), np.array([1]), (0,))
    with pytest.raises(PruningError, match="lie outside"):
        Pattern.full((4, 3), excluded_rows=(4,))


@quick
@given(st.integers(1, 8), st.integers(1, 5), st.sets(st.integers(0, 7)), st.floats(0, 1, allow_subnormal=False), st.integers(0, 3))
def test_a_random_pattern_has_the_count_and_spares_excluded_rows(rows: int, width: int, excluded: set[int], part: float, seed: int) -> None:
    out = tuple(sorted(row for row in excluded if row < rows))
    kept = int(part * (rows - len(out)) * width)
    pattern = random_pattern((rows, width), kept, seed, "w", out)
    assert pattern.kept == kept
    assert not pattern.flags()[list(out)].any()
    assert pattern == random_pattern((rows, width), kept, seed, "w", out)


def test_random_patterns_cover_every_place_alike() -> None:
    counts = sum(random_pattern((5, 4), 8, seed, "w", (1, 3)).flags().astype(int) for seed in range(600))
    expected = 600 * 8 / 12
    assert np.all(np.abs(counts[[0, 2, 4]] - expected) < 5 * (expected * (1 - 8 / 12)) ** 0.5)
    assert (counts[[1, 3]] == 0).all()


def test_too_many_random_weights_are_refused() -> None:
    with pytest.raises(PruningError, match="cannot be kept"):
        random_pattern((4, 3), 10, 0, "w", (0,))


def test_the_order_of_parameters_is_irrelevant() -> None:
    a, b = torch.tensor([True, False]), torch.tensor([False, True])
    assert Mask({"a": a, "b": b}) == Mask({"b": b, "a": a})
    assert Mask({"a": a, "b": b}).digest == Mask({"b": b, "a": a}).digest
    assert hash(Mask({"a": a, "b": b})) == hash(Mask({"b": b, "a": a}))
    assert Mask({"a": a, "b": b}) != Mask({"a": b, "b": a})


def test_a_mask_survives_save_load_and_deepcopy(tmp_path: Path) -> None:
    mask = Mask({
        "dense": torch.rand(17, 5) < 0.5,
        "sparse": random_pattern((300, 40), 12, 0, "sparse", (0,)),
        "all": Pattern.full((4, 2), (0,)),
        "none": torch.zeros(7, dtype=torch.bool),
    })  # fmt: skip
    mask.save(tmp_path / "m.safetensors")
    again = Mask.load(tmp_path / "m.safetensors")
    assert again == mask
    assert again.digest == mask.digest == copy.deepcopy(mask).digest
    again.save(tmp_path / "n.safetensors")
    assert (tmp_path / "m.safetensors").read_bytes() == (tmp_path / "n.safetensors").read_bytes()


def test_a_file_that_holds_no_mask_is_refused(tmp_path: Path) -> None:
    from safetensors.torch import save_file

    save_file({"w": torch.zeros(3)}, str(tmp_path / "w.safetensors"))
    with pytest.raises(PruningError, match="holds no mask"):
        Mask.load(tmp_path / "w.safetensors")


def test_an_altered_mask_is_refused() -> None:
    arrays, description = Mask({"w": torch.tensor([True, False, True])}).tensors()
    arrays["w.bits"] = torch.tensor([0b1110_0000], dtype=torch.uint8)
    with pytest.raises(PruningError, match="keeps 3 weights, its description says 2"):
        Mask.from_tensors(arrays, description)
    with pytest.raises(PruningError, match="format"):
        Mask.from_tensors(arrays, {"format": 99})


def test_masks_of_other_parameters_do_not_combine() -> None:
    with pytest.raises(PruningError, match="different parameters: a, b"):
        Mask({"a": torch.ones(2, dtype=torch.bool)}).distance(Mask({"b": torch.ones(2, dtype=torch.bool)}))
    with pytest.raises(PruningError, match="no parameter 'x'"):
        Mask({})["x"]


def test_emptied_parameters_are_named() -> None:
    mask = Mask({"a": torch.zeros(3, dtype=torch.bool), "b": torch.ones(3, dtype=torch.bool), "c": Pattern.full((1, 3), (0,))})
    assert mask.emptied() == ["a"]


def test_apply_zeroes_what_is_pruned_and_nothing_else() -> None:
    model = nn.Sequential(nn.Linear(3, 2), nn.Linear(2, 2))
    before = copy.deepcopy(model.state_dict())
    kept = torch.tensor([[True, False, True], [False, True, True]])
    weight = model[0].weight
    apply(Mask({"0.weight": kept}), model)
    assert model[0].weight is weight
    assert torch.equal(weight, before["0.weight"] * kept)
    assert all(torch.equal(value, before[name]) for name, value in model.state_dict().items() if name != "0.weight")


def test_apply_reaches_an_lstm_and_its_deepcopy() -> None:
    lstm = nn.LSTM(3, 4)
    inputs = torch.rand(5, 2, 3)
    apply(Mask({name: torch.zeros_like(p, dtype=torch.bool) for name, p in lstm.named_parameters()}), lstm)
    assert lstm(inputs)[0].abs().max() == 0
    assert copy.deepcopy(lstm)(inputs)[0].abs().max() == 0


def test_a_mask_of_another_model_is_refused() -> None:
    with pytest.raises(PruningError, match=r"no parameter 'fc\.weight'"):
        apply(Mask({"fc.weight": torch.ones(2, dtype=torch.bool)}), nn.Linear(2, 2))
    with pytest.raises(PruningError, match="shape"):
        apply(Mask({"weight": torch.ones(2, 3, dtype=torch.bool)}), nn.Linear(2, 2))


def test_a_scalar_parameter_has_a_pattern() -> None:
    pattern = Pattern.full(())
    assert (pattern.kept, pattern.prunable) == (1, 1)
    assert Mask({"scale": pattern}) == Mask.from_tensors(*Mask({"scale": pattern}).tensors())


def test_only_bool_tensors_are_masks() -> None:
    with pytest.raises(PruningError, match="bool tensor"):
        Pattern.from_tensor(torch.ones(3))


def test_a_pattern_cannot_be_changed_through_what_it_was_made_of_or_gives_out() -> None:
    positions = np.array([1, 2])
    pattern = Pattern.from_indices((300,), positions)
    positions[0] = 0
    pattern.flags()[:] = True
    arrays, _ = Mask({"w": pattern}).tensors()
    arrays["w.indices"].zero_()
    assert pattern.indices().tolist() == [1, 2]
    with pytest.raises(ValueError, match="read-only"):
        pattern.indices()[0] = 5
