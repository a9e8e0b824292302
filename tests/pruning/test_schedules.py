import math

import pytest
import torch

from secateur.errors import PruningError, UnknownName
from secateur.masks import Mask
from secateur.pruning.schedules import Dynamic, EarlyBird, Gradual, Iterative, OneShot, SoftMovement, exponential_densities
from secateur.registry import schedules
from secateur.steps import Step


def test_iterative_levels_keep_a_fraction_of_what_is_left() -> None:
    assert Iterative(keep_each=0.5, levels=3).densities() == (0.5, 0.25, 0.125)
    assert len(Iterative().densities()) == 20
    assert Iterative().densities()[-1] == pytest.approx(0.0115, abs=1e-4)


def test_one_shot_densities_may_be_given_as_compression() -> None:
    assert OneShot(compression=(0, 0.5, 2)).densities() == pytest.approx((1.0, 0.31622776, 0.01))
    assert OneShot(density=(0.2, 0.1)).densities() == (0.2, 0.1)
    assert OneShot().densities() == (0.1,)
    with pytest.raises(PruningError, match="not both"):
        OneShot(density=(0.1,), compression=(1,))


@pytest.mark.parametrize("power", [1.0, 3.0])
@pytest.mark.parametrize(("begin", "end", "every"), [(0, 100, 10), (7, 93, 9)])
def test_gradual_is_the_published_formula_at_every_step(power: float, begin: int, end: int, every: int) -> None:
    gradual = Gradual(
        initial=0.9, final=(0.05,), begin=Step.parse(f"{begin}it"), end=Step.parse(f"{end}it"), every=Step.parse(f"{every}it"), power=power
    )
    ramp = gradual.ramp(0.05, total_steps=120, steps_per_epoch=40)
    initial_sparsity, final_sparsity = 1 - 0.9, 1 - 0.05
    for step in range(121):
        t = min(max(step, begin), end)
        sparsity = final_sparsity + (initial_sparsity - final_sparsity) * (1 - (t - begin) / (end - begin)) ** power
        assert ramp.value_at(step) == pytest.approx(1 - sparsity, abs=1e-12)
    densities = [ramp.value_at(step) for step in range(121)]
    assert densities == sorted(densities, reverse=True)


def test_gradual_updates_reach_the_final_density_even_off_the_beat() -> None:
    ramp = Gradual(begin=Step.parse("2it"), end=Step.parse("9it"), every=Step.parse("3it")).ramp(0.1, 10, 5)
    assert [step for step in range(12) if ramp.updates_at(step)] == [2, 5, 8, 9]
    assert ramp.value_at(9) == 0.1


def test_gradual_in_epochs_ends_at_three_quarters_unless_told() -> None:
    ramp = Gradual(begin=Step.parse("1ep"), every=Step.parse("0.5ep")).ramp(0.1, 400, 10)
    assert (ramp.begin, ramp.end, ramp.every) == (10, 300, 5)


def test_gradual_that_does_not_fit_is_refused() -> None:
    with pytest.raises(PruningError, match="do not lie in order"):
        Gradual(end=Step.parse("500it")).ramp(0.1, 100, 10)
    with pytest.raises(PruningError, match="above the initial"):
        Gradual(initial=0.5, final=(0.6,))
    with pytest.raises(PruningError, match="less than one step"):
        Gradual(every=Step.parse("0.01ep")).ramp(0.1, 100, 10)


def test_a_ramp_without_length_prunes_at_once() -> None:
    ramp = Gradual(begin=Step.parse("5it"), end=Step.parse("5it")).ramp(0.1, 100, 10)
    assert [ramp.value_at(step) for step in (4, 5, 6)] == [1.0, 0.1, 0.1]
    assert [step for step in range(100) if ramp.updates_at(step)] == [5]


