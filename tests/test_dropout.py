import pytest
import torch
from torch import nn

from secateur.dropout import Dropout, foreign_dropout, set_dropout
from secateur.errors import InputError


def net() -> nn.Sequential:
    return nn.Sequential(nn.Linear(4, 4), Dropout(0.5), nn.Sequential(Dropout(0.25)))


def test_the_pattern_is_a_function_of_seed_layer_and_step() -> None:
    ones = torch.ones(8, 50)
    patterns = {}
    for seed, step in [(1, 0), (1, 1), (2, 0), (1, 2**32)]:
        model = net()
        set_dropout(model, seed, step)
        patterns[seed, step] = model[1](ones)
        set_dropout(model, seed, step)
        assert torch.equal(model[1](ones), patterns[seed, step])
    assert len({tuple(p.flatten().tolist()) for p in patterns.values()}) == 4


def test_layers_of_equal_rate_drop_different_units() -> None:
    model = nn.Sequential(Dropout(0.5), Dropout(0.5))
    set_dropout(model, 3, 7)
    ones = torch.ones(4, 64)
    assert not torch.equal(model[0](ones), model[1](ones))


def test_calls_within_a_step_differ_and_repeat_in_the_next_run() -> None:
    layer = Dropout(0.5)
    ones = torch.ones(4, 64)
    set_dropout(layer, 3, 7)
    first, second = layer(ones), layer(ones)
    assert not torch.equal(first, second)
    set_dropout(layer, 3, 7)
    assert torch.equal(layer(ones), first)
    assert torch.equal(layer(ones), second)


def test_the_memory_layout_does_not_matter() -> None:
    x = torch.randn(6, 9)
    feature_major = x.t().contiguous().t()
    layer = Dropout(0.3)
    set_dropout(layer, 0, 1)
    expected = layer(x)
    set_dropout(layer, 0, 1)
    assert torch.equal(layer(feature_major), expected)


def test_the_pattern_is_pinned() -> None:
    layer = Dropout(0.5)
    set_dropout(layer, 1, 2)
    assert layer(torch.ones(12)).int().tolist() == PINNED


PINNED = [0, 0, 2, 2, 2, 0, 0, 2, 2, 2, 2, 2]


def test_no_global_randomness_is_consumed() -> None:
    before = torch.random.get_rng_state()
    Dropout(0.5)(torch.ones(100))
    assert torch.equal(torch.random.get_rng_state(), before)


def test_threads_do_not_matter() -> None:
    layer, x = Dropout(0.5), torch.ones(400, 400)
    threads = torch.get_num_threads()
    try:
        results = []
        for count in (1, 2):
            torch.set_num_threads(count)
            set_dropout(layer, 1, 1)
            results.append(layer(x))
    finally:
        torch.set_num_threads(threads)
    assert torch.equal(*results)


@pytest.mark.parametrize("p", [0.1, 0.5, 0.9])
def test_the_rate_and_the_mean_are_right(p: float) -> None:
    y = Dropout(p)(torch.ones(1000, 1000))
    assert float((y == 0).double().mean()) == pytest.approx(p, abs=0.002)
    assert float(y.double().mean()) == pytest.approx(1, abs=0.01)
    assert len(y.unique()) == 2


def test_eval_mode_and_rate_zero_pass_the_tensor_on() -> None:
    x = torch.randn(3, 3)
    assert Dropout(0.5).eval()(x) is x
    assert Dropout(0.0)(x) is x


def test_the_gradient_is_the_pattern() -> None:
    x = torch.randn(5, 20, requires_grad=True)
    layer = Dropout(0.5)
    set_dropout(layer, 1, 1)
    layer(x).sum().backward()
    set_dropout(layer, 1, 1)
    assert torch.equal(x.grad, layer(torch.ones(5, 20)))


def test_locked_dropout_shares_its_pattern_over_time() -> None:
    y = Dropout(0.5, locked=1)(torch.ones(3, 7, 40))
    assert torch.equal(y, y[:, :1].expand_as(y))
    assert not torch.equal(y[0], y[1])


def test_other_types_are_kept() -> None:
    assert Dropout(0.5)(torch.ones(4, dtype=torch.float64)).dtype is torch.float64
    assert Dropout(0.5)(torch.ones(4, dtype=torch.bfloat16)).dtype is torch.bfloat16


@pytest.mark.parametrize("p", [-0.1, 1.0, 2])
def test_impossible_rates_are_refused(p: float) -> None:
    with pytest.raises(InputError, match="dropout rate"):
        Dropout(p)


def test_foreign_dropout_is_reported_where_it_draws() -> None:
    model = nn.ModuleDict(
        {
            "ours": Dropout(0.5),
            "theirs": nn.Dropout(0.5),
            "off": nn.Dropout(0.0),
            "stack": nn.LSTM(4, 4, num_layers=2, dropout=0.1),
            "one_layer": nn.GRU(4, 4),
            "attention": nn.MultiheadAttention(4, 2, dropout=0.1),
        }
    )
    assert foreign_dropout(model) == ["theirs", "stack", "attention"]
