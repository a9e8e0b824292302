"""What every registered network must do, ours and those still to come."""

import copy

import pytest
import torch
from torch import Tensor, nn

from secateur.data.dataset import DataShape
from secateur.dropout import foreign_dropout, set_dropout
from secateur.linear_maps import linear_maps, parameter_kinds
from secateur.registry import models

WORDS = DataShape(12, vocabulary=12, length=6, source_vocabulary=12)
IMAGES = DataShape(12, image=(1, 8, 8))
SMALL = {
    "lstm-lm-small": {"embedding": 8, "hidden": 8},
    "lstm-lm-medium": {"embedding": 8, "hidden": 8, "tied": True},
    "lstm-lm-large": {"embedding": 8, "hidden": 8},
    "lstm-lm-wide": {"embedding": 8, "hidden": 12},
    "transformer": {"width": 8, "inner": 8, "heads": 2},
    "bi-lstm": {"hidden": 8},
    "lstm-v1": {"hidden": (8, 4)},
    "lstm-v2": {"hidden": (8, 8, 4)},
    "conv-2": {"filters": (4,), "hidden": (8,)},
    "conv-4": {"filters": (4, 4), "hidden": (8,)},
    "conv-6": {"filters": (4, 4, 4), "hidden": (8,)},
}
NAMES = models.names()


def build(name: str, seed: int = 0) -> nn.Module:
    return models[name](IMAGES if reads_images(name) else WORDS, torch.Generator().manual_seed(seed), **SMALL.get(name, {}))


def reads_images(name: str) -> bool:
    return name.startswith(("lenet", "conv-"))


def inputs(name: str) -> tuple[Tensor, ...]:
    generator = torch.Generator().manual_seed(1)
    if reads_images(name):
        return (torch.randn(4, 1, 8, 8, generator=generator),)
    tokens = torch.randint(3, 12, (4, 6), generator=generator)
    tokens[1, 4:] = 0
    return (tokens, tokens[:, :5]) if name == "transformer" else (tokens,)


def loss(model: nn.Module, given: tuple[Tensor, ...]) -> Tensor:
    logits = model(*given).flatten(0, -2)
    return nn.functional.cross_entropy(logits, torch.arange(len(logits)) % 10 + 2)


@pytest.mark.parametrize("name", NAMES)
def test_its_bits_follow_from_the_generator_and_the_place_alone(name: str) -> None:
    before = torch.random.get_rng_state()
    first, again = build(name), build(name)
    for model in (first, again):
        set_dropout(model, 5, 9)
    assert torch.equal(loss(first, inputs(name)), loss(again, inputs(name)))
    assert torch.equal(torch.random.get_rng_state(), before)
    assert foreign_dropout(first) == []
    other = build(name, seed=1)
    assert any(not torch.equal(a, b) for a, b in zip(first.parameters(), other.parameters(), strict=True))


@pytest.mark.parametrize("name", NAMES)
def test_it_learns_its_batch_and_its_padding_stays_zero(name: str) -> None:
    model, given = build(name), inputs(name)
    optimizer = torch.optim.AdamW(model.parameters(), lr=0.02, weight_decay=0.1)
    model.eval()
    start = loss(model, given).item()
    for step in range(15):
        set_dropout(model.train(), 0, step)
        optimizer.zero_grad()
        loss(model, given).backward()
        optimizer.step()
    assert loss(model.eval(), given).item() < start
    for entry in linear_maps(model):
        assert model.get_parameter(entry.parameter)[list(entry.excluded_rows)].count_nonzero() == 0


@pytest.mark.parametrize("name", NAMES)
def test_copies_and_state_dicts_are_the_same_network(name: str) -> None:
    model, given = build(name).eval(), inputs(name)
    expected = model(*given)
    assert torch.equal(copy.deepcopy(model)(*given), expected)
    other = build(name, seed=1).eval()
    other.load_state_dict(model.state_dict())
    assert torch.equal(other(*given), expected)


@pytest.mark.parametrize("name", NAMES)
def test_every_matrix_is_a_linear_map_and_all_else_a_bias_or_a_norm(name: str) -> None:
    model = build(name)
    kinds = parameter_kinds(model)
    for key, parameter in model.named_parameters():
        assert (kinds[key] in ("bias", "norm")) == (parameter.dim() == 1), key


@pytest.mark.parametrize("name", NAMES)
def test_hessian_vector_products_are_right(name: str) -> None:
    """GraSP and Fisher need second derivatives: in float32 as in float64, where no fused kernel is used."""
    model, given = build(name).eval(), inputs(name)
    double = copy.deepcopy(model).double()
    products = []
    for network, x in ((model, given), (double, tuple(t.double() if t.is_floating_point() else t for t in given))):
        parameters = list(network.parameters())
        gradients = torch.autograd.grad(loss(network, x), parameters, create_graph=True)
        products.append(torch.autograd.grad(sum(gradient.sum() for gradient in gradients), parameters, allow_unused=True))
    scale = max(float(product.abs().max()) for product in products[1] if product is not None)
    for found, expected in zip(*products, strict=True):
        if expected is not None:
            assert torch.allclose(found.double(), expected, atol=2e-4 * scale)


@pytest.mark.parametrize("name", [name for name in NAMES if not reads_images(name) and not name.startswith("lstm-lm")])
def test_an_example_does_not_depend_on_those_beside_it(name: str) -> None:
    model, given = build(name).eval(), inputs(name)
    together = model(*given)
    alone = model(*(tensor[2:3] for tensor in given))
    assert torch.allclose(together[2:3], alone, atol=1e-5)
