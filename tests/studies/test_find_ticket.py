"""Tickets of a network of one's own, and the names that the library promises."""

from __future__ import annotations

import pytest
import torch
from torch import nn

import secateur as sc
from secateur.errors import InputError
from secateur.seeds import generator


class OwnNetwork(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        torch.manual_seed(3)
        self.first, self.second = nn.Linear(6, 12), nn.Linear(12, 2)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.second(torch.tanh(self.first(x)))  # type: ignore[no-any-return]


def data(count: int = 200) -> sc.from_arrays:  # type: ignore[valid-type]
    inputs = torch.randn(count, 6, generator=generator(1))
    targets = (inputs[:, 0] * inputs[:, 1] > 0).long()
    return sc.from_arrays((inputs[:120], targets[:120]), (inputs[120:], targets[120:]), outputs=2)


@pytest.mark.parametrize("rewind", ["init", "1ep", "lr"])
def test_tickets_of_a_network_of_ones_own(rewind: str) -> None:
    tickets = list(sc.find_ticket(OwnNetwork, "classification", data(), length="6ep", batch=20, keep_each=0.5, levels=3, rewind=rewind))
    assert [ticket.level for ticket in tickets] == [0, 1, 2, 3]
    assert [round(ticket.density, 2) for ticket in tickets] == [1.0, 0.5, 0.25, 0.12]
    last = tickets[-1]
    model = last.load_into(OwnNetwork())
    weights = dict(model.named_parameters())
    assert all(bool((weights[name][~last.mask[name]] == 0).all()) for name in last.mask)
    if rewind == "init":
        fresh = dict(OwnNetwork().named_parameters())
        start = last.start.whole()
        assert all(torch.equal(start[name], fresh[name]) for name in start)
    assert 0 <= last.metrics["accuracy"] <= 1


def test_a_rewind_that_makes_no_ticket_is_refused() -> None:
    with pytest.raises(InputError, match="find_ticket rewinds"):
        next(sc.find_ticket(OwnNetwork, "classification", data(), rewind="reinit"))


def test_the_promised_names_are_there() -> None:
    for name in sc.__all__:
        assert getattr(sc, name) is not None
    mask = sc.prune(OwnNetwork(), density=0.25)
    fast = sc.compress(OwnNetwork(), mask)
    inputs = torch.randn(5, 6, generator=generator(2))
    masked = OwnNetwork()
    sc.apply(mask, masked)
    assert torch.allclose(fast(inputs), masked(inputs), atol=1e-6)
    assert torch.allclose(sc.decompress(fast)(inputs), masked(inputs), atol=1e-6)
    with pytest.raises(AttributeError):
        _ = sc.nothing
