"""Compressed networks under torch's captures of a graph: compiled, exported, traced and transformed they give what they give without."""

from __future__ import annotations

import copy
from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torch._dynamo.testing import CompileCounterWithBackend
from torch.nn.utils.rnn import pack_padded_sequence
from torch.testing import assert_close

from secateur.dropout import Dropout, set_dropout
from secateur.linear_maps import prunable_mask
from secateur.masks import random_pattern
from secateur.models.word_conv import WordConv
from secateur.seeds import generator
from secateur.sparse import SparseEmbedding, SparseLinear, compress, decompress


class Texts(nn.Module):
    """Ids (batch, length) -> (batch, 3): each kind of sparse layer in turn."""

    def __init__(self) -> None:
        super().__init__()
        self.embedding = nn.Embedding(40, 16, padding_idx=0)
        self.words = WordConv(16, 12, 3)
        self.conv = nn.Conv1d(12, 16, 2, padding=1)
        self.attention = nn.MultiheadAttention(16, 2, batch_first=True)
        self.lstm = nn.LSTM(16, 8, num_layers=2, batch_first=True, bidirectional=True)
        self.gru = nn.GRU(16, 8)
        self.rnn = nn.RNN(8, 8)
        self.out = nn.Sequential(nn.Linear(8, 16), nn.ReLU(), nn.Linear(16, 3))

    def forward(self, ids: Tensor) -> Tensor:
        y = torch.tanh(self.conv(self.words(self.embedding(ids).transpose(1, 2))).transpose(1, 2))
        y = y + self.attention(y, y, y, need_weights=False)[0]
        y = self.lstm(y)[0].transpose(0, 1) * 2
        return self.out(self.rnn(self.gru(y)[0])[0][-1])


class Packed(nn.Module):
    """(batch, length, 6) of several lengths -> (batch, 5)."""

    def __init__(self) -> None:
        super().__init__()
        self.lstm = nn.LSTM(6, 5)

    def forward(self, x: Tensor) -> Tensor:
        lengths = torch.arange(1, x.shape[0] + 1)
        return self.lstm(pack_padded_sequence(x, lengths, batch_first=True, enforce_sorted=False))[1][0][0] + 1


def compressed(build: Callable[[], nn.Module], density: float = 0.4) -> Callable[[], nn.Module]:
    def built() -> nn.Module:
        model = build()
        whole = prunable_mask(model, ("linear", "conv", "recurrent", "attention", "embedding"))
        return compress(model, whole.map(lambda name, p: random_pattern(p.shape, int(p.kept * density), 3, name, p.excluded_rows)))

    return built


def made(build: Callable[[], nn.Module]) -> nn.Module:
    with torch.random.fork_rng():
        torch.manual_seed(0)
        return build()


def feature_major() -> nn.Module:
    return nn.Sequential(*(SparseLinear.random(7, 7, density=0.5, seed=seed, layout="feature", activation="relu") for seed in (0, 1)))


def perceptron() -> nn.Module:
    return nn.Sequential(nn.Linear(9, 12), nn.ReLU(), nn.Dropout(0.0), nn.Linear(12, 4))


CASES: dict[str, tuple[Callable[[], nn.Module], Tensor]] = {
    "texts": (compressed(Texts), torch.randint(0, 40, (5, 11), generator=generator(1))),
    "packed": (compressed(Packed), torch.randn(4, 4, 6, generator=generator(2))),
    "feature-major": (feature_major, torch.randn(7, 6, generator=generator(3))),
    "perceptron": (compressed(perceptron), torch.randn(5, 9, generator=generator(4))),
}


def gradients(model: nn.Module, loss: Tensor) -> dict[str, Tensor]:
    names, parameters = zip(*model.named_parameters(), strict=True)
    return dict(zip(names, torch.autograd.grad(loss, parameters), strict=True))


@pytest.fixture(params=CASES)
def case(request: pytest.FixtureRequest) -> tuple[nn.Module, Tensor]:
    build, x = CASES[request.param]
    torch._dynamo.reset()
    return made(build), x


def test_compiled_networks_run_the_kernels_between_their_graphs(case: tuple[nn.Module, Tensor]) -> None:
    model, x = case
    counter = CompileCounterWithBackend("aot_eager")
    compiled = torch.compile(copy.deepcopy(model), backend=counter)
    y = model(x)
    assert_close(compiled(x), y)
    seen = counter.frame_count
    found, wanted = gradients(compiled._orig_mod, compiled(x).square().sum()), gradients(model, y.square().sum())
    assert_close(found, wanted)
    assert counter.frame_count == seen, "a second call is compiled again"
    with torch.no_grad():
        assert_close(compiled(x), y.detach())
    for graph in counter.graphs:
        # No survivor's value was put into a dense weight within a graph.
        assert not any("index_put" in str(node.target) for node in graph.graph.nodes)


