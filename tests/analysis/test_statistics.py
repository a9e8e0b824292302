"""Statistics over replicates agree with scipy and statsmodels, and keep their promises in simulated studies."""

import itertools
import math

import numpy as np
import pytest
import scipy.integrate
import scipy.stats
from hypothesis import given
from hypothesis import strategies as st
from statsmodels.stats.power import TTestPower
from statsmodels.stats.weightstats import DescrStatsW

from secateur.analysis.statistics import (
    bootstrap_interval,
    decide,
    detectable_difference,
    estimate,
    fixed_sequence,
    hedges_g,
    p_value,
    paired_differences,
    power,
    replicates_to_settle,
    sd_upper_limit,
)
from secateur.errors import InputError

SIZES = (2, 3, 5, 10, 30)
STUDIES = 4000


@pytest.mark.parametrize("n", SIZES)
def test_the_interval_is_scipys(n: int) -> None:
    values = np.random.default_rng(n).normal(0.7, 0.02, n)
    of = estimate(values)
    low, high = scipy.stats.t.interval(0.95, n - 1, loc=values.mean(), scale=scipy.stats.sem(values))
    assert of.interval == pytest.approx((low, high), abs=1e-9)
    assert of.interval == pytest.approx(DescrStatsW(values).tconfint_mean(), abs=1e-9)


@pytest.mark.parametrize("n", SIZES)
@pytest.mark.parametrize("side", ["greater", "less", "two-sided"])
def test_the_paired_test_is_scipys(n: int, side: str) -> None:
    draw = np.random.default_rng(n)
    dense = draw.normal(0.7, 0.02, n)
    ticket = dense + draw.normal(-0.003, 0.004, n)
    differences = paired_differences(ticket, dense)
    assert p_value(differences, 0.0, side) == pytest.approx(scipy.stats.ttest_rel(ticket, dense, alternative=side).pvalue, abs=1e-9)
    larger = {"greater": "larger", "less": "smaller", "two-sided": "two-sided"}[side]
    assert p_value(differences, -0.005, side) == pytest.approx(DescrStatsW(differences).ttest_mean(-0.005, larger)[1], abs=1e-9)


@pytest.mark.parametrize("n", SIZES)
@pytest.mark.parametrize("effect", [0.1, 0.3, 0.5, 1.0])
def test_power_is_statsmodels(n: int, effect: float) -> None:
    assert power(effect, n) == pytest.approx(TTestPower().power(effect, n, 0.05, alternative="two-sided"), abs=1e-9)
    assert power(effect, n, sides=1) == pytest.approx(TTestPower().power(effect, n, 0.025, alternative="larger"), abs=1e-9)


@pytest.mark.parametrize("n", SIZES)
@pytest.mark.parametrize("effect", [0.0, 0.2, 1.0, 3.0, 8.0, 40.0])
def test_power_is_the_integral_that_defines_it(n: int, effect: float) -> None:
    # T = (Z + nc) / s with s^2 = chi2(n - 1) / (n - 1), integrated over s; where statsmodels gives nan, too
    critical = scipy.stats.t.ppf(0.975, n - 1)
    chi = scipy.stats.chi(n - 1, scale=1 / math.sqrt(n - 1))
    noncentrality = effect * math.sqrt(n)
    points = sorted({min(chi.ppf(1 - 1e-15), noncentrality / critical), chi.mean()})
    expected, _ = scipy.integrate.quad(
        lambda s: scipy.stats.norm.cdf(noncentrality - critical * s) * chi.pdf(s),
        0,
        chi.ppf(1 - 1e-16) * 1.5,
        points=points,
        limit=400,
        epsabs=1e-12,
    )
    assert power(effect, n, sides=1) == pytest.approx(expected, abs=1e-8)


@pytest.mark.parametrize("n", [3, 5, 10])
def test_the_detectable_difference_has_the_wanted_power(n: int) -> None:
    smallest = detectable_difference(0.004, n)
    assert smallest is not None
    assert TTestPower().power(smallest / 0.004, n, 0.05) == pytest.approx(0.8, abs=1e-9)


