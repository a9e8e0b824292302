import torch
from torch import nn

from secateur.data.dataset import DataShape
from secateur.registry import models


def test_study_cs_classifier_equals_torchs_embedding_bag() -> None:
    model = models["embedding-bag"](DataShape(4, vocabulary=20), torch.Generator().manual_seed(0))
    assert model.embedding.weight.shape == (20, 64)
    assert model.output.weight.shape == (4, 64)
    bag = nn.EmbeddingBag(20, 64, mode="mean", padding_idx=0)
    bag.weight = model.embedding.weight
    tokens = torch.tensor([[3, 4, 5], [6, 0, 0], [0, 0, 0]])
    assert torch.allclose(model(tokens), model.output(bag(tokens)))


def test_second_derivatives_exist_for_every_weight() -> None:
    model = models["embedding-bag"](DataShape(3, vocabulary=9), torch.Generator().manual_seed(0), embedding=4)
    loss = nn.functional.cross_entropy(model(torch.tensor([[3, 4], [5, 0]])), torch.tensor([0, 2]))
    weights = [model.embedding.weight, model.output.weight]
    gradients = torch.autograd.grad(loss, weights, create_graph=True)
    products = torch.autograd.grad(sum(g.square().sum() for g in gradients), weights)
    assert all(product.count_nonzero() > 0 for product in products)
    assert products[0][0].count_nonzero() == 0
