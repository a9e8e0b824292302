from collections.abc import Callable

import pytest
import torch
from small_networks import drawn, loss
from torch import Tensor, nn
from torch.nn import functional as F

from secateur.linear_maps import prunable_mask
from secateur.pruning.rank_one import squares_of_examples
from secateur.registry import scores
from secateur.seeds import generator


class Net(nn.Module):
    def __init__(self, way: Callable[[nn.Module, Tensor], Tensor]) -> None:
        super().__init__()
        self.first, self.second, self.unbiased = nn.Linear(4, 4), nn.Linear(4, 3), nn.Linear(4, 4, bias=False)
        self.norm = nn.BatchNorm1d(4, track_running_stats=False)
        self.way = way

    def forward(self, x: Tensor) -> Tensor:
        return self.way(self, x)


def by_examples(model: nn.Module, x: Tensor, targets: Tensor) -> list[Tensor]:
    """The formula itself, in double precision."""
    total = [torch.zeros_like(parameter) for parameter in model.parameters()]
    for one in range(len(x)):
        value = loss(model(x[one : one + 1]), targets[one : one + 1])
        gradients = torch.autograd.grad(value, list(model.parameters()), materialize_grads=True, allow_unused=True)
        total = [its + gradient.square() for its, gradient in zip(total, gradients, strict=True)]
    return total


def batch(examples: int = 4) -> tuple[Tensor, Tensor]:
    draw = generator(3)
    return torch.randn(examples, 4, generator=draw, dtype=torch.float64), torch.randint(3, (examples,), generator=draw)


CHAINS = {
    "layers and activations": lambda net, x: net.second(F.gelu(net.unbiased(torch.tanh(net.first(x))))),
    "activations in place": lambda net, x: net.second(torch.relu_(net.unbiased(F.silu(net.first(x), inplace=True)))),
    "inputs that are flattened": lambda net, x: net.second(net.unbiased(net.first(x.view(-1, 2, 2).flatten(1)))),
    "the weights by themselves": lambda net, x: F.linear(net.unbiased(net.first(x)), net.second.weight, net.second.bias),
}


@pytest.mark.parametrize("name", CHAINS)
def test_a_chain_of_linear_layers_is_summed_in_one_pass(name: str) -> None:
    model = drawn(Net(CHAINS[name])).eval()
    x, targets = batch()
    parameters = {key: its for key, its in model.named_parameters() if not key.startswith("norm")}
    found = squares_of_examples(model, parameters, x, targets, loss)
    assert found is not None
    for value, expected in zip(found, by_examples(model, x, targets), strict=False):
        torch.testing.assert_close(value, expected, rtol=1e-10, atol=1e-14)


MEETING = {
    "a layer twice": lambda net, x: net.second(net.first(net.first(x))),
    "weights shared by hand": lambda net, x: net.second(F.linear(torch.tanh(net.first(x)), net.first.weight)),
    "a weight that the output reads": lambda net, x: net.second(net.first(x)) * net.first.weight.sum(),
    "inputs that meet before the first layer": lambda net, x: net.second(net.first(x - x.mean(0))),
    "inputs that meet between layers": lambda net, x: net.second(net.first(x) - net.first(x).mean(0).detach()),
    "a softmax over examples": lambda net, x: net.second(torch.softmax(net.first(x), 0)),
    "normalisation over examples": lambda net, x: net.second(net.norm(net.first(x))),
    "examples in another order": lambda net, x: net.second(net.first(x).flip(0)),
    "columns for examples": lambda net, x: net.second(net.first(x.T)),
    "several vectors an example": lambda net, x: net.second(net.first(torch.stack([x, x], 1))).mean(1),
    "a branch": lambda net, x: net.second(net.first(x) + x),
    "no axis of examples": lambda net, x: net.second(net.first(x)).sum(0),
    "what has no gradient": lambda net, x: net.second(net.first(x).detach()),
    "a layer that is left out": lambda net, x: net.second(x),
}


@pytest.mark.parametrize("name", MEETING)
def test_what_may_not_be_summed_so_is_left_alone(name: str) -> None:
    model = drawn(Net(MEETING[name])).eval()
    x, targets = batch()
    assert squares_of_examples(model, {"w": model.first.weight}, x, targets, lambda outputs, targets: outputs.square().sum()) is None


def test_a_loss_that_reads_weights_is_left_alone() -> None:
    model = drawn(nn.Sequential(nn.Linear(4, 3)))
    x, targets = batch()
    parameters = dict(model.named_parameters())
    assert squares_of_examples(model, parameters, x, targets, lambda *of: loss(*of) + model[0].weight.square().sum()) is None
    assert squares_of_examples(model, parameters, x[:0], targets[:0], loss) is None


def test_one_precision_in_and_out() -> None:
    model = nn.Sequential(nn.Linear(4, 4), nn.ReLU(), nn.Linear(4, 3)).half()
    x, targets = batch()
    assert squares_of_examples(model, dict(model.named_parameters()), x.half(), targets, loss) is None


@pytest.mark.parametrize("prunable", [["linear"], ["linear", "bias"]])
@pytest.mark.parametrize("way", ["layers and activations", "a branch"])
def test_fisher_is_the_same_either_way(way: str, prunable: list[str]) -> None:
    ways = {**CHAINS, "a branch": lambda net, x: net.second(net.unbiased(net.first(x)) + x)}
    model = drawn(Net(ways[way]))
    model.norm = nn.Identity()
    batches = [batch(), batch(7)]
    found = scores["fisher"](model, prunable_mask(model, prunable), batches, loss, generator(0))
    model.eval()
    sums = [sum(parts) for parts in zip(*(by_examples(model, *each) for each in batches), strict=True)]
    for (name, weight), total in zip(model.named_parameters(), sums, strict=True):
        if name in found:
            torch.testing.assert_close(found[name], weight.detach().square() / 2 * total / 11, rtol=1e-10, atol=1e-14)


def test_single_precision_agrees_with_double() -> None:
    model = drawn(nn.Sequential(nn.Linear(30, 50), nn.ReLU(), nn.Linear(50, 10)))
    draw = generator(1)
    batches = [(torch.randn(20, 30, generator=draw, dtype=torch.float64), torch.randint(10, (20,), generator=draw)) for _ in range(3)]
    exact = scores["fisher"](model, prunable_mask(model), batches, loss, generator(0))
    single = [(x.float(), targets) for x, targets in batches]
    found = scores["fisher"](model.float(), prunable_mask(model), single, loss, generator(0))
    for name, value in found.items():
        assert value.dtype is torch.float32
        torch.testing.assert_close(value.double(), exact[name], rtol=1e-4, atol=1e-9)
