import math

import pytest
import torch
from torch import nn

from secateur.models.initialisers import initialised, start_from_vectors
from secateur.registry import initialisers

NAMES = ["kaiming-normal", "kaiming-uniform", "keras", "torch", "uniform", "xavier-normal", "xavier-uniform"]


class EveryKind(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.embedding = nn.Embedding(50, 20, padding_idx=0)
        self.convolution = nn.Conv1d(20, 30, 3)
        self.lstm = nn.LSTM(30, 24, num_layers=2, bidirectional=True)
        self.gru = nn.GRU(48, 16)
        self.attention = nn.MultiheadAttention(16, 2)
        self.norm = nn.LayerNorm(16)
        self.output = nn.Linear(16, 4)


def made(init: str, seed: int = 0, **options: float) -> EveryKind:
    return initialised(EveryKind, init, torch.Generator().manual_seed(seed), **options)


def test_the_registry_has_them() -> None:
    assert initialisers.names() == NAMES


@pytest.mark.parametrize("init", NAMES)
def test_every_parameter_is_drawn_from_the_generator_alone(init: str) -> None:
    before = torch.random.get_rng_state()
    first = made(init).state_dict()
    assert torch.equal(torch.random.get_rng_state(), before)
    torch.manual_seed(99)
    again, other = made(init).state_dict(), made(init, seed=1).state_dict()
    for name, value in first.items():
        assert value.device.type == "cpu"
        assert torch.isfinite(value).all()
        assert torch.equal(value, again[name])
        if name.rpartition(".")[2].startswith(("weight_", "in_proj_weight")):
            assert not torch.equal(value, other[name])


@pytest.mark.parametrize("init", NAMES)
def test_padding_rows_are_zero_and_normalisation_is_the_identity(init: str) -> None:
    model = made(init)
    assert model.embedding.weight[0].count_nonzero() == 0
    assert model.embedding.weight[1:].count_nonzero() > 0
    assert torch.equal(model.norm.weight, torch.ones(16))
    assert torch.equal(model.norm.bias, torch.zeros(16))


def test_xavier_reads_the_fans_of_one_gate() -> None:
    model = made("xavier-uniform").requires_grad_(False)
    bound = math.sqrt(6 / (30 + 24))
    for gate in model.lstm.weight_ih_l0.chunk(4):
        assert bound * 0.95 < float(gate.abs().max()) <= bound
    conv = math.sqrt(6 / (20 * 3 + 30 * 3))
    assert conv * 0.95 < float(model.convolution.weight.abs().max()) <= conv
    lookup = math.sqrt(6 / (1 + 20))
    assert lookup * 0.95 < float(model.embedding.weight.abs().max()) <= lookup
    for projection in model.attention.in_proj_weight.chunk(3):
        assert math.sqrt(6 / 32) * 0.95 < float(projection.abs().max()) <= math.sqrt(6 / 32)
    assert model.output.bias.count_nonzero() == 0


def test_normal_initialisers_have_the_stated_variance() -> None:
    layer = initialised(lambda: nn.Linear(400, 300), "xavier-normal", torch.Generator().manual_seed(0)).requires_grad_(False)
    assert float(layer.weight.var()) == pytest.approx(2 / 700, rel=0.02)
    layer = initialised(lambda: nn.Linear(400, 300), "kaiming-normal", torch.Generator().manual_seed(0)).requires_grad_(False)
    assert float(layer.weight.var()) == pytest.approx(2 / 400, rel=0.02)
    layer = initialised(lambda: nn.Linear(400, 300), "kaiming-uniform", torch.Generator().manual_seed(0)).requires_grad_(False)
    assert float(layer.weight.var()) == pytest.approx(2 / 400, rel=0.02)


def test_recurrent_matrices_are_orthogonal_gate_by_gate() -> None:
    for gate in made("xavier-normal").lstm.weight_hh_l1_reverse.chunk(4):
        assert torch.allclose(gate @ gate.T, torch.eye(24), atol=1e-5)


def test_keras_stacks_the_gates_and_opens_the_forget_gate() -> None:
    model = made("keras").requires_grad_(False)
    stacked = model.lstm.weight_hh_l0
    assert torch.allclose(stacked.T @ stacked, torch.eye(24), atol=1e-5)
    assert float(model.lstm.weight_ih_l0.abs().max()) <= math.sqrt(6 / (30 + 4 * 24))
    forget = torch.zeros(96)
    forget[24:48] = 1
    assert torch.equal(model.lstm.bias_ih_l1_reverse + model.lstm.bias_hh_l1_reverse, forget)
    assert model.gru.bias_ih_l0.count_nonzero() == 0
    assert 0.045 < float(model.embedding.weight.abs().max()) <= 0.05


def test_torch_has_the_bounds_of_pytorchs_own_layers() -> None:
    model = made("torch").requires_grad_(False)
    torch.manual_seed(0)
    theirs = EveryKind().state_dict()
    for name, value in model.state_dict().items():
        if name != "embedding.weight" and (value.numel() >= 40 or not value.any()):
            assert float(value.abs().max()) == pytest.approx(float(theirs[name].abs().max()), rel=0.25), name
    assert float(model.embedding.weight[1:].std()) == pytest.approx(1, rel=0.1)


def test_uniform_reaches_biases_too() -> None:
    model = made("uniform", scale=0.05).requires_grad_(False)
    assert 0.04 < float(model.lstm.bias_hh_l0.abs().max()) <= 0.05
    assert 0.04 < float(model.lstm.weight_hh_l0.abs().max()) <= 0.05


def test_vectors_replace_the_embedding_but_not_its_padding() -> None:
    embedding = nn.Embedding(3, 2, padding_idx=0)
    start_from_vectors(embedding, torch.tensor([[9.0, 9.0], [1.0, 2.0], [3.0, 4.0]]))
    assert embedding.weight.tolist() == [[0, 0], [1, 2], [3, 4]]
