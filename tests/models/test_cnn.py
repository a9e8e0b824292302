import pytest
import torch
from torch import nn

from secateur.data.dataset import DataShape
from secateur.errors import InputError
from secateur.linear_maps import linear_maps
from secateur.registry import models


def generator(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def test_kim_cnn_equals_the_formula() -> None:
    model = models["kim-cnn"](DataShape(3, vocabulary=20), generator(), embedding=4, filters=5, widths=(2, 3)).eval()
    nn.init.normal_(model.convolutions[0].bias)
    nn.init.normal_(model.convolutions[1].bias)
    text = [7, 2, 9, 4]
    words = torch.cat([model.embedding.weight[text], torch.zeros(3, 4)])
    features = []
    for convolution, width in zip(model.convolutions, (2, 3), strict=True):
        responses = [
            torch.einsum("fdw,wd->f", convolution.weight, words[start : start + width]) + convolution.bias
            for start in range(len(words) - width + 1)
        ]
        features.append(torch.stack(responses).amax(0).relu())
    expected = model.output(torch.cat(features))
    assert torch.allclose(model(torch.tensor([text]))[0], expected, atol=1e-6)


def test_padding_does_not_change_what_is_said_of_a_text() -> None:
    model = models["kim-cnn"](DataShape(3, vocabulary=20), generator(), filters=8).eval()
    nn.init.normal_(model.convolutions[0].bias)
    text = torch.randint(1, 20, (1, 6))
    alone = model(text)
    in_a_batch = model(torch.cat([torch.cat([text, torch.zeros(1, 9, dtype=torch.int64)], 1), torch.randint(1, 20, (1, 15))]))
    assert torch.allclose(alone[0], in_a_batch[0], atol=1e-6)


def test_a_text_shorter_than_the_widest_filter_passes() -> None:
    model = models["kim-cnn"](DataShape(3, vocabulary=20), generator())
    assert model(torch.tensor([[4]])).shape == (1, 3)


def test_the_padding_row_stays_zero_under_adam_with_decay() -> None:
    model = models["kim-cnn"](DataShape(2, vocabulary=20), generator(), embedding=8, filters=4)
    optimizer = torch.optim.AdamW(model.parameters(), lr=0.1, weight_decay=0.1)
    for _ in range(3):
        optimizer.zero_grad()
        model(torch.tensor([[3, 4, 0, 0], [5, 0, 0, 0]])).sum().backward()
        optimizer.step()
    assert model.embedding.weight[0].count_nonzero() == 0
    assert model.embedding.weight.grad[3].count_nonzero() > 0


def test_vectors_set_the_embedding_whatever_the_seed_and_can_be_frozen() -> None:
    vectors = torch.randn(20, 6)
    shape = DataShape(2, vocabulary=20, vectors=vectors)
    for seed in (0, 1):
        model = models["kim-cnn"](shape, generator(seed), freeze_embedding=True)
        assert torch.equal(model.embedding.weight[1:], vectors[1:])
        assert model.embedding.weight[0].count_nonzero() == 0
        assert not model.embedding.weight.requires_grad
    assert models["kim-cnn"](shape, generator(), embedding=6).embedding.weight.requires_grad
    with pytest.raises(InputError, match="6 dimensions"):
        models["kim-cnn"](shape, generator(), embedding=7)


def test_its_linear_maps_are_seen() -> None:
    model = models["kim-cnn"](DataShape(2, vocabulary=20), generator())
    assert [entry.kind for entry in linear_maps(model)] == ["embedding", "conv", "conv", "conv", "linear"]
    assert [entry.sparse for entry in linear_maps(model)] == ["SparseEmbedding", *["SparseConv1d"] * 3, "SparseLinear"]


def test_it_refuses_images() -> None:
    with pytest.raises(InputError, match="reads words"):
        models["kim-cnn"](DataShape(2, image=(28, 28)), generator())
