import copy
from collections.abc import Callable

import pytest
import torch
from small_networks import batches_of, loss, mlp, tagger
from torch import Tensor, nn
from torch.func import functional_call

from secateur.errors import PruningError
from secateur.linear_maps import prunable_mask
from secateur.registry import scores
from secateur.seeds import generator

ALL = ["linear", "conv", "recurrent", "attention", "embedding", "bias"]
MODELS = pytest.mark.parametrize("build", [mlp, tagger, lambda: tagger(tied=True)], ids=["mlp", "tagger", "tied"])


def total_loss(model: nn.Module, weights: dict[str, Tensor]) -> Tensor:
    """The loss summed over batches, as a plain function of the weights, in eval mode."""
    model = copy.deepcopy(model).eval()
    return torch.stack([loss(functional_call(model, weights, (inputs,)), targets) for inputs, targets in batches_of(model)]).sum()


def finite_differences(model: nn.Module, name: str) -> Tensor:
    """dL/dw for each weight of one parameter, by central differences."""
    weights = {key: parameter.detach().clone() for key, parameter in model.named_parameters()}
    found = torch.zeros_like(weights[name])
    with torch.no_grad():
        for place in range(found.numel()):
            values = []
            for step in (1e-5, -1e-5):
                moved = {**weights, name: weights[name].clone()}
                moved[name].view(-1)[place] += step
                values.append(total_loss(model, moved))
            found.view(-1)[place] = (values[0] - values[1]) / 2e-5
    return found


def scored(name: str, model: nn.Module, prunable: list[str], **options: object) -> dict[str, Tensor]:
    mask = prunable_mask(model, [kind for kind in prunable if kind in ALL])
    found: dict[str, Tensor] = scores[name](model, mask, batches_of(model), loss, generator(0), **options)
    return found


def kinds_in(model: nn.Module) -> list[str]:
    return ["linear", "bias"] if isinstance(model, nn.Sequential) else ["conv", "recurrent", "attention", "linear"]


@MODELS
def test_gradient_and_snip_equal_finite_differences(build: Callable[[], nn.Module]) -> None:
    model = build()
    gradients, snips = scored("gradient", model, kinds_in(model)), scored("snip", model, kinds_in(model))
    assert set(gradients) == set(snips)
    for name in gradients:
        expected = finite_differences(model, name)
        torch.testing.assert_close(gradients[name], expected.abs(), rtol=1e-5, atol=1e-9)
        torch.testing.assert_close(snips[name], (expected * model.get_parameter(name)).abs(), rtol=1e-5, atol=1e-9)


def test_snip_sums_gradients_before_the_absolute_value_and_taylor_after() -> None:
    model = mlp()
    mask = prunable_mask(model)
    batches = batches_of(model)
    together = scores["snip"](model, mask, batches, loss, generator(0))
    single = [scores["snip"](model, mask, [batch], loss, generator(0)) for batch in batches]
    taylor = scores["taylor"](model, mask, batches, loss, generator(0))
    for name in mask:
        assert not torch.allclose(together[name], single[0][name] + single[1][name])
        torch.testing.assert_close(taylor[name], single[0][name] + single[1][name])


@MODELS
def test_grasp_is_w_times_h_g_by_an_explicit_hessian(build: Callable[[], nn.Module]) -> None:
    model = build()
    found = scored("grasp", model, kinds_in(model)[-2:], temperature=1.0)
    names = list(found)
    rest = {key: parameter.detach() for key, parameter in model.named_parameters() if key not in names}
    shapes = [found[name].shape for name in names]

    def of_vector(vector: Tensor) -> Tensor:
        parts = vector.split([shape.numel() for shape in shapes])
        return total_loss(model, {**rest, **{name: part.view(shape) for name, part, shape in zip(names, parts, shapes, strict=True)}})

    vector = torch.cat([model.get_parameter(name).detach().flatten() for name in names])
    with torch.nn.attention.sdpa_kernel(torch.nn.attention.SDPBackend.MATH):
        hessian = torch.autograd.functional.hessian(of_vector, vector)
        gradient = torch.autograd.functional.jacobian(of_vector, vector)
    expected = vector * (hessian @ gradient)
    torch.testing.assert_close(torch.cat([found[name].flatten() for name in names]), expected, rtol=1e-5, atol=1e-10)


