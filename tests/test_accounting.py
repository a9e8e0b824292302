import pytest
import torch
from torch import Tensor, nn
from torch.nn.attention import SDPBackend, sdpa_kernel
from torch.utils.flop_counter import FlopCounterMode

from secateur.accounting import cost, stored_bytes
from secateur.linear_maps import prunable_mask
from secateur.masks import Mask, random_pattern


def test_lenet_by_hand() -> None:
    model = nn.Sequential(nn.Flatten(), nn.Linear(784, 300), nn.ReLU(), nn.Linear(300, 100), nn.ReLU(), nn.Linear(100, 10))
    mask = Mask({
        "1.weight": random_pattern((300, 784), 1000, 0, "1.weight"),
        "5.weight": random_pattern((10, 100), 400, 0, "5.weight"),
    })  # fmt: skip
    found = cost(model, torch.zeros(1, 1, 28, 28), mask)
    assert found.weights == 266_610
    assert (found.prunable, found.kept, found.kept_weights) == (236_200, 1400, 266_610 - 236_200 + 1400)
    assert found.dense_multiply_adds == 784 * 300 + 300 * 100 + 100 * 10
    assert found.multiply_adds == 1000 + 300 * 100 + 400
    assert [layer.uses for layer in found.layers] == [1, 1, 1]


@pytest.mark.parametrize(
    ("model", "shape"),
    [
        (nn.Conv1d(3, 5, 4, stride=2, padding=1), (1, 3, 17)),
        (nn.Conv2d(4, 6, 3, groups=2, padding=1), (1, 4, 9, 7)),
        (nn.Sequential(nn.Linear(6, 4), nn.ReLU(), nn.Linear(4, 4)), (1, 11, 6)),
        (nn.TransformerEncoderLayer(8, 2, 16, batch_first=True), (1, 5, 8)),
    ],
)
def test_dense_multiply_adds_are_half_of_torchs_flops(model: nn.Module, shape: tuple[int, ...]) -> None:
    x = torch.rand(shape)
    with FlopCounterMode(display=False) as counter, sdpa_kernel(SDPBackend.MATH):
        model.eval()(x)
    assert cost(model, x).dense_multiply_adds == counter.get_total_flops() // 2


@pytest.mark.parametrize(("kind", "gates"), [(nn.LSTM, 4), (nn.GRU, 3), (nn.RNN, 1)])
def test_recurrent_layers_multiply_each_weight_once_a_step(kind: type[nn.RNNBase], gates: int) -> None:
    model = kind(3, 5, num_layers=2, bidirectional=True, batch_first=True)
    found = cost(model, torch.rand(1, 7, 3))
    assert found.dense_multiply_adds == 7 * 2 * gates * 5 * ((3 + 5) + (10 + 5))
    mask = prunable_mask(model, ["weight_hh_l0"])
    none = mask & ~mask
    assert cost(model, torch.rand(1, 7, 3), none).multiply_adds == found.dense_multiply_adds - 7 * gates * 5 * 5


def test_packed_sequences_count_their_true_steps() -> None:
    class Packed(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.gru = nn.GRU(2, 3, batch_first=True)

        def forward(self, x: Tensor, lengths: Tensor) -> Tensor:
            return self.gru(nn.utils.rnn.pack_padded_sequence(x, lengths, batch_first=True))[1]

    assert cost(Packed(), (torch.rand(1, 9, 2), torch.tensor([4]))).dense_multiply_adds == 4 * 3 * 3 * (2 + 3)


class Attends(nn.Module):
    def __init__(self, how: str) -> None:
        super().__init__()
        self.how = how
        self.q, self.k, self.v = (nn.Linear(8, 8, bias=False) for _ in range(3))
        self.whole = nn.MultiheadAttention(8, 2, batch_first=True, bias=False)

    def forward(self, x: Tensor, y: Tensor) -> Tensor:
        if self.how == "module":
            return self.whole(query=x, key=y, value=y)[0]
        q, k, v = (layer(z).unflatten(-1, (2, 4)).transpose(1, 2) for layer, z in ((self.q, x), (self.k, y), (self.v, y)))
        if self.how == "fused":
            return nn.functional.scaled_dot_product_attention(q, k, v)
        return (q @ k.transpose(2, 3)).softmax(-1) @ v


@pytest.mark.parametrize("how", ["module", "fused", "written out"])
def test_attentions_own_products_count_however_it_is_written(how: str) -> None:
    found = cost(Attends(how), (torch.rand(1, 3, 8), torch.rand(1, 5, 8)))
    assert found.products == 2 * 3 * 5 * 8
    projections = 64 * (3 + 5 + 5) if how != "module" else 192 * ((3 + 2 * 5) // 3) + 64 * 3
    assert found.dense_multiply_adds - found.products == projections


def test_embeddings_cost_nothing_and_tied_tensors_each_use() -> None:
    class Tied(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.embedding = nn.Embedding(10, 4, padding_idx=0)
            self.first = nn.Linear(4, 10, bias=False)
            self.second = nn.Linear(4, 10, bias=False)
            self.first.weight = self.second.weight = self.embedding.weight

        def forward(self, x: Tensor) -> Tensor:
            words = self.embedding(x)
            return self.first(words) + self.second(words[:, :1])

    model = Tied()
    found = cost(model, torch.ones(1, 6, dtype=torch.long))
    assert found.weights == 40
    assert found.dense_multiply_adds == 40 * (6 + 1)
    assert cost(nn.EmbeddingBag(10, 4), torch.ones(1, 6, dtype=torch.long)).dense_multiply_adds == 0
    assert [layer.kind for layer in found.layers] == ["linear"]


def test_a_matrix_times_a_parameter_is_no_product_of_activations() -> None:
    class Bare(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.w = nn.Parameter(torch.rand(3, 3))

        def forward(self, x: Tensor) -> Tensor:
            return x @ self.w @ self.w.T

    assert cost(Bare(), torch.rand(1, 3)).products == 0


def test_bytes_are_of_what_is_smaller() -> None:
    model = nn.Linear(64, 64)
    dense = 4 * (64 * 64 + 64)
    assert stored_bytes(model) == (dense, dense)
    assert stored_bytes(model, Mask({"weight": random_pattern((64, 64), 2048, 0, "w")})) == (dense, 4 * 64 + 4 * 2048 + 512)
    assert stored_bytes(model, Mask({"weight": random_pattern((64, 64), 10, 0, "w")})) == (dense, 4 * 64 + 8 * 10)
    assert stored_bytes(model, prunable_mask(model)) == (dense, dense)


def test_the_model_stays_as_it_was() -> None:
    model = nn.Sequential(nn.Linear(3, 3), nn.BatchNorm1d(3)).train()
    before = {name: value.clone() for name, value in model.state_dict().items()}
    cost(model, torch.rand(1, 3))
    assert model.training
    assert model[1].training
    assert not model[0]._forward_hooks
    assert all(torch.equal(value, before[name]) for name, value in model.state_dict().items())