@pytest.mark.parametrize("difference", [0.0, 0.002, -0.0049, -0.004, -0.01, -0.05])
def test_the_replicates_needed_are_the_fewest_with_power(difference: float) -> None:
    sd, margin = 0.004, 0.005
    needed = replicates_to_settle(difference, sd, margin)
    effect = abs(difference + margin) / sd

    def chance(n: int) -> float:
        return TTestPower().power(effect, n, 0.025, alternative="larger")

    if needed is None:
        assert chance(1000) < 0.8
    else:
        assert chance(needed) >= 0.8
        assert needed == 2 or chance(needed - 1) < 0.8


def test_a_difference_at_the_margin_never_settles() -> None:
    assert replicates_to_settle(-0.005, 0.001, 0.005) is None


def test_the_upper_limit_of_the_spread_covers_as_it_says() -> None:
    draws = np.random.default_rng(0).normal(0, 1, (STUDIES, 3)).std(axis=1, ddof=1)
    assert np.mean([sd_upper_limit(sd, 3) > 1 for sd in draws]) == pytest.approx(0.8, abs=0.02)


def test_hedges_factor_at_two_degrees_of_freedom() -> None:
    # gamma(1) / (sqrt(1) gamma(1/2)) = 1 / sqrt(pi)
    assert hedges_g([1.0, 2.0, 3.0]) == pytest.approx(2.0 / math.sqrt(math.pi), abs=1e-12)
    assert hedges_g([1.0, 2.0]) is None
    assert hedges_g([1.0, 1.0, 1.0]) is None


def test_one_replicate_has_no_interval_and_decides_nothing() -> None:
    of = estimate([0.9])
    assert (of.mean, of.sd, of.interval) == (0.9, None, None)
    assert decide([0.5], 0.005) == "unclear"
    assert p_value([0.5]) is None
    assert power(9.0, 1) == 0.0
    assert detectable_difference(0.1, 1) is None


def test_equal_differences_decide() -> None:
    assert decide([0.0, 0.0, 0.0], 0.005) == "matches"
    assert decide([-0.01, -0.01, -0.01], 0.005) == "loses"
    assert p_value([0.0, 0.0]) == 1.0
    assert p_value([0.5, 0.5]) == 0.0
    assert p_value([-0.5, -0.5], 0.0, "greater") == 1.0
    assert detectable_difference(0.0, 3) == 0.0


def test_what_cannot_be_averaged_is_refused() -> None:
    for values in ([], [0.5, math.nan], [math.inf, 1.0]):
        with pytest.raises(InputError):
            estimate(values)
    with pytest.raises(InputError, match="not 2 and 1"):
        paired_differences([1.0, 2.0], [1.0])
    with pytest.raises(InputError, match="margin"):
        decide([0.1, 0.2], -0.1)


def test_relative_differences_are_of_the_reference() -> None:
    assert paired_differences([110.0, 90.0], [100.0, 100.0], relative=True) == pytest.approx([0.1, -0.1])


def test_a_sequence_stops_at_the_first_that_is_not_shown() -> None:
    assert fixed_sequence([True, True, False, True]) == 2
    assert fixed_sequence([False, True]) == 0
    assert fixed_sequence([True, True]) == 2
    assert fixed_sequence([]) == 0


@given(
    st.lists(st.floats(-1, 1, allow_subnormal=False), min_size=2, max_size=12),
    st.floats(0, 0.5, allow_subnormal=False),
    st.floats(0, 0.5, allow_subnormal=False),
)
def test_a_wider_margin_never_turns_a_match_into_less(differences: list[float], margin: float, more: float) -> None:
    if decide(differences, margin) == "matches":
        assert decide(differences, margin + more) == "matches"
    if decide(differences, margin + more) == "loses":
        assert decide(differences, margin) == "loses"


