import pytest
import torch
from torch import nn

from secateur.data.dataset import DataShape
from secateur.errors import InputError
from secateur.linear_maps import linear_maps
from secateur.models.language_model import LanguageModel
from secateur.registry import models

SHAPE = DataShape(12, vocabulary=12)


def build(name: str = "lstm-lm-small", **options: object) -> LanguageModel:
    return models[name](SHAPE, torch.Generator().manual_seed(0), **options)


def test_it_equals_torchs_stacked_lstm() -> None:
    model = build(embedding=5, hidden=4, layers=3)
    stack = nn.LSTM(5, 4, num_layers=3, batch_first=True)
    stack.load_state_dict(
        {name.replace("_l0", f"_l{depth}"): value for depth, layer in enumerate(model.layers) for name, value in layer.state_dict().items()}
    )
    tokens = torch.randint(1, 12, (2, 7))
    outputs, (hidden, cell) = stack(model.embedding(tokens))
    logits, state = model.carry(tokens, None)
    assert torch.allclose(logits, model.output(outputs), atol=1e-6)
    assert torch.equal(model(tokens), logits)
    assert torch.allclose(torch.cat(state[0::2]), hidden, atol=1e-6)
    assert torch.allclose(torch.cat(state[1::2]), cell, atol=1e-6)


def test_a_carried_state_reads_two_windows_as_one() -> None:
    model = build(embedding=5, hidden=4)
    tokens = torch.randint(1, 12, (2, 8))
    first, state = model.carry(tokens[:, :3], None)
    second, _ = model.carry(tokens[:, 3:], state)
    assert torch.allclose(torch.cat([first, second], 1), model(tokens), atol=1e-6)


@pytest.mark.parametrize(
    ("name", "embedding", "hidden", "dropout", "scale"),
    [
        ("lstm-lm-small", 200, 200, 0.0, 0.1),
        ("lstm-lm-medium", 650, 650, 0.5, 0.05),
        ("lstm-lm-large", 1500, 1500, 0.65, 0.04),
        ("lstm-lm-wide", 600, 2500, 0.0, 0.04),
    ],
)
def test_the_published_sizes(name: str, embedding: int, hidden: int, dropout: float, scale: float) -> None:
    options = {key: parameter.default for key, parameter in models.entry(name).options.items()}
    assert (options["embedding"], options["hidden"], options["layers"]) == (embedding, hidden, 2)
    assert (options["dropout"], options["init"], options["init_scale"]) == (dropout, "uniform", scale)


def test_study_ds_dense_matrices_hold_81_million_weights() -> None:
    with torch.device("meta"):
        model = LanguageModel(10_000, 600, 2500, 2, 0.0, False, 10_000)
    # The paper counts 81.02 million: with one bias a gate where torch has two.
    assert sum(p.numel() for name, p in model.layers.named_parameters() if "bias_hh" not in name) == 81_020_000


def test_all_is_uniform_in_the_given_range() -> None:
    model = build(init_scale=0.03, embedding=20, hidden=20)
    for name, parameter in model.named_parameters():
        assert 0.02 < float(parameter.detach().abs().max()) <= 0.03 or name == "output.bias", name


def test_a_tied_model_has_one_tensor_whose_padding_row_stays_zero() -> None:
    model = build(embedding=6, hidden=6, tied=True)
    assert model.output.weight is model.embedding.weight
    (entry,) = (entry for entry in linear_maps(model) if entry.parameter == "embedding.weight")
    assert (entry.tied, entry.excluded_rows, entry.kind) == (("output.weight",), (0,), "linear")
    optimizer = torch.optim.AdamW(model.parameters(), lr=0.1)
    for _ in range(3):
        optimizer.zero_grad()
        tokens = torch.randint(1, 12, (2, 5))
        nn.functional.cross_entropy(model(tokens).flatten(0, 1), tokens.flatten()).backward()
        optimizer.step()
    assert model.embedding.weight[0].count_nonzero() == 0
    assert model(tokens).softmax(2)[..., 0].max().item() == 0.0
    with pytest.raises(InputError, match="embedding = hidden"):
        build(embedding=6, hidden=5, tied=True)


def test_dropout_is_ours_and_can_be_locked_over_time() -> None:
    from secateur.dropout import foreign_dropout, set_dropout

    model = build(embedding=8, hidden=8, dropout=0.5)
    assert foreign_dropout(model) == []
    tokens = torch.randint(1, 12, (2, 5))
    set_dropout(model, 0, 1)
    first = model(tokens)
    set_dropout(model, 0, 2)
    assert not torch.equal(first, model(tokens))
    assert build(locked_dropout=True, dropout=0.5).dropout.locked == 1


def test_pretrained_vectors_start_the_embedding() -> None:
    vectors = torch.randn(12, 4)
    model = models["lstm-lm-small"](DataShape(12, vocabulary=12, vectors=vectors), torch.Generator(), embedding=4, hidden=3)
    assert torch.equal(model.embedding.weight[1:], vectors[1:])
