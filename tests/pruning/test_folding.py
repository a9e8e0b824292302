import copy
from typing import Any

import pytest
import torch
from small_networks import drawn
from torch import Tensor, nn

from secateur.accounting import cost
from secateur.data.dataset import DataShape
from secateur.errors import PruningError
from secateur.masks import Mask, apply
from secateur.pruning.folding import fold
from secateur.pruning.prune import prune
from secateur.pruning.reading import NOTHING, SEVERAL, readers_of
from secateur.registry import models
from secateur.seeds import generator


def normal(*shape: int, seed: int = 0) -> Tensor:
    return torch.randn(shape, generator=generator(seed), dtype=torch.float64)


def folded(model: nn.Module, mask: Mask, *inputs: Any) -> nn.Module:
    """`fold`, checked on other inputs than it saw; the original is as it was."""
    before = copy.deepcopy(model.state_dict())
    small = fold(model, mask, inputs)
    assert all(torch.equal(value, before[name]) for name, value in model.state_dict().items())
    masked = copy.deepcopy(model).eval()
    apply(mask, masked)
    others = tuple(torch.randn_like(part) if part.is_floating_point() else part.roll(1, -1) for part in inputs)
    for these in (inputs, others):
        expected, found = masked(*these), copy.deepcopy(small).eval()(*these)
        torch.testing.assert_close(found, expected, rtol=1e-9, atol=1e-9)
    return small


def weights(model: nn.Module) -> int:
    return sum(parameter.numel() for parameter in model.parameters())


@pytest.mark.parametrize("activation", [nn.ReLU, nn.Sigmoid, nn.Identity])
def test_neurons_go_and_their_constant_output_moves_into_biases(activation: type[nn.Module]) -> None:
    model = drawn(nn.Sequential(nn.Linear(6, 10), activation(), nn.Linear(10, 8, bias=False), activation(), nn.Linear(8, 3)))
    mask = prune(model, 0.5, unit="row", scope="layer", prunable=["0.weight", "2.weight"])
    small = folded(model, mask, normal(4, 6))
    assert [tuple(layer.weight.shape) for layer in small if isinstance(layer, nn.Linear)] == [(5, 6), (4, 5), (3, 4)]
    assert (small[0].out_features, small[2].in_features) == (5, 5)
    assert (small[2].bias is not None) == (activation is not nn.ReLU or bool((model[0].bias[~mask["0.weight"].any(1)] > 0).any()))