def test_grasp_keeps_what_carries_gradient_flow_and_prunes_the_papers_largest() -> None:
    # L = (a*b - 1)**2 / 2 at a = 2, b = 1: g = (1, 2), H = [[1, 3], [3, 4]], H g = (7, 11), w * H g = (14, 11).
    class Product(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.w = nn.Parameter(torch.tensor([2.0, 1.0], dtype=torch.float64))

        def forward(self, x: Tensor) -> Tensor:
            return self.w.prod() * x

    model = Product()
    mask = prunable_mask(model, ["w*"])
    batch = [(torch.ones(1, dtype=torch.float64), torch.ones(1, dtype=torch.float64))]

    def half_square(outputs: Tensor, targets: Tensor) -> Tensor:
        return (outputs - targets).square().sum() / 2

    assert scores["grasp"](model, mask, batch, half_square, generator(0), temperature=1.0)["w"].tolist() == [14.0, 11.0]
    scaled = scores["grasp"](model, mask, batch, half_square, generator(0))["w"]
    assert scaled.tolist() == pytest.approx([14 / 200**2, 11 / 200**2])


def test_grasp_may_divide_the_outputs_as_the_authors_code_does() -> None:
    model = mlp()
    mask = prunable_mask(model)
    divided = scores["grasp"](model, mask, batches_of(model), loss, generator(0), temperature=5.0, divided="outputs")
    other = nn.Sequential(model, Divide(5.0))
    by_hand = scores["grasp"](other, prunable_mask(other), batches_of(model), loss, generator(0), temperature=1.0)
    for name in mask:
        torch.testing.assert_close(divided[name], by_hand[f"0.{name}"])


class Divide(nn.Module):
    def __init__(self, by: float) -> None:
        super().__init__()
        self.by = by

    def forward(self, x: Tensor) -> Tensor:
        return x / self.by


@pytest.mark.parametrize("name", ["gradient", "snip", "taylor", "grasp", "fisher", "obd"])
def test_scoring_leaves_the_model_as_it_was(name: str) -> None:
    model = tagger().train()
    model.get_parameter("embedding.weight").requires_grad_(False)
    model.norm.eval()
    before = copy.deepcopy(model.state_dict())
    random = torch.random.get_rng_state()
    scored(name, model, ["linear", "embedding"])
    assert all(torch.equal(value, before[key]) for key, value in model.state_dict().items())
    assert all(parameter.grad is None for parameter in model.parameters())
    assert not model.get_parameter("embedding.weight").requires_grad
    assert model.lstm.training
    assert not model.norm.training
    assert torch.equal(random, torch.random.get_rng_state())


@pytest.mark.parametrize("name", ["gradient", "snip", "taylor", "grasp", "fisher"])
def test_sparse_embedding_gradients_are_scored_dense(name: str) -> None:
    def scored_with(sparse: bool) -> Tensor:
        model = tagger()
        model.embedding.sparse = sparse
        return scored(name, model, ["embedding"])["embedding.weight"]

    if name != "grasp":
        torch.testing.assert_close(scored_with(sparse=True), scored_with(sparse=False))
    assert scored_with(sparse=False).shape == (7, 4)


def test_what_the_loss_does_not_depend_on_scores_zero() -> None:
    model = mlp()
    model.unused = nn.Linear(2, 2).double()
    model.forward = lambda x: model[3](model[1](model[0](x)))  # type: ignore[method-assign]
    assert scored("snip", model, ["linear"])["unused.weight"].abs().max() == 0


@pytest.mark.parametrize("name", ["gradient", "snip", "taylor", "grasp", "fisher", "obd"])
def test_batches_are_needed_and_said_so(name: str) -> None:
    model = mlp()
    mask = prunable_mask(model)
    assert scores.entry(name).traits["needs_batches"]
    with pytest.raises(PruningError, match="needs batches and a loss"):
        scores[name](model, mask, None, None, generator(0))
    with pytest.raises(PruningError, match="at least one batch"):
        scores[name](model, mask, [], loss, generator(0))


@pytest.mark.parametrize("name", ["snip", "grasp"])
def test_an_iterator_of_batches_serves_as_well_as_a_list(name: str) -> None:
    model = mlp()
    mask = prunable_mask(model)
    from_list = scores[name](model, mask, batches_of(model), loss, generator(0))
    from_iterator = scores[name](model, mask, iter(batches_of(model)), loss, generator(0))
    assert all(torch.equal(from_list[key], from_iterator[key]) for key in mask)
