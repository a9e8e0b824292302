import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor, nn

from secateur.models import word_conv
from secateur.models.word_conv import WordConv


def twins(*arguments: int, **options: int) -> tuple[WordConv, nn.Conv1d]:
    ours, reference = WordConv(*arguments, **options).double(), nn.Conv1d(*arguments, **options).double()
    ours.load_state_dict(reference.state_dict())
    return ours, reference


def gradients(layer: nn.Conv1d, x: Tensor, weight: Tensor) -> list[Tensor]:
    x = x.clone().requires_grad_()
    return list(torch.autograd.grad((layer(x) * weight).sum(), [x, *layer.parameters()]))


def test_it_is_conv1d_in_any_layout_and_with_any_option() -> None:
    for options in ({}, {"stride": 2, "padding": 1, "dilation": 2}, {"groups": 2}, {"bias": False}):
        ours, reference = twins(6, 4, 3, **options)
        x = torch.randn(4, 11, 6, dtype=torch.float64).transpose(1, 2)
        assert torch.allclose(ours(x), reference(x))
        assert torch.allclose(ours(x.contiguous()), reference(x))
        with torch.no_grad():
            assert torch.allclose(ours(x), reference(x))


@settings(max_examples=60, deadline=None)
@given(st.integers(1, 4), st.integers(1, 5), st.integers(1, 6), st.integers(1, 5), st.integers(0, 4), st.integers(0, 12), st.booleans())
def test_few_gradients_are_gathered_to_the_same_sums(
    batch: int, channels: int, filters: int, width: int, more: int, percent: int, bias: bool
) -> None:
    ours, reference = twins(channels, filters, width, bias=bias)
    x = torch.randn(batch, width + more, channels, dtype=torch.float64).transpose(1, 2)
    upstream = torch.randn(batch, filters, more + 1, dtype=torch.float64)
    upstream *= torch.rand_like(upstream) < percent / 100
    for mine, theirs in zip(gradients(ours, x, upstream), gradients(reference, x, upstream), strict=True):
        assert torch.allclose(mine, theirs)


def test_both_ways_are_taken_and_agree(monkeypatch: pytest.MonkeyPatch) -> None:
    gathered = []
    original = word_conv._of_weight
    monkeypatch.setattr(word_conv, "_of_weight", lambda *a: gathered.append(True) or original(*a))
    ours, reference = twins(8, 6, 3)
    x = torch.randn(5, 20, 8, dtype=torch.float64).transpose(1, 2)
    for reduce, expected in ((lambda y: y.amax(2), 1), (lambda y: y.sum(2), 1)):
        found = torch.autograd.grad(reduce(ours(x)).square().sum(), list(ours.parameters()))
        wanted = torch.autograd.grad(reduce(reference(x)).square().sum(), list(reference.parameters()))
        assert all(torch.allclose(a, b) for a, b in zip(found, wanted, strict=True))
        assert len(gathered) == expected


def test_first_and_second_derivatives() -> None:
    ours, _ = twins(3, 2, 2)
    x = torch.randn(2, 3, 4, dtype=torch.float64, requires_grad=True)
    assert torch.autograd.gradcheck(lambda x: ours(x).amax(2), (x,))
    assert torch.autograd.gradgradcheck(lambda x: ours(x).pow(3), (x,))
    assert torch.autograd.gradgradcheck(lambda x, w: torch.func.functional_call(ours, {"weight": w}, (x,)).square(), (x, ours.weight))


def test_only_wanted_gradients_are_made() -> None:
    ours, _ = twins(3, 2, 2)
    ours.weight.requires_grad_(False)
    x = torch.randn(2, 3, 4, dtype=torch.float64)
    ours(x).amax(2).sum().backward()
    assert ours.weight.grad is None
    assert ours.bias.grad is not None


def test_hooks_see_its_output() -> None:
    ours, _ = twins(3, 2, 2)
    seen = []
    ours.register_forward_hook(lambda module, inputs, output: seen.append(tuple(output.shape)))
    ours(torch.randn(2, 3, 4, dtype=torch.float64))
    assert seen == [(2, 2, 3)]


def test_threads_do_not_change_the_gradient() -> None:
    torch.manual_seed(0)
    layer, x = WordConv(50, 40, 3), torch.randn(64, 30, 50).transpose(1, 2)
    threads, found = torch.get_num_threads(), []
    try:
        for count in (1, 2, 2):
            torch.set_num_threads(count)
            found.append(torch.autograd.grad(layer(x).amax(2).sum(), [layer.weight])[0])
    finally:
        torch.set_num_threads(threads)
    assert torch.equal(found[1], found[2])
    assert torch.allclose(found[0], found[1], atol=1e-4)