def test_filters_go_with_their_normalisation_and_flattened_columns() -> None:
    class Net(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.first = nn.Conv2d(2, 8, 3)
            self.norm = nn.BatchNorm2d(8)
            self.second = nn.Conv2d(8, 6, 2)
            self.output = nn.Linear(6 * 4, 3)

        def forward(self, x: Tensor) -> Tensor:
            x = torch.relu(self.norm(self.first(x)))
            return self.output(nn.functional.max_pool2d(torch.tanh(self.second(x)), 2).flatten(1))

    model = drawn(Net()).eval()
    model.norm.running_mean.normal_(generator=generator(5))
    mask = prune(model, 0.5, unit="filter", scope="layer", prunable=["conv"])
    small = folded(model, mask, normal(2, 2, 7, 7))
    assert (small.first.out_channels, small.norm.num_features, small.second.weight.shape, small.output.in_features) == (
        4,
        4,
        (3, 4, 2, 2),
        12,
    )
    assert cost(small, normal(1, 2, 7, 7)).dense_multiply_adds < 0.4 * cost(model, normal(1, 2, 7, 7)).dense_multiply_adds


def test_padding_after_a_constant_that_is_not_zero_keeps_the_filter() -> None:
    model = drawn(nn.Sequential(nn.Conv1d(2, 4, 3), nn.Sigmoid(), nn.Conv1d(4, 3, 3, padding=1)))
    mask = prune(model, 0.5, unit="filter", scope="layer", prunable=["0.weight"])
    assert folded(model, mask, normal(2, 2, 9))[0].out_channels == 4
    with torch.no_grad():
        model[0].bias.zero_()
    relu = nn.Sequential(model[0], nn.ReLU(), model[2])
    assert folded(relu, mask, normal(2, 2, 9))[0].out_channels == 2


class Tagger(nn.Module):
    def __init__(self, cell: nn.Module, width: int) -> None:
        super().__init__()
        self.cell = cell
        self.output = nn.Linear(width, 3)

    def forward(self, x: Tensor) -> Tensor:
        return self.output(torch.tanh(self.cell(x)[0]))


@pytest.mark.parametrize("kind", [nn.LSTM, nn.GRU, nn.RNN])
@pytest.mark.parametrize("bidirectional", [False, True])
def test_hidden_units_go_from_every_layer_and_direction(kind: type[nn.RNNBase], bidirectional: bool) -> None:
    model = drawn(Tagger(kind(4, 8, num_layers=2, bidirectional=bidirectional, batch_first=True), 8 * (1 + bidirectional)))
    mask = prune(model, 0.3, unit="hidden", scope="layer", prunable=["cell.weight*", "cell.bias*"])
    small = folded(model, mask, normal(2, 5, 4))
    assert small.cell.hidden_size < 8
    assert small.output.in_features == small.cell.hidden_size * (1 + bidirectional)
    assert weights(small) < 0.6 * weights(model)


def test_hidden_units_with_biases_of_their_own_stay_where_they_are_read() -> None:
    model = drawn(Tagger(nn.LSTM(4, 8, batch_first=True), 8))
    mask = prune(model, 0.3, unit="hidden", prunable=["recurrent"])
    assert folded(model, mask, normal(2, 5, 4)).cell.hidden_size == 8


def test_the_last_state_alone_may_be_what_is_read() -> None:
    class Last(Tagger):
        def forward(self, x: Tensor) -> Tensor:
            hidden = self.cell(x)[1]
            return self.output(torch.cat([hidden[-2], hidden[-1]], -1))

    model = drawn(Last(nn.GRU(4, 6, bidirectional=True), 12))
    mask = prune(model, 0.4, unit="hidden", scope="layer", prunable=["cell.*"])
    assert folded(model, mask, normal(5, 2, 4)).cell.hidden_size < 6


class Encoder(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.attention = nn.MultiheadAttention(12, 4, batch_first=True)
        self.output = nn.Linear(12, 2)

    def forward(self, x: Tensor, y: Tensor) -> Tensor:
        hidden = torch.zeros(len(y), y.shape[1], dtype=torch.bool)
        hidden[:, -1] = True
        mixed, _ = self.attention(x, y, y, key_padding_mask=hidden, attn_mask=torch.ones(x.shape[1], y.shape[1]).triu(2).bool())
        return self.output(x + mixed)


def test_heads_go_from_an_attention() -> None:
    model = drawn(Encoder())
    mask = prune(model, 0.5, unit="head", prunable=["attention"])
    small = folded(model, mask, normal(2, 3, 12), normal(2, 5, 12, seed=1))
    assert small.attention.num_heads == 2
    assert weights(small.attention) == 3 * 6 * 13 + 12 * 6 + 12
    assert cost(small, (normal(1, 3, 12), normal(1, 5, 12))).products == 2 * 3 * 5 * 6


def test_feed_forward_neurons_and_heads_of_torchs_own_encoder() -> None:
    model = drawn(nn.TransformerEncoder(nn.TransformerEncoderLayer(8, 4, 16, batch_first=True), 2, enable_nested_tensor=False))
    heads = prune(model, 0.5, unit="head", scope="layer", prunable=["attention"])
    rows = prune(model, 0.5, unit="row", scope="layer", prunable=["*linear1.weight"])
    small = folded(model, Mask({**heads.patterns, **rows.patterns}), normal(2, 5, 8))
    assert (small.layers[0].linear1.out_features, small.layers[1].linear2.in_features, small.layers[1].self_attn.num_heads) == (8, 8, 2)


def test_our_own_transformer_folds_heads_and_neurons() -> None:
    shape = DataShape(11, vocabulary=11, source_vocabulary=13)
    model = models["transformer"](shape, generator(0), layers=(1, 2), width=8, inner=12, heads=4).double()
    heads = prune(model, 0.5, unit="head", scope="layer", prunable=["attention"])
    rows = prune(model, 0.5, unit="row", scope="layer", prunable=["*feed_forward.0.weight"])
    source, target = torch.randint(1, 11, (2, 5), generator=generator(1)), torch.randint(1, 11, (2, 4), generator=generator(2))
    small = folded(model, Mask({**heads.patterns, **rows.patterns}), source, target)
    assert small.encoder[0].attention.heads == 2
    assert small.decoder[1].feed_forward[0].out_features == 6


@pytest.mark.parametrize(("name", "options"), [("kim-cnn", {"filters": 6, "embedding": 5}), ("lenet-300-100", {"hidden": (12, 8)})])
def test_our_own_networks_fold(name: str, options: dict[str, Any]) -> None:
    model = models[name](DataShape(4, vocabulary=20, image=(1, 28, 28)), generator(0), **options).double()
    kind = "conv" if name == "kim-cnn" else "linear"
    inputs = torch.randint(1, 20, (3, 7), generator=generator(1)) if kind == "conv" else normal(3, 1, 28, 28)
    small = folded(model, prune(model, 0.5, unit="row", scope="layer", prunable=[kind, "!output.*"]), inputs)
    assert weights(small) < 0.75 * weights(model) or kind == "conv"
    assert small.output.in_features < model.output.in_features


def test_what_joins_a_residual_stream_or_the_output_or_is_tied_stays() -> None:
    class Residual(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.a, self.b, self.c = nn.Linear(4, 4), nn.Linear(4, 4), nn.Linear(4, 4)
            self.tied = nn.Linear(4, 4)
            self.tied.weight = self.c.weight

        def forward(self, x: Tensor) -> Tensor:
            x = x + self.a(x)
            return self.tied(torch.relu(self.c(torch.relu(self.b(x)))))

    model = drawn(Residual())
    dead = torch.ones(4, 4, dtype=torch.bool)
    dead[1] = False
    small = folded(model, Mask({"a.weight": dead, "b.weight": dead, "c.weight": dead}), normal(3, 4))
    assert [layer.out_features for layer in (small.a, small.b, small.c, small.tied)] == [4, 4, 4, 4]


def test_one_unit_stays_of_an_emptied_layer() -> None:
    model = drawn(nn.Sequential(nn.Linear(3, 5), nn.Tanh(), nn.Linear(5, 2)))
    small = folded(model, Mask({"0.weight": torch.zeros(5, 3, dtype=torch.bool)}), normal(2, 3))
    assert small[0].out_features == 1


def test_sizes_written_into_the_code_are_an_error_that_says_so() -> None:
    class Fixed(nn.Sequential):
        def forward(self, x: Tensor) -> Tensor:
            return self[1](self[0](x).view(-1, 6))

    model = drawn(Fixed(nn.Linear(4, 6), nn.Linear(6, 2)))
    kept = torch.ones(6, 4, dtype=torch.bool)
    kept[2] = False
    with pytest.raises(PruningError, match="fixes a size"):
        fold(model, Mask({"0.weight": kept}), normal(3, 4))


def test_readers_are_found_by_experiment() -> None:
    class Net(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.a, self.b, self.c, self.d = nn.Linear(3, 5), nn.Linear(5, 2), nn.Linear(7, 2), nn.Linear(2, 2)
            self.norm = nn.LayerNorm(5)

        def forward(self, x: Tensor) -> Tensor:
            a = torch.tanh(self.a(x))
            b = self.b(self.norm(a))
            return self.d(self.c(torch.cat([b, a.flip(-1)], -1)))

    readers = readers_of(drawn(Net()).eval(), "a", 5, (normal(4, 3),))
    assert readers is not None
    assert not readers.output
    assert set(readers.layers) == {"b", "c"}
    assert readers.layers["b"].units.tolist() == [SEVERAL] * 5
    assert readers.layers["c"].units.tolist() == [NOTHING, NOTHING, 4, 3, 2, 1, 0]
    assert readers.layers["c"].alone.tolist() == [False, False, True, True, True, True, True]


def test_training_goes_on_after_folding() -> None:
    model = drawn(nn.Sequential(nn.Linear(4, 6), nn.ReLU(), nn.Dropout(0.5), nn.Linear(6, 2)))
    model[0].weight.requires_grad_(False)
    small = fold(model, prune(model, 0.5, unit="row", scope="layer", prunable=["0.weight"]), normal(3, 4))
    assert small.training
    small(normal(3, 4)).sum().backward()
    assert small[0].weight.grad is None
    assert small[3].weight.grad.shape == (2, 3)
