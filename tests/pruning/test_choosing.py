from collections.abc import Callable
from fractions import Fraction

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray
from torch import nn

from secateur import _kernels
from secateur.errors import PruningError
from secateur.linear_maps import prunable_mask
from secateur.masks import Pattern, zero_where
from secateur.pruning.choosing import at_random, highest, renewed, renewed_by_shares
from secateur.pruning.keeping import keep


def by_sorting(scores: NDArray[np.floating], candidates: NDArray[np.bool_], count: int) -> NDArray[np.bool_]:
    places = np.flatnonzero(candidates)
    flags = np.zeros(scores.size, np.bool_)
    flags[places[np.argsort(-scores[places], kind="stable")][: max(count, 0)]] = True
    return flags


def drawn(kind: str, size: int, draw: np.random.Generator) -> NDArray[np.float64]:
    if kind == "ties":
        return draw.integers(-2, 3, size).astype(np.float64)
    if kind == "tiny":
        return np.where(draw.random(size) < 0.5, 0.0, draw.standard_normal(size) * 1e-41)
    if kind == "sorted":  # what lies at scattered places says little of a stretch
        return np.sort(draw.standard_normal(size))
    return draw.standard_normal(size)


@settings(deadline=None, max_examples=150)
@given(
    st.sampled_from([0, 1, 7, 8, 9, 17, 100, 301, 20_000, 70_001]),
    st.sampled_from(["normal", "ties", "tiny", "sorted"]),
    st.sampled_from([0.01, 0.5, 1.0]),
    st.floats(-0.1, 1.1, allow_subnormal=False),
    st.booleans(),
    st.sampled_from([np.float32, np.float64]),
    st.integers(0, 1000),
)
def test_the_highest_are_those_of_a_stable_sort(
    size: int, kind: str, share: float, part: float, magnitude: bool, dtype: type, seed: int
) -> None:
    draw = np.random.default_rng(seed)
    scores, candidates = drawn(kind, size, draw).astype(dtype), draw.random(size) < share
    count = int(part * candidates.sum())
    ranked = np.abs(scores) if magnitude else scores
    chosen = highest(scores, np.packbits(candidates), count, magnitude=magnitude)
    assert np.array_equal(np.unpackbits(chosen, count=size).astype(bool), by_sorting(ranked, candidates, count))


