import pytest
import torch

from secateur.data.dataset import DataShape
from secateur.errors import InputError
from secateur.linear_maps import linear_maps
from secateur.registry import models


def test_lenet_300_100_has_its_266_610_parameters_and_flattens_inside() -> None:
    model = models["lenet-300-100"](DataShape(10, image=(1, 28, 28)), torch.Generator().manual_seed(0))
    assert sum(p.numel() for p in model.parameters()) == 784 * 300 + 300 + 300 * 100 + 100 + 100 * 10 + 10
    assert model(torch.randn(5, 1, 28, 28)).shape == (5, 10)
    assert [entry.parameter for entry in linear_maps(model)] == ["hidden.0.weight", "hidden.1.weight", "output.weight"]


def test_it_computes_what_it_says() -> None:
    model = models["lenet-300-100"](DataShape(2, image=(2, 2)), torch.Generator().manual_seed(0), hidden=(3,))
    x = torch.randn(4, 2, 2)
    first, output = model.hidden[0], model.output
    expected = torch.relu(x.reshape(4, 4) @ first.weight.T + first.bias) @ output.weight.T + output.bias
    assert torch.allclose(model(x), expected)


def test_it_refuses_words() -> None:
    with pytest.raises(InputError, match="images"):
        models["lenet-300-100"](DataShape(2, vocabulary=10), torch.Generator())
