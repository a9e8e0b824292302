"""The bench: what it reports, not how fast."""

from __future__ import annotations

import pytest
import torch

from secateur.errors import InputError
from secateur.sparse.bench import _crossing, _DenseFeatureMajor, _DenseOneDNN, bench, environment, measure_crossovers, timed


def test_the_crossing_lies_between_the_densities_that_bracket_it() -> None:
    # Speed-up 0.5 at density 0.6 and 1.5 at 0.2: equal at 0.4, in the middle.
    assert _crossing([(0.6, 0.5), (0.2, 1.5)]) == 0.4
    assert _crossing([(0.7, 1.1), (0.5, 2.0)]) == 0.7, "sparse everywhere that was measured"
    assert _crossing([(0.7, 0.2), (0.05, 0.9)]) == 0.0, "never sparse"


def test_ways_take_turns() -> None:
    calls: list[str] = []
    found = timed({"a": lambda: calls.append("a"), "b": lambda: calls.append("b")}, rounds=2, warm_up=1)
    assert "".join(calls) == "ab" + "aabb" * 2
    middle, low, high = found["a"]
    assert 0 <= low <= middle <= high


def test_inference_is_timed_against_dense_with_equal_threads() -> None:
    before = torch.get_num_threads()
    timings = list(bench("inference", densities=(0.05,), rounds=1, threads=1))
    assert torch.get_num_threads() == before
    assert [timing.way for timing in timings] == ["dense", "sparse"] * 2
    assert [timing.speedup for timing in timings if timing.way == "dense"] == [1.0, 1.0]
    assert set(timings[0].row()) == {"what", "case", "density", "way", "seconds", "low", "high", "speedup", "round_trip_ns"}
    assert {timing.round_trip_ns for timing in timings} == {0.0}
    assert set(environment()) == {"instruction_set", "threads", "torch"}


def test_a_layer_is_held_against_the_best_of_the_dense_ways() -> None:
    linear = [timing for timing in bench("layers", densities=(0.01,), rounds=1, threads=1) if timing.case == "linear 1024 x 1024, batch 64"]
    seconds = {timing.way: timing.seconds for timing in linear}
    one_dnn = ["dense, oneDNN"] if torch.backends.mkldnn.is_available() else []
    dense = ["dense", "dense, feature-major", *one_dnn]
    assert list(seconds) == [*dense, "sparse", "sparse, feature-major"]
    best = min(seconds[way] for way in dense)
    assert all(timing.speedup == best / timing.seconds for timing in linear)


def test_the_feature_major_dense_layer_is_the_dense_layer() -> None:
    dense = torch.nn.Linear(5, 3)
    x = torch.randn(4, 5)
    torch.testing.assert_close(_DenseFeatureMajor(dense)(x.t()), dense(x).t())


@pytest.mark.skipif(not torch.backends.mkldnn.is_available(), reason="this torch was built without oneDNN")
def test_the_one_dnn_dense_layer_is_the_dense_layer() -> None:
    dense = torch.nn.Linear(5, 3)
    one_dnn = _DenseOneDNN(dense)
    x, dy = torch.randn(4, 5, requires_grad=True), torch.randn(4, 3)
    torch.testing.assert_close(one_dnn(x), dense(x))
    expected = torch.autograd.grad(dense(x), (x, dense.weight, dense.bias), dy)
    torch.testing.assert_close(torch.autograd.grad(one_dnn(x), (x, one_dnn.linear.weight, one_dnn.linear.bias), dy), expected)


def test_an_unknown_kind_is_refused() -> None:
    with pytest.raises(InputError, match="layers"):
        list(bench("everything"))  # type: ignore[arg-type]


def test_crossovers_are_measured_for_layers_of_every_kind() -> None:
    table = measure_crossovers(("linear", "conv", "embedding"), batches=(4,), sizes=(16,), rounds=1)
    kinds = [(entry.kind, entry.rows, entry.columns, entry.batch) for entry in table.entries]
    assert kinds[0] == ("linear", 16, 16, 4)
    for kind, rows, columns in (("conv", 100, 400), ("conv", 100, 1200), ("embedding", 25_000, 100)):
        assert [batch for *shape, batch in kinds if shape == [kind, rows, columns]] == [16, 64]
    assert all(0 <= entry.density <= 0.7 for entry in table.entries)
    assert "torch" in table.measured_on
