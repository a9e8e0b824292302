import pytest
import torch
import torch.nn.functional as F

from secateur.data.dataset import DataShape
from secateur.errors import InputError
from secateur.linear_maps import linear_maps
from secateur.registry import models

CIFAR = DataShape(10, image=(3, 32, 32))


@pytest.mark.parametrize(
    ("name", "convolutions", "weights"), [("conv-2", 38e3, 4.3e6), ("conv-4", 260e3, 2.4e6), ("conv-6", 1.1e6, 2.26e6)]
)
def test_the_weights_are_those_of_frankle_and_carbins_figure_2(name: str, convolutions: float, weights: float) -> None:
    model = models[name](CIFAR, torch.Generator().manual_seed(0))
    # For Conv-6 the table says 1.7 million in all, which the layers it names do not add up to.
    sizes = {entry.parameter: model.get_parameter(entry.parameter).numel() for entry in linear_maps(model)}
    assert sum(sizes.values()) == pytest.approx(weights, rel=0.03)
    assert sum(size for key, size in sizes.items() if key.startswith("convolutions")) == pytest.approx(convolutions, rel=0.05)
    assert model(torch.randn(2, 3, 32, 32)).shape == (2, 10)


def test_conv_2_by_its_formula() -> None:
    model = models["conv-2"](DataShape(3, image=(1, 5, 4)), torch.Generator().manual_seed(0), filters=(2,), hidden=(6,))
    x = images = torch.randn(2, 1, 5, 4)
    for layer in model.convolutions:
        x = F.relu(F.conv2d(x, layer.weight, layer.bias, padding=1))
    x = torch.stack([x[:, :, r : r + 2, c : c + 2].amax((2, 3)) for r in (0, 2) for c in (0, 2)], 2).flatten(1)
    x = F.relu(F.linear(x, model.hidden[0].weight, model.hidden[0].bias))
    assert torch.allclose(model(images), F.linear(x, model.output.weight, model.output.bias), atol=1e-5)


def test_it_refuses_what_it_cannot_read() -> None:
    with pytest.raises(InputError, match="images"):
        models["conv-4"](DataShape(2, image=(784,)), torch.Generator())
    with pytest.raises(InputError, match="too small"):
        models["conv-6"](DataShape(2, image=(1, 7, 7)), torch.Generator())