def paired_studies(n: int, true_difference: float, margin: float = 0.005) -> list[list[float]]:
    """Differences of simulated studies: replicates share a seed's luck, a ticket adds its own noise."""
    draw = np.random.default_rng(1000 * n + round(1e6 * abs(true_difference)))
    dense = draw.normal(0.7, 0.01, (STUDIES, n))
    ticket = dense + draw.normal(true_difference, margin, (STUDIES, n))
    return [paired_differences(a, b) for a, b in zip(ticket, dense, strict=True)]


@pytest.mark.parametrize("n", [3, 5, 10])
def test_intervals_cover_the_truth_in_simulated_studies(n: int) -> None:
    truth = -0.002
    covered = [of.low <= truth <= of.high for of in map(estimate, paired_studies(n, truth))]
    assert 0.93 <= np.mean(covered) <= 0.97


@pytest.mark.parametrize("n", [3, 5, 10])
def test_a_ticket_that_is_worse_by_the_margin_is_rarely_called_a_match(n: int) -> None:
    outcomes = [decide(differences, 0.005) for differences in paired_studies(n, -0.005)]
    assert outcomes.count("matches") / STUDIES < 0.05
    assert outcomes.count("matches") / STUDIES == pytest.approx(0.025, abs=0.01)
    assert outcomes.count("loses") / STUDIES == pytest.approx(0.025, abs=0.01)


def test_a_sequence_of_densities_keeps_the_level_of_one_test() -> None:
    # the ticket matches at the first density and is worse by the margin at the seven after it, with correlated noise
    draw = np.random.default_rng(5)
    wrong = 0
    for _ in range(STUDIES):
        luck = draw.normal(0, 0.003, (5, 1))
        differences = luck + draw.normal(0, 0.003, (5, 8)) + np.array([0.05] + [-0.005] * 7)
        wrong += fixed_sequence([decide(level, 0.005) == "matches" for level in differences.T]) > 1
    assert wrong / STUDIES < 0.05


def test_the_needed_replicates_settle_as_often_as_promised() -> None:
    needed = replicates_to_settle(0.0, 0.005, 0.005)
    assert needed is not None
    draw = np.random.default_rng(9)
    settled = [decide(draw.normal(0.0, 0.005, needed), 0.005) == "matches" for _ in range(STUDIES)]
    assert np.mean(settled) >= 0.78


def test_the_bootstrap_needs_ten_replicates() -> None:
    with pytest.raises(InputError, match="needs 10"):
        bootstrap_interval([0.1] * 9, seed=0)
    assert bootstrap_interval([0.1] * 10, seed=0).interval == (0.1, 0.1)


def test_the_bootstrap_is_the_textbook_loop() -> None:
    values = np.random.default_rng(1).exponential(1.0, 12)
    resamples = 500
    indices = np.random.Generator(np.random.PCG64(3)).integers(0, 12, (resamples, 12))
    studentised = []
    for row in indices:
        sample = values[row]
        studentised.append((sample.mean() - values.mean()) / (sample.std(ddof=1) / math.sqrt(12)))
    error = values.std(ddof=1) / math.sqrt(12)
    low = values.mean() - np.quantile(studentised, 0.975) * error
    high = values.mean() - np.quantile(studentised, 0.025) * error
    assert bootstrap_interval(values, seed=3, resamples=resamples).interval == pytest.approx((low, high), abs=1e-12)


@pytest.mark.parametrize("skewed", [False, True])
def test_the_bootstrap_covers_as_documented(skewed: bool) -> None:
    draw = np.random.default_rng(2)
    covered = 0
    studies = 1000
    for seed in range(studies):
        values = draw.exponential(1.0, 10) if skewed else draw.normal(1.0, 1.0, 10)
        of = bootstrap_interval(values, seed=seed, resamples=999)
        assert of.low is not None
        assert of.high is not None
        covered += of.low <= 1.0 <= of.high
    assert 0.92 <= covered / studies <= 0.975


def test_estimates_do_not_depend_on_the_order() -> None:
    values = [0.1, 0.4, 0.25]
    means = {round(estimate(order).mean, 15) for order in itertools.permutations(values)}
    assert len(means) == 1
