import copy

import torch
from small_networks import drawn
from torch import Tensor, nn

from secateur.linear_maps import prunable_mask
from secateur.masks import Mask, apply
from secateur.pruning.prune import prune
from secateur.pruning.silent import without_silent_columns
from secateur.seeds import generator


def outputs(model: nn.Module, mask: Mask, x: Tensor) -> Tensor:
    model = copy.deepcopy(model).eval()
    apply(mask, model)
    return model(x).detach()


def both(model: nn.Module, *masks: Mask) -> Mask:
    patterns = dict(prunable_mask(model, ["linear", "conv", "recurrent"]).patterns)
    for mask in masks:
        patterns.update(mask.patterns)
    return Mask(patterns)


def test_columns_that_read_dead_neurons_go_and_outputs_stay() -> None:
    model = drawn(nn.Sequential(nn.Linear(4, 6), nn.ReLU(), nn.Linear(6, 3)))
    with torch.no_grad():
        model[0].bias.copy_(torch.tensor([-1.0, 1.0, -1.0, 1.0, -1.0, -1.0]))
    kept = torch.ones(6, 4, dtype=torch.bool)
    kept[[0, 1, 2]] = False
    mask = both(model, Mask({"0.weight": kept}))
    x = torch.randn(5, 4, generator=generator(1), dtype=torch.float64)
    smaller = without_silent_columns(model, mask, x)
    assert smaller["2.weight"].any(0).tolist() == [False, True, False, True, True, True]
    assert torch.equal(smaller["0.weight"], mask["0.weight"])
    assert torch.equal(outputs(model, smaller, x), outputs(model, mask, x))


def test_columns_of_the_layer_after_an_lstm_go_with_its_hidden_units() -> None:
    class Net(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.lstm = nn.LSTM(3, 6, batch_first=True, bidirectional=True)
            self.next = nn.GRU(12, 4, batch_first=True)
            self.output = nn.Linear(4, 2)

        def forward(self, x: Tensor) -> Tensor:
            return self.output(self.next(self.lstm(x)[0])[0])

    model = drawn(Net())
    hidden = prune(model, 0.4, unit="hidden", scope="layer", prunable=["lstm.weight*", "lstm.bias*"])
    mask = both(model, hidden)
    x = torch.randn(2, 5, 3, generator=generator(1), dtype=torch.float64)
    smaller = without_silent_columns(model, mask, x)
    units = torch.cat([hidden[f"lstm.weight_hh_l0{way}"].reshape(4, 6, 6).any(2)[0] for way in ("", "_reverse")])
    assert not units.all()
    assert torch.equal(smaller["next.weight_ih_l0"], units.expand(12, 12))
    assert torch.equal(outputs(model, smaller, x), outputs(model, mask, x))


def test_it_goes_on_through_the_network_and_only_where_the_mask_reaches() -> None:
    model = drawn(nn.Sequential(nn.Linear(3, 4, bias=False), nn.ReLU(), nn.Linear(4, 5, bias=False), nn.ReLU(), nn.Linear(5, 2)))
    none = Mask({"0.weight": torch.zeros(4, 3, dtype=torch.bool)})
    x = torch.randn(5, 3, generator=generator(1), dtype=torch.float64)
    assert without_silent_columns(model, both(model, none), x).kept == 0
    assert without_silent_columns(model, none, x) == none
