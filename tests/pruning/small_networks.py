"""Small networks in double precision that the tests of scores share."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn

from secateur.seeds import generator


def drawn(model: nn.Module, seed: int = 0) -> nn.Module:
    """`model` in double precision, every parameter drawn from `seed`."""
    draw = generator(seed)
    model = model.double()
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.copy_(torch.randn(parameter.shape, generator=draw, dtype=torch.float64) * 0.5)
    return model


def mlp() -> nn.Module:
    return drawn(nn.Sequential(nn.Linear(4, 5), nn.Tanh(), nn.Dropout(0.5), nn.Linear(5, 3)))


class Tagger(nn.Module):
    """Embedding, convolution, LSTM of two layers and directions, attention, normalisation, a linear layer that may be tied."""

    def __init__(self, tied: bool = False) -> None:
        super().__init__()
        self.embedding = nn.Embedding(7, 4, padding_idx=0)
        self.conv = nn.Conv1d(4, 4, 3, padding=1)
        self.norm = nn.LayerNorm(4)
        self.lstm = nn.LSTM(4, 2, num_layers=2, bidirectional=True, batch_first=True)
        self.attention = nn.MultiheadAttention(4, 2, batch_first=True)
        self.output = nn.Linear(4, 7)
        if tied:
            self.output.weight = self.embedding.weight

    def forward(self, tokens: Tensor) -> Tensor:
        x = self.embedding(tokens)
        x = torch.relu(self.conv(x.transpose(1, 2))).transpose(1, 2)
        x, _ = self.lstm(self.norm(x))
        x, _ = self.attention(x, x, x)
        return self.output(x).mean(1)


def tagger(tied: bool = False) -> nn.Module:
    model = drawn(Tagger(tied))
    with torch.no_grad():
        model.get_parameter("embedding.weight")[0] = 0
    return model


def batches_of(model: nn.Module, count: int = 2, examples: int = 3, seed: int = 1) -> list[tuple[Any, Tensor]]:
    """Batches for `mlp()` (vectors of 4) or a `tagger()` (five tokens), with class numbers."""
    draw = generator(seed)
    if isinstance(model, Tagger):
        return [(torch.randint(1, 7, (examples, 5), generator=draw), torch.randint(7, (examples,), generator=draw)) for _ in range(count)]
    return [
        (torch.randn(examples, 4, generator=draw, dtype=torch.float64), torch.randint(3, (examples,), generator=draw)) for _ in range(count)
    ]


def loss(outputs: Tensor, targets: Tensor) -> Tensor:
    return nn.functional.cross_entropy(outputs, targets)