@settings(deadline=None, max_examples=80)
@given(st.lists(st.integers(0, 40) | st.integers(17_000, 17_020), min_size=1, max_size=6), st.integers(0, 1000))
def test_several_arrays_and_runs_of_one_compete_as_they_should(sizes: list[int], seed: int) -> None:
    draw = np.random.default_rng(seed)
    scores, total = draw.integers(0, 6, sum(sizes)).astype(np.float32), sum(sizes)
    candidates, ends = draw.random(total) < 0.7, np.cumsum(sizes).astype(np.int64)
    parts = list(zip([0, *ends[:-1]], ends, strict=True))
    arrays = [np.ascontiguousarray(scores[a:b]) for a, b in parts]
    masks = [np.packbits(candidates[a:b]) for a, b in parts]
    chosen = [np.zeros_like(mask) for mask in masks]
    assert _kernels.highest(arrays, masks, chosen, total // 3) == -1
    together = np.concatenate([np.unpackbits(bits, count=b - a) for bits, (a, b) in zip(chosen, parts, strict=True)]).astype(bool)
    assert np.array_equal(together, by_sorting(scores, candidates, total // 3))
    counts, runs = draw.integers(0, 2 + np.array(sizes), len(sizes)), np.zeros((total + 7) // 8, np.uint8)
    assert _kernels.highest_of_each(scores, np.packbits(candidates), runs, ends, counts)
    each = [by_sorting(scores[a:b], candidates[a:b], int(n)) for (a, b), n in zip(parts, counts, strict=True)]
    assert np.array_equal(np.unpackbits(runs, count=total).astype(bool), np.concatenate(each))


@settings(deadline=None, max_examples=80)
@given(
    st.integers(1, 500),
    st.sampled_from(["alike", "of all scales", "falling", "negative", "equal", "infinite"]),
    st.floats(0, 1.05, allow_subnormal=False),
    st.sampled_from([np.float32, np.float64]),
    st.integers(0, 1000),
)
def test_runs_are_chosen_whatever_those_before_say(width: int, kind: str, part: float, dtype: type, seed: int) -> None:
    draw = np.random.default_rng(seed)
    rows = 40
    scores = draw.standard_normal((rows, width))
    if kind == "of all scales":
        scores *= 10.0 ** draw.integers(-30, 30, (rows, 1))
    if kind == "falling":
        scores -= 2.0 * np.arange(rows)[:, None]
    if kind == "negative":
        scores = -np.abs(scores)
    if kind == "equal":
        scores = np.broadcast_to(draw.integers(0, 2, (rows, 1)), scores.shape)
    if kind == "infinite":
        scores[draw.random((rows, width)) < 0.2] = np.inf
    scores, candidates = scores.astype(dtype), draw.random((rows, width)) < 0.6
    counts = np.round(part * candidates.sum(axis=1)).astype(np.int64)
    bits = np.zeros((rows * width + 7) // 8, np.uint8)
    finite = _kernels.highest_of_each(scores.reshape(-1), np.packbits(candidates), bits, np.arange(1, rows + 1) * width, counts)
    assert finite == bool(np.isfinite(scores[candidates]).all())
    wanted = [by_sorting(scores[row], candidates[row], int(counts[row])) for row in range(rows)]
    assert np.array_equal(np.unpackbits(bits, count=rows * width).astype(bool), np.concatenate(wanted))


@settings(deadline=None, max_examples=80)
@given(st.lists(st.sampled_from([0, 1, 9, 60, 900]), min_size=1, max_size=4), st.sampled_from([3, 40, 10**6]), st.integers(0, 1000))
def test_lamp_without_sorting_chooses_as_lamp_with_exact_scores(sizes: list[int], distinct: int, seed: int) -> None:
    draw = np.random.default_rng(seed)
    scores = [draw.integers(0, distinct, size).astype(np.float32) for size in sizes]
    candidates = [draw.random(size) < 0.6 for size in sizes]
    ranked = []
    for layer, (values, flags) in enumerate(zip(scores, candidates, strict=True)):
        total = 0
        for place in sorted(np.flatnonzero(flags).tolist(), key=lambda place, values=values: (-values[place], place)):
            square = int(values[place]) ** 2
            total += square
            ranked.append((-Fraction(square, total) if total else Fraction(0), layer, place))
    for count in draw.integers(0, len(ranked) + 2, 3).tolist():
        wanted = [np.zeros(size, np.bool_) for size in sizes]
        for _, layer, place in sorted(ranked)[:count]:
            wanted[layer][place] = True
        chosen = [np.zeros((size + 7) // 8, np.uint8) for size in sizes]
        assert _kernels.highest_by_lamp(scores, [np.packbits(flags) for flags in candidates], chosen, count)
        for bits, flags in zip(chosen, wanted, strict=True):
            assert np.array_equal(np.unpackbits(bits, count=flags.size).astype(bool), flags)


@settings(deadline=None, max_examples=40)
@given(
    st.lists(st.sampled_from([1, 700, 9_003, 20_000, 70_001]), min_size=1, max_size=3),
    st.lists(st.sampled_from(["normal", "ties", "tiny", "equal", "rare"]), min_size=3, max_size=3),
    st.sampled_from([0.002, 0.2, 1.0]),
    st.sampled_from([-0.1, 0.0, 0.001, 0.3, 0.9, 1.0, 1.1]),
    st.integers(0, 1000),
)
def test_lamp_of_large_layers_is_its_formula_whatever_scattered_scores_say(
    sizes: list[int], kinds: list[str], share: float, part: float, seed: int
) -> None:
    draw = np.random.default_rng(seed)
    scores, candidates = [], [draw.random(size) < share for size in sizes]
    for size, kind in zip(sizes, kinds, strict=False):
        if kind == "equal":
            values = np.full(size, 0.7)
        elif kind == "rare":  # few are so large that they decide what all others are worth, and are drawn seldom
            values = np.where(draw.random(size) < 0.0003, 1e6, np.abs(draw.standard_normal(size)))
        else:
            values = np.abs(drawn(kind, size, draw))
        scores.append(values.astype(np.float32))
    count = int(part * sum(int(flags.sum()) for flags in candidates))
    ranked = []
    for layer, (values, flags) in enumerate(zip(scores, candidates, strict=True)):
        places = np.flatnonzero(flags)
        places = places[np.argsort(-values[places], kind="stable")]
        squares = values[places].astype(np.float64) ** 2
        sums = np.cumsum(squares)
        ranked.append((np.divide(squares, sums, out=np.zeros_like(sums), where=sums > 0), np.full(places.size, layer), places))
    lamp, layers, places = (np.concatenate(each) for each in zip(*ranked, strict=True))
    chosen = [np.zeros((size + 7) // 8, np.uint8) for size in sizes]
    assert _kernels.highest_by_lamp(scores, [np.packbits(flags) for flags in candidates], chosen, count)
    kept = [np.unpackbits(bits, count=size).astype(bool) for bits, size in zip(chosen, sizes, strict=True)]
    assert sum(int(flags.sum()) for flags in kept) == max(0, min(count, lamp.size))
    is_kept = np.array([kept[layer][place] for layer, place in zip(layers, places, strict=True)], dtype=bool)
    if is_kept.any() and not is_kept.all():  # sums in another order: scores may differ by rounding
        assert lamp[is_kept].min() >= lamp[~is_kept].max() * (1 - 1e-10)
    for layer in range(len(sizes)):  # within a layer the order is that of the scores, of equal ones of the places
        assert not np.diff(is_kept[layers == layer].astype(np.int8)).clip(0).any()


@pytest.mark.parametrize("odd", [np.nan, np.inf, -1.0, -0.0])
def test_lamp_leaves_scores_to_others_that_it_cannot_square(odd: float) -> None:
    for size in (100, 40_001):
        for place in (0, size - 1):
            scores = np.ones(size, np.float32)
            scores[place] = odd
            candidates, chosen = np.packbits(np.ones(size, bool)), np.zeros((size + 7) // 8, np.uint8)
            assert not _kernels.highest_by_lamp([scores], [candidates], [chosen], 5)
            assert not chosen.any()


@settings(deadline=None, max_examples=60)
@given(st.sampled_from([5, 100, 20_000]), st.booleans(), st.booleans(), st.integers(0, 1000))
def test_a_renewal_is_a_drop_and_a_growth(size: int, random: bool, all_prunable: bool, seed: int) -> None:
    draw = np.random.default_rng(seed)
    weights, growth = (draw.integers(-9, 10, size).astype(np.float32) for _ in range(2))
    prunable = np.packbits(np.ones(size, bool) if all_prunable else draw.random(size) < 0.8)
    kept = np.packbits(draw.random(size) < 0.4) & prunable
    stay, grow = size // 5, size // 7
    stays = highest(weights, kept, stay, magnitude=True)
    free = prunable & ~stays
    grown = at_random(free, size, grow, seed) if random else highest(growth, free, grow, magnitude=True)
    given_prunable = None if all_prunable else prunable
    found = renewed(weights, kept, stay, grow, growth=None if random else growth, prunable=given_prunable, seed=seed)
    assert np.array_equal(found, stays | grown)


def sum_of_magnitudes(values: NDArray[np.floating], flags: NDArray[np.bool_]) -> float:
    """In sixteen sums, the number at place i in that of i % 16: the order that masks depend on."""
    magnitudes = np.where(flags, np.abs(values.astype(np.float64)), 0.0)
    rows = np.concatenate([magnitudes, np.zeros(-len(magnitudes) % 16)]).reshape(-1, 16)
    return float(sum(np.cumsum(rows, axis=0)[-1])) if len(rows) else 0.0


@settings(deadline=None, max_examples=80)
@given(
    st.lists(st.sampled_from([0, 1, 15, 700, 9_003, 20_000, 70_001]), min_size=1, max_size=3),
    st.lists(st.sampled_from(["normal", "ties", "tiny", "sorted", "rare", "odd"]), min_size=3, max_size=3),
    st.sampled_from([0.002, 0.2, 1.0]),
    st.sampled_from(["in proportion", "estimates lie", "all", "none"]),
    st.sampled_from([np.float32, np.float64]),
    st.booleans(),
    st.integers(0, 1000),
)
def test_layers_that_share_what_grows_read_once_are_drops_and_growths(
    sizes: list[int], kinds: list[str], density: float, how: str, dtype: type, all_prunable: bool, seed: int
) -> None:
    draw = np.random.default_rng(seed)
    weights = [draw.standard_normal(size).astype(dtype) for size in sizes]
    growth = []
    for size, kind in zip(sizes, kinds, strict=False):
        values = drawn(kind, size, draw)
        if kind == "rare":  # few are so large that they are most of the sum, and are drawn seldom
            values = np.where(draw.random(size) < 0.0003, 1e6, values)
        if kind == "odd":
            values[draw.random(size) < 0.001] = draw.choice([np.inf, -np.inf])
        growth.append(values.astype(dtype))
    prunable = [np.packbits(np.ones(size, bool) if all_prunable else draw.random(size) < 0.8) for size in sizes]
    kept = [np.packbits(draw.random(size) < density) & bits for size, bits in zip(sizes, prunable, strict=True)]
    stay = [int(np.unpackbits(bits).sum()) * 7 // 10 for bits in kept]
    stays = [highest(values, bits, count, magnitude=True) for values, bits, count in zip(weights, kept, stay, strict=True)]
    free = [may & ~bits for may, bits in zip(prunable, stays, strict=True)]
    room = [int(np.unpackbits(bits).sum()) for bits in free]
    asked: list[list[float]] = []

    def shares(magnitudes: list[float]) -> list[int]:
        asked.append(magnitudes)
        if how in ("all", "none"):
            return room if how == "all" else [0] * len(room)
        if how == "estimates lie" and len(asked) == 1:
            return [available // 50 for available in room]
        finite = [min(magnitude, 1e30) for magnitude in magnitudes]
        return [int(available * 0.6 * part / max(sum(finite), 1e-300)) for available, part in zip(room, finite, strict=True)]

    found = renewed_by_shares(weights, kept, stay, growth, [None if all_prunable else bits for bits in prunable], shares)
    assert asked[1] == [
        sum_of_magnitudes(values, np.unpackbits(bits, count=values.size).astype(bool)) for values, bits in zip(growth, kept, strict=True)
    ]
    counts = shares(asked[1])
    for number, bits in enumerate(found):
        grown = highest(growth[number], free[number], counts[number], magnitude=True)
        assert np.array_equal(bits, stays[number] | grown)


def test_estimates_of_what_grows_are_near() -> None:
    draw = np.random.default_rng(3)
    growth = [draw.standard_normal(300_000).astype(np.float32) * scale for scale in (1.0, 5.0)]
    kept = [np.packbits(draw.random(300_000) < 0.2) for _ in growth]
    asked: list[list[float]] = []

    def shares(magnitudes: list[float]) -> list[int]:
        asked.append(magnitudes)
        return [9_000, 9_000]

    renewed_by_shares(growth, kept, [50_000, 50_000], growth, [None, None], shares)
    assert asked[0] == pytest.approx(asked[1], rel=0.15)


def test_shares_may_fail_or_renew_others_meanwhile() -> None:
    draw = np.random.default_rng(4)
    weights = draw.standard_normal(50_000).astype(np.float32)
    kept = np.packbits(draw.random(50_000) < 0.2)

    def renewal(shares: Callable[[list[float]], list[int]]) -> NDArray[np.uint8]:
        return renewed_by_shares([weights], [kept], [5_000], [weights], [None], shares)[0]

    def nested(magnitudes: list[float]) -> list[int]:
        renewal(lambda _: [20_000])
        return [3_000]

    assert np.array_equal(renewal(nested), renewal(lambda _: [3_000]))
    with pytest.raises(ZeroDivisionError):
        renewal(lambda _: [1 // 0])
    with pytest.raises(ValueError, match="how many grow in each layer"):
        renewal(lambda _: [1, 2])
    with pytest.raises(ValueError, match="must be as many"):
        _kernels.renew_by_shares([weights], [kept], [kept.copy()], [1], [weights], [], lambda _: [1])


@pytest.mark.parametrize(
    ("size", "share", "part"), [(40, 1.0, 0.2), (40, 0.5, 0.9), (1000, 0.03, 0.4), (1000, 0.03, 0.8), (9, 0.5, 1.0), (9, 0.0, 0.0)]
)
def test_random_choices_are_exact_and_favour_no_candidate(size: int, share: float, part: float) -> None:
    candidates = np.random.default_rng(5).random(size) < share
    available = int(candidates.sum())
    count, seeds = round(part * available), 2000
    times = np.zeros(size)
    for seed in range(seeds):
        flags = np.unpackbits(at_random(np.packbits(candidates), size, count, seed), count=size).astype(bool)
        assert flags.sum() == count
        assert not (flags & ~candidates).any()
        times += flags
    assert available == 0 or abs(times[candidates] - seeds * part).max() < 5 * (seeds * 0.25) ** 0.5 + seeds * abs(part - count / available)
    assert np.array_equal(at_random(np.packbits(candidates), size, 10**9, 3), np.packbits(candidates))


def test_random_choices_repeat_with_their_seed() -> None:
    every = np.packbits(np.ones(100, bool))
    assert np.array_equal(at_random(every, 100, 30, 2**63 + 5), at_random(every, 100, 30, 2**63 + 5))
    assert len({at_random(every, 100, 30, seed).tobytes() for seed in range(20)}) == 20


def test_arrays_that_do_not_fit_are_refused() -> None:
    scores, bits = np.zeros(9, np.float32), np.zeros(2, np.uint8)
    with pytest.raises(ValueError, match="a bit for each score"):
        _kernels.highest([scores], [bits[:1]], [bits.copy()], 1)
    with pytest.raises(ValueError, match="must be clear"):
        _kernels.highest([scores], [np.array([0, 1], np.uint8)], [bits.copy()], 1)
    with pytest.raises(ValueError, match="must not fall"):
        _kernels.highest_of_each(scores, bits, bits.copy(), np.array([10]), np.array([1]))
    with pytest.raises(ValueError, match="one for each value"):
        _kernels.fill_where(bits[:1], scores, 0.0)
    with pytest.raises(ValueError, match="one for each value"):
        _kernels.fill_where(bits, scores, 0.0, bits[:1])
    with pytest.raises(ValueError, match="a bit for each place"):
        _kernels.at_random(bits, bits[:1].copy(), 9, 1, 0)
    with pytest.raises(ValueError, match="one for each value"):
        _kernels.at_random(bits, bits.copy(), 17, 1, 0)


@pytest.mark.parametrize("scope", ["global", "layer", "neuron", "erk", "lamp"])
@pytest.mark.parametrize("odd", [float("nan"), float("inf")])
def test_scores_that_are_not_finite_are_refused_where_kept_alone(scope: str, odd: float) -> None:
    from secateur.linear_maps import linear_maps

    model = nn.Sequential(nn.Linear(4, 3), nn.Linear(3, 2))
    mask, scores = prunable_mask(model), {"0.weight": torch.rand(3, 4), "1.weight": torch.rand(2, 3)}
    scores["0.weight"][1, 2] = odd
    with pytest.raises(PruningError, match=r"score of '0\.weight' is not finite"):
        keep(scores, mask, 0.5, scope=scope, maps=linear_maps(model))
    flags = torch.ones(3, 4, dtype=torch.bool)
    flags[1, 2] = False
    without = mask.map(lambda name, pattern: Pattern.from_tensor(flags) if name == "0.weight" else pattern)
    assert keep(scores, without, 0.5, scope=scope, maps=linear_maps(model)).kept in (9, 10)


@settings(deadline=None, max_examples=60)
@given(st.integers(1, 40), st.integers(1, 9), st.floats(0, 1, allow_subnormal=False), st.integers(0, 100))
def test_packed_bits_say_the_same_as_flags(rows: int, columns: int, density: float, seed: int) -> None:
    flags = torch.rand(rows, columns, generator=torch.Generator().manual_seed(seed)) < density**3
    flags[0] = False
    pattern = Pattern.from_tensor(flags, (0,))
    assert np.array_equal(np.unpackbits(pattern.bits(), count=pattern.size).reshape(rows, columns), flags.numpy())
    assert pattern.with_bits(pattern.bits()) == pattern
    assert torch.equal(pattern.complement().tensor(), ~flags)
    assert np.unpackbits(pattern.prunable_bits(), count=pattern.size).sum() == pattern.prunable
    values = torch.ones(rows, columns)
    zero_where(values, pattern)
    assert torch.equal(values, (~flags).float())
    other = Pattern.from_tensor(torch.rand(rows, columns, generator=torch.Generator().manual_seed(seed + 1)) < 0.5)
    for dtype in (torch.float32, torch.float16):  # the second takes another way
        values = torch.ones(rows, columns, dtype=dtype)
        zero_where(values, pattern, other)
        assert torch.equal(values.bool(), ~(flags & ~other.tensor()))
