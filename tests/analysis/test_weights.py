"""Histograms, heat maps, neighbours and radar corners of weights that can be checked by eye."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from secateur.analysis.weights import heat_map, histogram, nearest_words, radar
from secateur.errors import InputError


def test_a_histogram_counts_kept_weights_only() -> None:
    of = histogram(np.array([[-1.0, 0.0], [0.2, 1.0]]), np.array([[True, False], [True, True]]), bins=4)
    assert of.edges.tolist() == [-1.0, -0.5, 0.0, 0.5, 1.0]
    assert of.counts.tolist() == [1, 0, 1, 1]


def test_what_lies_beyond_the_reach_is_in_the_end_bins() -> None:
    assert histogram(np.array([-9.0, 0.1, 9.0]), bins=2, reach=1.0).counts.tolist() == [1, 2]


def test_nothing_kept_is_an_empty_histogram() -> None:
    assert histogram(np.ones(3), np.zeros(3, bool), bins=2).counts.tolist() == [0, 0]


def test_a_small_matrix_is_its_own_heat_map() -> None:
    assert heat_map(np.array([[1.0, -2.0], [0.0, 3.0]])).tolist() == [[1.0, 2.0], [0.0, 3.0]]


def test_blocks_hold_the_root_mean_square() -> None:
    values = np.array([[3.0, 4.0, 0.0, 0.0], [3.0, 4.0, 0.0, 2.0]])
    assert heat_map(values, most=2) == pytest.approx(np.sqrt([[12.5, 0.0], [12.5, 2.0]]))


@given(st.integers(1, 130), st.integers(1, 130))
def test_a_heat_map_keeps_the_energy(rows: int, columns: int) -> None:
    values = np.random.default_rng(rows * 131 + columns).normal(size=(rows, columns))
    grid = heat_map(values, most=16)
    assert grid.shape == (min(rows, 16), min(columns, 16))
    heights = np.diff(np.append(np.arange(grid.shape[0]) * rows // grid.shape[0], rows))
    widths = np.diff(np.append(np.arange(grid.shape[1]) * columns // grid.shape[1], columns))
    assert (grid**2 * heights[:, None] * widths).sum() == pytest.approx((values**2).sum())


def test_a_convolution_is_flattened_behind_its_outputs() -> None:
    assert heat_map(np.ones((2, 3, 4))).shape == (2, 12)
    assert heat_map(np.ones(5)).shape == (1, 5)


WORDS = ["<pad>", "<unk>", "king", "queen", "cabbage", "gone"]
VECTORS = np.array([[0, 0], [1, 0.1], [1, 0], [0.9, 0.1], [-1, 0.2], [0, 0]], dtype=float)


def test_neighbours_by_cosine_without_padding_unknown_and_pruned_words() -> None:
    (first, similarity), (second, _) = nearest_words(VECTORS, WORDS, "king")
    assert (first, second) == ("queen", "cabbage")
    assert similarity == pytest.approx(0.9 / np.hypot(0.9, 0.1))


def test_words_that_are_not_there_are_refused() -> None:
    with pytest.raises(InputError, match="vocabulary"):
        nearest_words(VECTORS, WORDS, "prince")
    with pytest.raises(InputError, match="nothing is left"):
        nearest_words(VECTORS, WORDS, "gone")
    with pytest.raises(InputError, match="do not fit"):
        nearest_words(VECTORS[:3], WORDS, "king")


def test_a_radar_is_closed_with_zero_half_way() -> None:
    corners = radar(np.array([[1.0, 0.0, -1.0, 0.0]]), [0], dimensions=4)
    assert corners.shape == (1, 5, 2)
    assert corners[0].tolist() == pytest.approx(np.array([[0, 1], [0.5, 0], [0, 0], [-0.5, 0], [0, 1]]), abs=1e-12)
