import pytest
import torch
from small_networks import batches_of, loss, mlp
from torch import nn

from secateur.errors import PruningError
from secateur.linear_maps import prunable_mask
from secateur.masks import Pattern, apply
from secateur.pruning.arithmetic import popup_step_
from secateur.pruning.edge_popup import chosen
from secateur.pruning.prune import prune, score
from secateur.seeds import generator


def test_the_choice_passes_gradients_straight_through() -> None:
    scores, weights = torch.tensor([0.3, -0.9, 0.1, 0.5]), torch.tensor([5.0, 6.0, 7.0, 8.0])
    used = chosen(scores, Pattern.from_tensor(torch.tensor([True, True, True, False])), 2, weights)
    assert used.tolist() == [5.0, 6.0, 0.0, 0.0]
    (used * torch.tensor([1.0, 2.0, 3.0, 4.0])).sum().backward()
    assert used.grad is not None
    gathered = torch.zeros(4)
    popup_step_(scores, gathered, used.grad, weights, rate=0.5, momentum=0.9, decay=0.0, first=True)
    assert gathered.tolist() == [5.0, -12.0, 21.0, 32.0]
    torch.testing.assert_close(scores, torch.tensor([-2.2, 5.1, -10.4, -15.5]))


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
