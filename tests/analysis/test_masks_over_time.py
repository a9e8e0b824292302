import numpy as np
import pytest
import torch

from secateur.analysis.masks_over_time import (
    agreement,
    agreement_by_parameter,
    beyond_chance,
    ever_kept,
    kept_connections,
    over_time,
    pairwise,
)
from secateur.errors import PruningError
from secateur.masks import Mask, Pattern, random_pattern


def mask(a: list[int], b: list[int]) -> Mask:
    flags = {name: torch.zeros(4, dtype=torch.bool) for name in "ab"}
    flags["a"][a] = True
    flags["b"][b] = True
    return Mask(flags)


def test_agreement_by_eye() -> None:
    found = agreement(mask([0, 1], [2]), mask([1, 3], [2, 3]))
    assert (found.prunable, found.first, found.second, found.both) == (8, 3, 4, 2)
    assert (found.hamming, found.jaccard, found.overlap, found.chance) == (3 / 8, 2 / 5, 2 / 3, 1 / 2)
    assert found.hamming == mask([0, 1], [2]).distance(mask([1, 3], [2, 3]))
    by_parameter = agreement_by_parameter(mask([0, 1], [2]), mask([1, 3], [2, 3]))
    assert (by_parameter["a"].both, by_parameter["b"].jaccard) == (1, 0.5)
    assert agreement(mask([], []), mask([], [])).jaccard == 1.0


def test_random_masks_overlap_as_chance_says() -> None:
    masks = [Mask({"w": random_pattern((100, 100), 3000, seed, "w")}) for seed in range(2)]
    found = agreement(*masks)
    assert found.overlap == pytest.approx(found.chance, abs=0.03)


def test_padding_rows_do_not_count() -> None:
    first, second = (Mask({"e": random_pattern((5, 2), 8, 0, "e", (0,))}) for _ in range(2))
    assert agreement(first, second).prunable == 8


def test_pairs_of_seeds_as_a_frame() -> None:
    frame = pairwise({"0": mask([0], [1]), "1": mask([0], [2]), "2": mask([1], [2])})
    assert frame.height == 3 * 3
    whole = frame.filter(frame["parameter"].is_null())
    assert whole.select("first", "second", "hamming").rows() == [("0", "1", 0.25), ("0", "2", 0.5), ("1", "2", 0.25)]
    assert pairwise({"0": mask([], [])}).height == 0


def test_a_history_of_masks() -> None:
    history = [(0, mask([0, 1], [0])), (10, mask([0, 2], [0])), (20, mask([2, 3], [0]))]
    frame = over_time(history)
    whole = frame.filter(frame["parameter"].is_null())
    assert whole["since_before"].to_list() == [0.0, 0.25, 0.25]
    assert whole["since_first"].to_list() == [0.0, 0.25, 0.5]
    assert whole["to_last"].to_list() == [0.5, 0.25, 0.0]
    assert whole["grown"].to_list() == whole["dropped"].to_list() == [0, 1, 1]
    assert ever_kept(history) == 5 / 8
    assert frame.filter(frame["parameter"] == "b")["since_first"].to_list() == [0.0, 0.0, 0.0]


def test_neurons_that_are_cut_off_are_counted() -> None:
    kept = torch.tensor([[False, False, False], [True, False, True], [False, False, False]])
    assert kept_connections(Mask({"w": kept, "bias": torch.ones(3, dtype=torch.bool)})) == {"w": (2, 1)}
    assert kept_connections(Mask({"e": Pattern.from_tensor(kept, (0,))})) == {"e": (1, 1)}


def test_masks_of_different_networks_are_refused() -> None:
    with pytest.raises(PruningError, match="different parameters"):
        agreement(mask([], []), Mask({"a": torch.ones(4, dtype=torch.bool)}))


def test_beyond_chance_is_one_for_a_part_of_the_other_and_none_for_random_masks() -> None:
    assert beyond_chance(mask([0, 1], [2]), mask([0, 1, 2], [2])) == 1.0
    assert beyond_chance(mask([0, 1], []), mask([2, 3], [])) == pytest.approx((0 - 1) / (2 - 1))
    assert beyond_chance(mask([0, 1, 2, 3], []), mask([0], [])) is None
    # layers of unlike density overlap by more than the overall density, by chance alone
    masks = [Mask({n: random_pattern((100, 50), kept, seed, n) for n, kept in (("a", 4500), ("b", 50))}) for seed in range(2)]
    assert agreement(*masks).overlap > 0.8
    assert beyond_chance(*masks) == pytest.approx(0.0, abs=0.02)


def test_masks_held_as_bits_and_as_indices_are_compared() -> None:
    few, many = Pattern.from_indices((1000,), np.array([3, 500])), Pattern.from_tensor(torch.arange(1000) >= 500)
    assert (few.stored()[0], many.stored()[0]) == ("indices", "bits")
    assert agreement(Mask({"w": few}), Mask({"w": many})).both == 1
    assert agreement(Mask({"w": few}), Mask({"w": few})).both == 2
