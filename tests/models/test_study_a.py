"""Study A's six networks: their sizes, and that each computes what the paper says."""

import pytest
import torch
from torch import nn

from secateur.data.dataset import DataShape
from secateur.errors import InputError
from secateur.linear_maps import linear_maps
from secateur.models.recurrent import Layer, RecurrentLayer
from secateur.registry import models

SHAPE = DataShape(4, vocabulary=13_561, length=40)
SMALL = DataShape(4, vocabulary=30, length=6)
PAPER = {"text-mlp": 0.2e6, "text-cnn": 0.9e6, "simple-rnn": 0.9e6, "gru": 0.9e6, "lstm-v1": 1.2e6, "lstm-v2": 1.8e6}


def build(name: str, shape: DataShape = SMALL, seed: int = 0, **options: object) -> nn.Module:
    return models[name](shape, torch.Generator().manual_seed(seed), **options)


@pytest.mark.parametrize("name", PAPER)
def test_the_number_of_parameters_agrees_with_the_paper(name: str) -> None:
    # The paper gives one decimal ("almost nine hundred thousand", "1.2 million" for what Keras counts as 1,283,204).
    counted = sum(parameter.numel() for parameter in build(name, SHAPE).parameters())
    assert abs(counted - PAPER[name]) < 0.1e6


@pytest.mark.parametrize("name", PAPER)
def test_the_same_generator_gives_the_same_network_and_no_global_state_is_used(name: str) -> None:
    before = torch.random.get_rng_state()
    first, again, other = build(name), build(name), build(name, seed=1)
    assert torch.equal(torch.random.get_rng_state(), before)
    for (key, value), same, different in zip(first.state_dict().items(), again.parameters(), other.parameters(), strict=True):
        assert torch.equal(value, same), key
        assert "weight" not in key or not torch.equal(value, different), key


@pytest.mark.parametrize("name", PAPER)
def test_every_parameter_gets_a_gradient_and_padding_stays_zero(name: str) -> None:
    model = build(name)
    optimizer = torch.optim.Adam(model.parameters(), lr=0.01)
    nn.functional.cross_entropy(model(torch.randint(1, 30, (5, 6))), torch.tensor([0, 1, 2, 3, 0])).backward()
    for key, parameter in model.named_parameters():
        assert parameter.grad.count_nonzero() > 0 or "dense" in key or "hidden" in key, key
    optimizer.step()
    model(torch.tensor([[3, 4, 0, 0, 0, 0]])).sum().backward()
    optimizer.step()
    assert model.embedding.weight[0].count_nonzero() == 0


@pytest.mark.parametrize("name", PAPER)
def test_its_maps_are_all_seen(name: str) -> None:
    model = build(name)
    mapped = {entry.parameter for entry in linear_maps(model)}
    assert mapped == {key for key, _ in model.named_parameters() if "weight" in key}


def test_the_mlp_by_its_formula() -> None:
    model = build("text-mlp")
    tokens = torch.randint(1, 30, (3, 6))
    x = model.embedding.weight[tokens].reshape(3, 48)
    first, second = model.hidden
    x = torch.relu(x @ first.weight.T + first.bias) @ second.weight.T + second.bias
    assert torch.allclose(model(tokens), x @ model.output.weight.T + model.output.bias, atol=1e-6)
    assert torch.allclose(model(torch.cat([tokens, tokens], 1)), model(tokens))


def test_the_cnn_by_its_formula() -> None:
    model = build("text-cnn").eval()
    tokens = torch.randint(1, 30, (3, 6))
    words = model.embedding.weight[tokens]
    response = torch.relu(torch.einsum("bld,fdl->bf", words, model.convolution.weight) + model.convolution.bias)
    hidden = torch.relu(response @ model.dense.weight.T + model.dense.bias)
    assert torch.allclose(model(tokens), hidden @ model.output.weight.T + model.output.bias, atol=1e-6)
    assert build("text-cnn", width=3).dense.in_features == 5 * 4
    with pytest.raises(InputError, match="width"):
        build("text-cnn", width=7)


def test_lstm_v2_by_its_formula() -> None:
    model = build("lstm-v2", hidden=(5, 4, 3), dense=7)
    tokens = torch.randint(1, 30, (3, 6))
    x = model.embedding.weight[tokens]
    x = model.layers[0].ahead(x)[0]
    x = model.layers[1].back(x.flip(1))[0]
    _, (last, _) = model.layers[2].ahead(x)
    hidden = torch.relu(last[0] @ model.dense.weight.T + model.dense.bias)
    assert torch.allclose(model(tokens), hidden @ model.output.weight.T + model.output.bias, atol=1e-6)


@pytest.mark.parametrize("name", ["simple-rnn", "gru", "lstm-v1", "lstm-v2", "bi-lstm"])
def test_a_masked_network_does_not_read_the_padding_and_an_unmasked_one_does(name: str) -> None:
    text = torch.randint(1, 30, (1, 4))
    padded = torch.cat([text, torch.zeros(1, 5, dtype=torch.int64)], 1)
    masked = build(name, masked=True).eval()
    assert torch.allclose(masked(padded), masked(text), atol=1e-6)
    unmasked = build(name, masked=False).eval()
    assert not torch.allclose(unmasked(padded), unmasked(text), atol=1e-4)


@pytest.mark.parametrize("cell", ["rnn", "gru", "lstm"])
def test_a_bidirectional_layer_equals_torchs_over_packed_sequences(cell: str) -> None:
    ours = RecurrentLayer(3, Layer(cell, 4, "both"))
    reference = {"rnn": nn.RNN, "gru": nn.GRU, "lstm": nn.LSTM}[cell](3, 4, batch_first=True, bidirectional=True)
    weights = {name.removeprefix("ahead."): value for name, value in ours.state_dict().items() if name.startswith("ahead.")}
    weights |= {name.removeprefix("back.") + "_reverse": value for name, value in ours.state_dict().items() if name.startswith("back.")}
    reference.load_state_dict(weights)
    words, lengths = torch.randn(3, 5, 3), torch.tensor([5, 2, 3])
    packed = nn.utils.rnn.pack_padded_sequence(words, lengths, batch_first=True, enforce_sorted=False)
    outputs, last = reference(packed)
    outputs, _ = nn.utils.rnn.pad_packed_sequence(outputs, batch_first=True)
    found, found_last = ours(words, lengths)
    for row, length in enumerate(lengths):
        assert torch.allclose(found[row, :length], outputs[row, :length], atol=1e-6)
    state = last[0] if cell == "lstm" else last
    assert torch.allclose(found_last, torch.cat([state[0], state[1]], 1), atol=1e-6)


def test_dropout_acts_between_layers_and_follows_its_place() -> None:
    from secateur.dropout import foreign_dropout, set_dropout

    model = build("bi-lstm", hidden=4)
    tokens = torch.randint(1, 30, (2, 5))
    assert foreign_dropout(model) == []
    results = []
    for step in (0, 0, 1):
        set_dropout(model, 1, step)
        results.append(model(tokens))
    assert torch.equal(results[0], results[1])
    assert not torch.equal(results[0], results[2])
