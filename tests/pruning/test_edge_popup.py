import pytest
import torch
from small_networks import batches_of, loss, mlp
from torch import nn

from secateur.errors import PruningError
from secateur.linear_maps import prunable_mask
from secateur.masks import apply
from secateur.pruning.prune import prune, score
from secateur.seeds import generator


def test_it_finds_the_good_half_of_an_untrained_network() -> None:
    torch.manual_seed(0)
    model = nn.Sequential(nn.Linear(8, 128), nn.ReLU(), nn.Linear(128, 2))
    draw = generator(0)
    inputs = torch.randn(256, 8, generator=draw)
    targets = (inputs[:, 0] > inputs[:, 1]).long()
    before = {name: value.clone() for name, value in model.state_dict().items()}
    options = {"name": "edge-popup", "steps": 200, "density": 0.5}
    mask = prune(model, 0.5, score=options, scope="layer", batches=[(inputs, targets)], loss=loss)
    assert all(torch.equal(value, before[name]) for name, value in model.state_dict().items())

    def accuracy() -> float:
        return float((model(inputs).argmax(1) == targets).double().mean())

    untrained = accuracy()
    apply(mask, model)
    assert accuracy() > 0.7 > untrained + 0.2


def test_it_repeats_and_needs_batches() -> None:
    model = mlp()
    options = {"name": "edge-popup", "steps": 5}
    first, again = (score(model, options, batches=iter(batches_of(model)), loss=loss, seed=4) for _ in range(2))
    assert all(torch.equal(first[name], again[name]) for name in prunable_mask(model))
    assert all((values >= 0).all() for values in first.values())
    with pytest.raises(PruningError, match="needs batches"):
        score(model, options)
    with pytest.raises(PruningError, match="at least one batch"):
        score(model, options, batches=[], loss=loss)
