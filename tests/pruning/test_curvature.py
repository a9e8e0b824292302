import copy

import pytest
import torch
from small_networks import batches_of, loss, mlp
from torch import Tensor, nn
from torch.func import functional_call

from secateur.linear_maps import prunable_mask
from secateur.registry import scores
from secateur.seeds import generator


def hessian_diagonal(model: nn.Module, name: str) -> Tensor:
    model = copy.deepcopy(model).eval()
    rest = {key: parameter.detach() for key, parameter in model.named_parameters() if key != name}
    weight = model.get_parameter(name).detach()

    def total(vector: Tensor) -> Tensor:
        weights = {**rest, name: vector.view_as(weight)}
        return torch.stack([loss(functional_call(model, weights, (inputs,)), targets) for inputs, targets in batches_of(model)]).sum()

    return torch.autograd.functional.hessian(total, weight.flatten()).diagonal().view_as(weight)


def test_exact_obd_is_half_w_squared_times_the_hessians_diagonal() -> None:
    model = mlp()
    found = scores["obd"](model, prunable_mask(model, ["linear", "bias"]), batches_of(model), loss, generator(0), exact=True)
    for name, values in found.items():
        expected = model.get_parameter(name).detach().square() / 2 * hessian_diagonal(model, name)
        torch.testing.assert_close(values, expected, rtol=1e-5, atol=1e-10)


def test_hutchinsons_estimate_comes_near_and_repeats() -> None:
    model = mlp()
    mask = prunable_mask(model)
    exact = scores["obd"](model, mask, batches_of(model), loss, generator(0), exact=True)

    def estimate(seed: int, probes: int) -> dict[str, Tensor]:
        found: dict[str, Tensor] = scores["obd"](model, mask, batches_of(model), loss, generator(seed), probes=probes)
        return found

    for name in mask:
        few, many = (sum((estimate(seed, probes)[name] - exact[name]).norm() for seed in range(4)) for probes in (4, 256))
        assert many < 0.4 * few
        assert torch.equal(estimate(1, 4)[name], estimate(1, 4)[name])


def test_fisher_is_the_mean_square_of_single_examples_gradients() -> None:
    model = mlp()
    mask = prunable_mask(model)
    found = scores["fisher"](model, mask, batches_of(model), loss, generator(0))
    still = copy.deepcopy(model).eval()
    for name in mask:
        squares = []
        for inputs, targets in batches_of(model):
            for one in range(len(targets)):
                weight = still.get_parameter(name)
                squares.append(torch.autograd.grad(loss(still(inputs[one : one + 1]), targets[one : one + 1]), weight)[0].square())
        weight = model.get_parameter(name).detach()
        torch.testing.assert_close(found[name], weight.square() / 2 * torch.stack(squares).mean(0), rtol=1e-6, atol=1e-12)


def test_fisher_by_batch_squares_the_mean_gradient() -> None:
    model = mlp()
    mask = prunable_mask(model)
    by_batch = scores["fisher"](model, mask, batches_of(model, count=1), loss, generator(0), gradients="batch")
    gradient = scores["gradient"](model, mask, batches_of(model, count=1), loss, generator(0))
    for name in mask:
        torch.testing.assert_close(by_batch[name], (model.get_parameter(name).detach() * gradient[name]).square() / 2)


@pytest.mark.parametrize(("score", "signed"), [("obd", True), ("fisher", False)])
def test_obd_is_signed_and_fisher_is_not(score: str, signed: bool) -> None:
    model = mlp()
    found = scores[score](model, prunable_mask(model), batches_of(model), loss, generator(0))
    assert scores.entry(score).traits["signed"] is signed
    assert any((values < 0).any() for values in found.values()) is signed


def test_fisher_by_batch_over_several_batches_is_the_mean_of_squares() -> None:
    model = mlp()
    mask = prunable_mask(model)
    for count in (2, 3, 4):
        found = scores["fisher"](model, mask, iter(batches_of(model, count=count)), loss, generator(0), gradients="batch")
        each = [scores["gradient"](model, mask, [batch], loss, generator(0)) for batch in batches_of(model, count=count)]
        for name in mask:
            mean = torch.stack([its[name].square() for its in each]).mean(0)
            torch.testing.assert_close(found[name], model.get_parameter(name).detach().square() / 2 * mean)
