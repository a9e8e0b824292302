import copy

import pytest
import torch
from small_networks import drawn, loss, tagger
from torch import Tensor, nn

from secateur.errors import PruningError
from secateur.linear_maps import linear_maps, prunable_mask
from secateur.masks import Mask, apply
from secateur.pruning.drawing import draw_mask
from secateur.pruning.keeping import keep
from secateur.registry import scores
from secateur.seeds import generator


def synflow(
    model: nn.Module, prunable: tuple[str, ...] = ("linear",), batches: object = None, mask: Mask | None = None
) -> dict[str, Tensor]:
    found: dict[str, Tensor] = scores["synflow"](model, mask or prunable_mask(model, prunable), batches, None, generator(0))
    return found


def tokens(length: int = 5) -> list[tuple[Tensor, Tensor]]:
    return [(torch.randint(1, 7, (3, length), generator=generator(0)), torch.zeros(3, dtype=torch.long))]


@pytest.mark.parametrize("activation", [nn.ReLU, nn.Tanh, nn.GELU, nn.Sigmoid, nn.SiLU])
def test_a_chain_of_layers_equals_the_papers_product(activation: type[nn.Module]) -> None:
    model = drawn(
        nn.Sequential(nn.Linear(3, 4), activation(), nn.Dropout(0.5), nn.Linear(4, 5), activation(), nn.Linear(5, 2), nn.Softmax(-1))
    )
    w1, w2, w3 = (model[place].weight.detach().abs() for place in (0, 3, 5))
    found = synflow(model)
    one3, one2 = torch.ones(3, dtype=torch.float64), torch.ones(2, dtype=torch.float64)
    torch.testing.assert_close(found["0.weight"], w1 * torch.outer(one2 @ w3 @ w2, one3))
    torch.testing.assert_close(found["3.weight"], w2 * torch.outer(one2 @ w3, w1 @ one3))
    torch.testing.assert_close(found["5.weight"], w3 * torch.outer(one2, w2 @ w1 @ one3))


def test_flow_is_conserved_through_each_layer() -> None:
    model = drawn(nn.Sequential(nn.Linear(3, 40), nn.ReLU(), nn.Linear(40, 5), nn.ReLU(), nn.Linear(5, 2)))
    sums = [values.sum().item() for values in synflow(model).values()]
    assert sums == pytest.approx([sums[0]] * 3)


def flow_by_hand(model: nn.Module, weights: dict[str, Tensor], length: int = 5, embedded: bool = False) -> Tensor:
    """R of the tagger, written out: every map in turn, gates and q, k, v added, one step of recurrence."""
    w = weights
    x = torch.ones(4, dtype=torch.float64) if not embedded else w["embedding.weight"].mean(0)
    x = x.expand(length, 4).T.unsqueeze(0)
    x = nn.functional.conv1d(x, w["conv.weight"], padding=1)[0].T * w["norm.weight"]
    for layer in (0, 1):
        outputs = []
        for way in ("", "_reverse"):
            seen = sum((x @ w[f"lstm.weight_ih_l{layer}{way}"].T).chunk(4, -1))
            outputs.append(seen + sum((seen @ w[f"lstm.weight_hh_l{layer}{way}"].T).chunk(4, -1)))
        x = torch.cat(outputs, -1)
    q, k, v = (x @ part.T for part in w["attention.in_proj_weight"].chunk(3))
    x = (q + k.mean(0) + v.mean(0)) @ w["attention.out_proj.weight"].T
    return (x @ w["output.weight"].T).mean(0).sum()


@pytest.mark.parametrize("embedded", [False, True])
def test_gates_attention_normalisation_and_embeddings_follow_the_stated_linearisation(embedded: bool) -> None:
    model = tagger()
    prunable = ("linear", "conv", "recurrent", "attention") + (("embedding",) if embedded else ())
    found = synflow(model, prunable, tokens())
    weights = {name: parameter.detach().abs().requires_grad_(True) for name, parameter in model.named_parameters()}
    names = list(found)
    gradients = torch.autograd.grad(flow_by_hand(model, weights, embedded=embedded), [weights[name] for name in names])
    for name, gradient in zip(names, gradients, strict=True):
        torch.testing.assert_close(found[name], weights[name].detach() * gradient, rtol=1e-10, atol=1e-14)
        assert found[name].dtype is torch.float64
        assert (found[name][1:] > 0).all()


def test_gru_and_rnn_are_linearised_alike() -> None:
    for kind, gates in ((nn.GRU, 3), (nn.RNN, 1)):
        model = drawn(kind(3, 2, batch_first=True))
        w, u = model.weight_ih_l0.detach().abs(), model.weight_hh_l0.detach().abs()
        found = scores["synflow"](model, prunable_mask(model), [(torch.zeros(2, 6, 3), torch.zeros(2))], None, generator(0))
        seen = sum((w @ torch.ones(3, dtype=torch.float64)).chunk(gates))
        torch.testing.assert_close(found["weight_hh_l0"], 6 * u * seen)
        pushed = 1 + torch.ones(gates * 2, dtype=torch.float64) @ u
        torch.testing.assert_close(found["weight_ih_l0"], 6 * w * pushed.repeat(gates).unsqueeze(1))