def test_soft_movements_threshold_rises_as_densities_fall() -> None:
    soft = SoftMovement(threshold=0.4, begin=Step.parse("2it"), end=Step.parse("12it"), every=Step.parse("5it"), power=3.0)
    ramp = soft.ramp(total_steps=20, steps_per_epoch=5)
    assert [step for step in range(21) if ramp.updates_at(step)] == [2, 7, 12]
    assert [ramp.value_at(step) for step in (0, 2, 7, 12, 20)] == pytest.approx([0, 0, 0.4 * (1 - 0.5**3), 0.4, 0.4])
    assert SoftMovement().ramp(400, 10).end == 300
    with pytest.raises(PruningError, match="soft-movement: begin = 0 and end = 500 do not lie in order"):
        SoftMovement(end=Step.parse("500it")).ramp(100, 10)


def test_dynamic_drop_fraction_is_rigls_cosine() -> None:
    renewal = Dynamic(method="rigl", drop=0.3, every=Step.parse("10it"), end=Step.parse("75it")).renewal(100, 10)
    assert [step for step in range(101) if renewal.updates_at(step)] == [10, 20, 30, 40, 50, 60, 70]
    for step in range(75):
        assert renewal.drop_fraction(step) == pytest.approx(0.3 / 2 * (1 + math.cos(step * math.pi / 75)))
    assert renewal.drop_fraction(75) == 0.0
    constant = Dynamic(method="set", drop=0.3, decay="constant").renewal(400, 10)
    assert (constant.end, constant.drop_fraction(0), constant.drop_fraction(299)) == (300, 0.3, 0.3)


def test_an_unknown_dynamic_method_is_refused() -> None:
    with pytest.raises(UnknownName, match="rigl"):
        Dynamic(method="riggle")


def mask(*kept: int) -> Mask:
    flags = torch.zeros(10, dtype=torch.bool)
    flags[list(kept)] = True
    return Mask({"w": flags})


def test_early_bird_settles_when_the_window_is_quiet() -> None:
    early = EarlyBird(window=2, threshold=0.25)
    a, b, c = mask(0, 1), mask(0, 2), mask(7, 8)
    assert not early.settled([a, b])
    assert early.settled([a, b, a])
    assert not early.settled([a, c, c])
    assert early.settled([c, a, b, a])
    assert not EarlyBird(window=2, threshold=0.2).settled([a, b, a])


def test_early_bird_against_the_whole_window_sees_a_drift() -> None:
    drifting = [mask(0, 1), mask(1, 2), mask(2, 3)]
    assert EarlyBird(window=2, threshold=0.25, compare="last").settled(drifting)
    assert not EarlyBird(window=2, threshold=0.25, compare="window").settled(drifting)


def test_rounds_are_exponential_and_end_exactly() -> None:
    assert exponential_densities(1.0, 0.01, 2) == (0.1, 0.01)
    densities = exponential_densities(0.8, 0.003, 100)
    assert densities[-1] == 0.003
    ratios = [new / old for old, new in zip((0.8, *densities), densities, strict=False)]
    assert ratios == pytest.approx([(0.003 / 0.8) ** 0.01] * 100)
    assert exponential_densities(1.0, 0.0, 4) == (0.75, 0.5, 0.25, 0.0)


@pytest.mark.parametrize("name", ["one-shot", "iterative", "gradual", "dynamic", "early-bird"])
def test_a_schedule_is_made_from_its_options_and_has_levels(name: str) -> None:
    schedule = schedules[name]()
    assert len(schedule.densities()) >= 1
    assert schedule == schedules[name]()
    hash(schedule)


@pytest.mark.parametrize(
    "make",
    [
        lambda: OneShot(density=(1.2,)),
        lambda: Iterative(keep_each=1),
        lambda: OneShot(density=()),
        lambda: Dynamic(drop=2.0),
        lambda: SoftMovement(strength=()),
        lambda: SoftMovement(strength=(1.0, -1.0)),
        lambda: SoftMovement(threshold=1.0),
        lambda: SoftMovement(threshold=0.0),
        lambda: SoftMovement(rate=0.0),
        lambda: SoftMovement(power=0.0),
    ],
)
def test_impossible_settings_are_refused(make: object) -> None:
    with pytest.raises(PruningError):
        make()  # type: ignore[operator]