def test_steps_of_dropout_are_compiled_once() -> None:
    model = made(compressed(lambda: nn.Sequential(nn.Linear(9, 30), nn.ReLU(), Dropout(0.5), nn.Linear(30, 4))))
    counter = CompileCounterWithBackend("aot_eager")
    torch._dynamo.reset()
    compiled, x = torch.compile(copy.deepcopy(model), backend=counter), CASES["perceptron"][1]
    frames, outputs = [], []
    for step in range(4):
        for one in (model, compiled._orig_mod):
            set_dropout(one, 1, step)
        outputs.append(compiled(x))
        assert torch.equal(outputs[-1], model(x))
        frames.append(counter.frame_count)
    assert not torch.equal(outputs[0], outputs[1])
    assert len(set(frames)) == 1


def test_moved_survivors_are_seen_by_a_compiled_network() -> None:
    model = made(compressed(perceptron))
    compiled = torch.compile(model, backend="aot_eager")
    x = CASES["perceptron"][1]
    before = compiled(x)
    weight = model[0].weight
    weight.move(random_pattern(weight.shape, 20, 9, "moved"), torch.ones(20))
    after = compiled(x)
    assert not torch.equal(before, after)
    assert_close(after, decompress(copy.deepcopy(model))(x))


@pytest.mark.parametrize("strict", [False, True])
@pytest.mark.parametrize("name", ["texts", "feature-major", "perceptron"])
def test_exported_networks_hold_dense_weights(name: str, strict: bool) -> None:
    build, x = CASES[name]
    model = made(build).eval()
    with torch.no_grad():
        exported = torch.export.export(model, (x,), strict=strict)
        assert_close(exported.module()(x), model(x))
        assert_close(exported.module()(x.flip(0)), model(x.flip(0)))


@pytest.mark.filterwarnings("ignore::torch.jit.TracerWarning", "ignore:.*torch.jit.trace:DeprecationWarning")
def test_traced_networks_hold_dense_weights(case: tuple[nn.Module, Tensor]) -> None:
    model, x = case
    model.eval()
    with torch.no_grad():
        traced: Any = torch.jit.trace(model, (x,))
        assert_close(traced(x.flip(0)), model(x.flip(0)))


@pytest.mark.parametrize("name", ["texts", "feature-major", "perceptron"])
def test_functional_transforms(name: str) -> None:
    build, x = CASES[name]
    model = made(build)
    parameters = {name: parameter.detach() for name, parameter in model.named_parameters()}

    def loss(parameters: dict[str, Tensor]) -> Tensor:
        return torch.func.functional_call(model, parameters, (x,)).square().sum()

    assert_close(torch.func.grad(loss)(parameters), gradients(model, model(x).square().sum()))


def test_tensors_that_escape_a_transform() -> None:
    escaped: list[Tensor] = []

    def leak(x: Tensor) -> Tensor:
        escaped.append(x * 2)
        return x.sum()

    x = CASES["perceptron"][1]
    torch.func.grad(leak)(x)
    model = made(compressed(perceptron))
    assert_close(model(escaped[0]), model(x * 2))


def test_ids_that_escape_a_transform() -> None:
    ids = CASES["texts"][1]
    escaped: list[Tensor] = []

    def leak(x: Tensor) -> Tensor:
        escaped.append(ids + 0)
        return x.sum()

    torch.func.grad(leak)(torch.ones(3))
    embedding = made(compressed(Texts)).embedding
    assert type(embedding) is SparseEmbedding
    assert_close(embedding(escaped[0]), embedding(ids))


def test_gradients_of_single_examples() -> None:
    model = made(compressed(perceptron))
    x = CASES["perceptron"][1]
    parameters = {name: parameter.detach() for name, parameter in model.named_parameters()}

    def loss(parameters: dict[str, Tensor], example: Tensor) -> Tensor:
        return torch.func.functional_call(model, parameters, (example,)).square().sum()

    found = torch.func.vmap(torch.func.grad(loss), in_dims=(None, 0))(parameters, x)
    for position, example in enumerate(x):
        assert_close({name: tensor[position] for name, tensor in found.items()}, gradients(model, model(example).square().sum()))