def test_a_transformer_layer_and_our_own_attention_by_function_have_finite_positive_scores() -> None:
    class Encoder(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.embedding = nn.Embedding(9, 8)
            self.layer = nn.TransformerEncoderLayer(8, 2, 16, activation="gelu", batch_first=True)
            self.q, self.k, self.v = nn.Linear(8, 8), nn.Linear(8, 8), nn.Linear(8, 8)
            self.bag = nn.EmbeddingBag(9, 8, mode="mean")

        def forward(self, ids: Tensor) -> Tensor:
            x = self.layer(self.embedding(ids))
            x = nn.functional.scaled_dot_product_attention(self.q(x), self.k(x), self.v(x)).masked_fill(ids.unsqueeze(-1) == 0, -1e9)
            return x.mean(1) + self.bag(ids)

    torch.manual_seed(0)
    model = Encoder()
    found = synflow(model, ("linear", "attention", "embedding"), tokens())
    for name, values in found.items():
        assert torch.isfinite(values).all(), name
        assert (values > 0).all(), name


def test_biases_take_part_only_where_they_are_scored() -> None:
    model = drawn(nn.Sequential(nn.Linear(3, 4), nn.ReLU(), nn.Linear(4, 2)))
    with_bias = synflow(model, ("linear", "bias"))
    assert (with_bias["0.bias"] > 0).all()
    assert not torch.allclose(with_bias["2.weight"], synflow(model)["2.weight"])


def test_the_model_is_left_as_it_was_and_pruned_weights_pass_nothing() -> None:
    model = tagger().train()
    before = copy.deepcopy(model.state_dict())
    mask = prunable_mask(model, ("linear", "recurrent"))
    full = synflow(model, batches=tokens(), mask=mask)
    kept = keep(full, mask, 0.5)
    masked = synflow(model, batches=tokens(), mask=kept)
    assert all(torch.equal(value, before[name]) for name, value in model.state_dict().items())
    assert model.training
    assert "forward" not in vars(model.lstm)
    assert all((masked[name][~kept[name]] == 0).all() for name in mask)
    apply(kept, model)
    assert all(torch.equal(masked[name], values) for name, values in synflow(model, batches=tokens(), mask=mask).items())


def test_it_needs_no_numbers_and_guesses_the_shape_where_it_can() -> None:
    model = drawn(nn.Sequential(nn.Linear(3, 4), nn.ReLU(), nn.Linear(4, 2)))
    given = synflow(model, batches=[(torch.randn(7, 3), torch.zeros(7))])
    assert all(torch.equal(given[name], values) for name, values in synflow(model).items())
    with pytest.raises(PruningError, match="cannot guess"):
        synflow(nn.Conv2d(3, 4, 3), ("conv",))
    with pytest.raises(PruningError, match="there is none"):
        synflow(model, batches=[])


def test_a_deep_network_does_not_overflow_in_double() -> None:
    model = nn.Sequential(*(nn.Linear(64, 64) for _ in range(60)))
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.fill_(1.0)
    found = synflow(model)
    assert found["0.weight"].min() == 64.0**59
    assert not torch.isfinite(found["0.weight"].float()).any()


def test_a_hundred_rounds_empty_no_layer_where_one_shot_does() -> None:
    model = drawn(nn.Sequential(nn.Linear(100, 50), nn.ReLU(), nn.Linear(50, 50), nn.ReLU(), nn.Linear(50, 4)))
    mask = prunable_mask(model)
    density = 40 / mask.prunable

    def emptied(rounds: int) -> list[str]:
        return draw_mask(model, mask, density, score="synflow", rounds=rounds, loss=loss, generator=generator(0)).emptied()

    assert emptied(1) != []
    assert emptied(100) == []
    assert linear_maps(model)


class Unseen(torch.autograd.Function):
    """x |W|^T, in terms that no mode of torch sees."""

    @staticmethod
    def forward(context, x: Tensor, weight: Tensor) -> Tensor:
        context.save_for_backward(x, weight)
        return x @ weight.T

    @staticmethod
    def backward(context, dy: Tensor) -> tuple[Tensor, Tensor]:
        x, weight = context.saved_tensors
        return dy @ weight, dy.T @ x


class Uses(nn.Module):
    """Two linear layers whose weights are read as `way` says; single precision, as networks are."""

    def __init__(self, way) -> None:
        super().__init__()
        self.first, self.second = nn.Linear(6, 70), nn.Linear(70, 70)
        self.way = way

    def forward(self, x: Tensor) -> Tensor:
        return self.way(self, self.first(x))


@pytest.mark.parametrize(
    ("way", "expected"),
    [
        (lambda net, x: net.second(x).relu_(), lambda w, x: x @ w.T),
        (lambda net, x: net.second(net.second(x)), lambda w, x: x @ w.T @ w.T),
        (lambda net, x: net.second(x) + x @ net.second.weight, lambda w, x: x @ w.T + x @ w),
        (lambda net, x: net.second(x) * net.second.weight.sum(), lambda w, x: x @ w.T * w.sum()),
        (lambda net, x: net.second(torch.stack([x, x])).sum(0), lambda w, x: 2 * (x @ w.T)),
        (lambda net, x: nn.functional.linear(x, torch.cat([net.second.weight] * 2)), lambda w, x: x @ torch.cat([w, w]).T),
        (lambda net, x: Unseen.apply(x, net.second.weight), lambda w, x: x @ w.T),
    ],
)  # fmt: skip
@pytest.mark.parametrize("density", [1.0, 0.3])
def test_a_linear_layer_scores_alike_however_its_weight_is_used(way, expected, density: float) -> None:
    model = Uses(way)
    mask = prunable_mask(model)
    if density < 1:
        mask = keep({name: model.get_parameter(name).detach().abs() for name in mask}, mask, density)
    first, second = (
        (model.get_parameter(name).detach().double().abs() * mask[name]).requires_grad_(True) for name in ("first.weight", "second.weight")
    )
    total = expected(second, torch.ones(1, 6, dtype=torch.float64) @ first.T).sum()
    gradients = torch.autograd.grad(total, [first, second])
    found = synflow(model, mask=mask)
    for name, weight, gradient in zip(found, (first, second), gradients, strict=True):
        torch.testing.assert_close(found[name], weight.detach() * gradient, rtol=1e-12, atol=0)
