import math

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from secateur.errors import PruningError
from secateur.masks import Mask, Pattern
from secateur.pruning.dynamic import Renewed, clear
from secateur.registry import dynamic_methods
from secateur.seeds import generator

WEIGHTS = {"w": torch.tensor([[0.9, -0.1, 0.0, 0.0], [-0.2, 0.0, 0.8, 0.0]])}
MASK = Mask({"w": torch.tensor([[True, True, False, False], [True, False, True, False]])})


def renew(method: str, gradients: dict[str, torch.Tensor] | None, drop: float, mask: Mask = MASK, seed: int = 0) -> Renewed:
    renewed: Renewed = dynamic_methods[method](
        WEIGHTS if mask is MASK else {n: torch.rand(p.shape) for n, p in mask.patterns.items()}, gradients, mask, drop, generator(seed)
    )
    return renewed


def test_rigl_by_hand() -> None:
    # Kept |w|: .9 .1 .2 .8. Half of four go: .1 and .2. Largest |g| off the two that stay: -7 at (0, 3), 5 at (1, 1).
    gradients = {"w": torch.tensor([[9.0, 1.0, 2.0, -7.0], [3.0, 5.0, 9.0, 0.5]])}
    renewed = renew("rigl", gradients, 0.5)
    assert renewed.mask["w"].tolist() == [[True, False, False, True], [False, True, True, False]]
    assert renewed.dropped["w"].tolist() == [[False, True, False, False], [True, False, False, False]]
    assert renewed.grown["w"].tolist() == [[False, False, False, True], [False, True, False, False]]


def test_rigl_may_grow_again_what_it_dropped_which_then_stays_as_it_was() -> None:
    gradients = {"w": torch.tensor([[0.0, 8.0, 2.0, -7.0], [3.0, 5.0, 0.0, 0.5]])}
    renewed = renew("rigl", gradients, 0.5)
    assert renewed.mask["w"].tolist() == [[True, True, False, True], [False, False, True, False]]
    assert renewed.grown["w"].tolist() == [[False, False, False, True], [False, False, False, False]]
    assert renewed.dropped["w"].tolist() == [[False, False, False, False], [True, False, False, False]]


def test_set_by_hand() -> None:
    # Two go (.1 and .2); two of the six places off .9 and .8 are drawn: over many seeds each alike.
    counts = torch.zeros(2, 4)
    for seed in range(600):
        mask = renew("set", None, 0.5, seed=seed).mask["w"]
        assert mask[0, 0]
        assert mask[1, 2]
        assert mask.sum() == 4
        counts += mask
    drawn = counts[counts < 600]
    assert len(drawn) == 6
    assert (drawn - 200).abs().max() < 5 * (600 / 3 * 2 / 3) ** 0.5


def test_set_repeats_with_its_seed_and_draws_by_name() -> None:
    assert renew("set", None, 0.5, seed=3).mask == renew("set", None, 0.5, seed=3).mask
    assert len({renew("set", None, 0.5, seed=seed).mask for seed in range(20)}) > 5


def test_snfs_moves_weights_to_the_layer_of_larger_momentum() -> None:
    mask = Mask({"a": torch.tensor([True] * 4 + [False] * 4), "b": torch.tensor([True] * 4 + [False] * 4)})
    weights = {"a": torch.tensor([4.0, 3, 2, 1, 0, 0, 0, 0]), "b": torch.tensor([4.0, 3, 2, 1, 0, 0, 0, 0])}
    momentum = {"a": torch.tensor([3.0, 3, 3, 3, 9, 8, 7, 6]), "b": torch.tensor([1.0, 1, 1, 1, 0, 0, 0, 5])}
    renewed = dynamic_methods["snfs"](weights, momentum, mask, 0.5, generator(0))
    # Each drops two; of the four, three quarters (3) go to a, one to b.
    assert renewed.mask["a"].tolist() == [True, True, False, False, True, True, True, False]
    assert renewed.mask["b"].tolist() == [True, True, False, False, False, False, False, True]


def test_snfs_gives_what_a_full_layer_cannot_take_to_the_others() -> None:
    mask = Mask({"a": torch.tensor([True] * 4), "b": torch.tensor([True] * 4 + [False] * 4)})
    weights = {"a": torch.arange(4.0), "b": torch.arange(8.0)}
    momentum = {"a": torch.full((4,), 100.0), "b": torch.ones(8)}
    renewed = dynamic_methods["snfs"](weights, momentum, mask, 0.5, generator(0))
    assert (renewed.mask.pattern("a").kept, renewed.mask.pattern("b").kept) == (4, 4)


@settings(deadline=None, max_examples=60)
@given(
    st.sampled_from(["static", "set", "rigl", "snfs"]),
    st.floats(0, 1, allow_subnormal=False),
    st.floats(0, 1, allow_subnormal=False),
    st.integers(0, 100),
)
def test_the_number_of_weights_never_changes_and_padding_is_never_grown(method: str, density: float, drop: float, seed: int) -> None:
    draw = torch.Generator().manual_seed(seed)
    first = torch.rand(6, 5, generator=draw) < density
    first[0] = False
    mask = Mask({"e": Pattern.from_tensor(first, (0,)), "w": torch.rand(4, 4, generator=draw) < density})
    gradients = {"e": torch.randn(6, 5, generator=draw), "w": torch.randn(4, 4, generator=draw)}
    renewed = renew(method, gradients, drop, mask, seed)
    assert renewed.mask.kept == mask.kept
    assert not renewed.mask["e"][0].any()
    assert (renewed.dropped & ~mask).kept == 0
    assert (renewed.grown & mask).kept == 0
    assert (mask & ~renewed.dropped) | renewed.grown == renewed.mask
    if method != "snfs":
        assert renewed.mask.densities() == mask.densities()
    for name, pattern in mask.patterns.items():
        assert renewed.dropped.pattern(name).kept <= math.floor(drop * pattern.kept + 0.5)


def test_clear_zeroes_moments_and_leaves_step_counts() -> None:
    weight = torch.nn.Parameter(torch.ones(2, 2))
    adam = torch.optim.Adam([weight], amsgrad=True)
    weight.sum().backward()
    adam.step()
    clear(adam.state[weight], Pattern.from_tensor(torch.tensor([[True, False], [False, False]])))
    state = adam.state[weight]
    for moment in ("exp_avg", "exp_avg_sq", "max_exp_avg_sq"):
        assert state[moment][0, 0] == 0
        assert (state[moment].flatten()[1:] > 0).all()
    assert state["step"] == 1


def test_methods_that_need_gradients_say_so() -> None:
    with pytest.raises(PruningError, match="needs dense gradients"):
        renew("rigl", None, 0.3)
    assert dynamic_methods.entry("rigl").traits == {"needs_gradients": True, "needs_momentum": False}
    with pytest.raises(PruningError, match="drop fraction"):
        renew("set", None, 1.3)
