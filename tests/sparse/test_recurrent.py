from __future__ import annotations

import copy
import io
import os
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor, nn
from torch.nn.utils.rnn import PackedSequence, pack_padded_sequence

from secateur.dropout import set_dropout
from secateur.errors import PruningError, UnknownName
from secateur.linear_maps import linear_maps
from secateur.masks import Mask, apply
from secateur.seeds import generator
from secateur.sparse.compression import compress, decompress, mask_of
from secateur.sparse.recurrent import SparseGRU, SparseLSTM, SparseRecurrent, SparseRNN

KINDS: dict[str, tuple[type[SparseRecurrent], type[nn.RNNBase], dict[str, Any]]] = {
    "lstm": (SparseLSTM, nn.LSTM, {}),
    "gru": (SparseGRU, nn.GRU, {}),
    "tanh": (SparseRNN, nn.RNN, {"nonlinearity": "tanh"}),
    "relu": (SparseRNN, nn.RNN, {"nonlinearity": "relu"}),
}


def pair(
    kind: str,
    inputs: int,
    hidden: int,
    density: float,
    *,
    seed: int = 0,
    dtype: torch.dtype = torch.float64,
    layout: Any = "batch",
    **options: Any,
) -> tuple[nn.RNNBase, SparseRecurrent, dict[str, Tensor]]:
    """A dense layer with pruned weights at zero, the sparse layer of the same weights, and the masks."""
    sparse_kind, dense_kind, own = KINDS[kind]
    dense = dense_kind(inputs, hidden, dtype=dtype, **own, **options)
    random = generator(seed, kind)
    with torch.no_grad():
        for parameter in dense.parameters():
            parameter.copy_((torch.rand(parameter.shape, generator=random, dtype=dtype) * 2 - 1) / max(1.0, (density * hidden) ** 0.5))
        masks = {}
        for name, parameter in dense.named_parameters():
            if name.startswith("weight"):
                masks[name] = torch.rand(parameter.shape, generator=random) < density
                parameter.mul_(masks[name])
    return dense, sparse_kind.from_dense(dense, masks, layout=layout), masks


def flat(result: Any) -> list[Tensor]:
    """Every tensor of a layer's result."""
    if isinstance(result, Tensor):
        return [result]
    if isinstance(result, PackedSequence):
        return [result.data]
    return [tensor for part in result for tensor in flat(part)]


def weighted_sum(tensors: list[Tensor]) -> Tensor:
    """A scalar whose gradient differs everywhere."""
    total = torch.zeros((), dtype=tensors[0].dtype)
    for number, tensor in enumerate(tensors):
        weights = torch.arange(tensor.numel(), dtype=tensor.dtype).view(tensor.shape).mul(0.37 + number).sin()
        total = total + (tensor * weights).sum()
    return total


def compare(dense: nn.RNNBase, sparse: SparseRecurrent, masks: dict[str, Tensor], x: Any, states: Any, tolerance: float) -> None:
    """Outputs, last states and every gradient of the two layers agree."""
    leaves = [x.data if isinstance(x, PackedSequence) else x, *([] if states is None else flat(states))]
    results = []
    for layer in (dense, sparse):
        layer.zero_grad()
        for leaf in leaves:
            leaf.grad = None
        outputs = flat(layer(x, states))
        weighted_sum(outputs).backward()
        results.append((outputs, [leaf.grad.clone() for leaf in leaves if leaf.grad is not None]))
    for ours, theirs in zip(results[1][0] + results[1][1], results[0][0] + results[0][1], strict=True):
        torch.testing.assert_close(ours, theirs, rtol=tolerance, atol=tolerance)
    for name, parameter in dense.named_parameters():
        assert parameter.grad is not None
        if name in masks:
            torch.testing.assert_close(sparse.weight(name).values.grad, parameter.grad[masks[name]], rtol=tolerance, atol=tolerance)
        else:
            torch.testing.assert_close(sparse.get_parameter(name).grad, parameter.grad, rtol=tolerance, atol=tolerance)


def first_states(kind: str, count: int, batch: int, hidden: int, dtype: torch.dtype, seed: int) -> Any:
    random = generator(seed, "states")
    made = [torch.randn(count, batch, hidden, generator=random, dtype=dtype).requires_grad_() for _ in range(2)]
    return (made[0], made[1]) if kind == "lstm" else made[0]


@given(
    kind=st.sampled_from(sorted(KINDS)),
    inputs=st.integers(1, 40),
    hidden=st.integers(1, 70),
    batch=st.integers(1, 37),
    steps=st.integers(1, 12),
    layers=st.integers(1, 3),
    density=st.sampled_from([0.0, 0.03, 0.3, 1.0]),
    bias=st.booleans(),
    bidirectional=st.booleans(),
    batch_first=st.booleans(),
    with_state=st.booleans(),
    single=st.booleans(),
    seed=st.integers(0, 1000),
)
def test_it_computes_what_the_masked_dense_layer_computes(
    kind: str, inputs: int, hidden: int, batch: int, steps: int, layers: int, density: float, bias: bool, bidirectional: bool,
    batch_first: bool, with_state: bool, single: bool, seed: int,
) -> None:  # fmt: skip
    dtype = torch.float32 if single else torch.float64
    dense, sparse, masks = pair(
        kind,
        inputs,
        hidden,
        density,
        seed=seed,
        dtype=dtype,
        num_layers=layers,
        bias=bias,
        bidirectional=bidirectional,
        batch_first=batch_first,
    )
    shape = (batch, steps, inputs) if batch_first else (steps, batch, inputs)
    x = torch.randn(shape, generator=generator(seed, "x"), dtype=dtype).requires_grad_()
    states = first_states(kind, layers * (1 + bidirectional), batch, hidden, dtype, seed) if with_state else None
    compare(dense, sparse, masks, x, states, 2e-4 if single else 1e-10)


@given(
    kind=st.sampled_from(sorted(KINDS)),
    lengths=st.lists(st.integers(1, 9), min_size=1, max_size=40),
    sort=st.booleans(),
    bidirectional=st.booleans(),
    layers=st.integers(1, 2),
    with_state=st.booleans(),
    seed=st.integers(0, 1000),
)
def test_packed_sequences(kind: str, lengths: list[int], sort: bool, bidirectional: bool, layers: int, with_state: bool, seed: int) -> None:
    lengths = sorted(lengths, reverse=True) if sort else lengths
    dense, sparse, masks = pair(kind, 5, 11, 0.4, seed=seed, num_layers=layers, bidirectional=bidirectional)
    padded = torch.randn(max(lengths), len(lengths), 5, generator=generator(seed, "x"), dtype=torch.float64)
    packed = pack_padded_sequence(padded, torch.tensor(lengths), enforce_sorted=sort)
    packed = PackedSequence(packed.data.detach().requires_grad_(), packed.batch_sizes, packed.sorted_indices, packed.unsorted_indices)
    states = first_states(kind, layers * (1 + bidirectional), len(lengths), 11, torch.float64, seed) if with_state else None
    compare(dense, sparse, masks, packed, states, 1e-10)


@pytest.mark.parametrize("kind", sorted(KINDS))
@pytest.mark.parametrize("options", [{}, {"bias": False}, {"num_layers": 2, "bidirectional": True}, {"batch_first": True}])
def test_gradcheck(kind: str, options: dict[str, Any]) -> None:
    _, sparse, _ = pair(kind, 3, 4, 0.5, **options)
    count = sparse.num_layers * (1 + sparse.bidirectional)
    x = torch.randn(3, 2, 3, generator=generator(1), dtype=torch.float64).requires_grad_()
    states = first_states(kind, count, 3 if sparse.batch_first else 2, 4, torch.float64, 2)
    names = [name for name, _ in sparse.named_parameters()]

    def outputs(x: Tensor, *others: Tensor) -> tuple[Tensor, ...]:
        hx = others[: len(flat(states))]
        parameters = dict(zip(names, others[len(hx) :], strict=True))
        return tuple(flat(torch.func.functional_call(sparse, parameters, (x, hx if kind == "lstm" else hx[0]))))

    assert torch.autograd.gradcheck(
        outputs, (x, *flat(states), *[parameter.detach().requires_grad_() for parameter in sparse.parameters()])
    )


@pytest.mark.parametrize("kind", sorted(KINDS))
def test_gradcheck_of_packed_sequences(kind: str) -> None:
    _, sparse, _ = pair(kind, 3, 4, 0.5, num_layers=2, bidirectional=True)
    data = torch.randn(9, 3, generator=generator(1), dtype=torch.float64).requires_grad_()
    sizes = torch.tensor([5, 3, 1])
    states = first_states(kind, 4, 5, 4, torch.float64, 2)

    def outputs(data: Tensor, *hx: Tensor) -> tuple[Tensor, ...]:
        return tuple(flat(sparse(PackedSequence(data, sizes), hx if kind == "lstm" else hx[0])))

    assert torch.autograd.gradcheck(outputs, (data, *flat(states)))


@pytest.mark.parametrize("kind", sorted(KINDS))
def test_feature_layout_is_the_same_layer_without_transposes(kind: str) -> None:
    dense, sparse, masks = pair(kind, 6, 9, 0.4, num_layers=2, bidirectional=True)
    _, features, _ = pair(kind, 6, 9, 0.4, num_layers=2, bidirectional=True, layout="feature")
    x = torch.randn(7, 5, 6, generator=generator(3), dtype=torch.float64)
    y, last = sparse(x)
    y_features, last_features = features(x.permute(2, 0, 1))
    assert y_features.shape == (18, 7, 5)
    torch.testing.assert_close(y_features.permute(1, 2, 0), y)
    for ours, theirs in zip(flat(last_features), flat(last), strict=True):
        torch.testing.assert_close(ours, theirs)
    del dense, masks


def test_an_input_without_a_batch() -> None:
    for kind in sorted(KINDS):
        dense, sparse, _ = pair(kind, 4, 5, 0.5, num_layers=2)
        x = torch.randn(6, 4, dtype=torch.float64, generator=generator(0))
        state = torch.randn(2, 5, dtype=torch.float64, generator=generator(1))
        hx: Any = (state, state) if kind == "lstm" else state
        for ours, theirs in zip(flat(sparse(x, hx)), flat(dense(x, hx)), strict=True):
            assert ours.shape == theirs.shape
            torch.testing.assert_close(ours, theirs)


def test_only_the_last_state_is_used() -> None:
    dense, sparse, _ = pair("lstm", 4, 5, 0.5)
    x = torch.randn(6, 3, 4, dtype=torch.float64, generator=generator(0))
    gradients = []
    for layer in (dense, sparse):
        leaf = x.clone().requires_grad_()
        layer(leaf)[1][1].sum().backward()
        gradients.append(leaf.grad)
    torch.testing.assert_close(gradients[1], gradients[0])


def test_dropout_between_layers_is_secateurs_own() -> None:
    _, sparse, _ = pair("lstm", 4, 32, 0.5, num_layers=2, dropout=0.5)
    x = torch.randn(6, 3, 4, dtype=torch.float64, generator=generator(0))

    def run(step: int) -> Tensor:
        set_dropout(sparse, 1, step)
        return sparse(x)[0]

    assert torch.equal(run(0), run(0))
    assert not torch.equal(run(0), run(1))
    by_batch = SparseLSTM({name: sparse.weight(name) for name in sparse._names(0) + sparse._names(1)}, {
        name: bias for name, bias in sparse.named_parameters() if name.startswith("bias")}, dropout=0.5, layout="feature")  # fmt: skip
    set_dropout(by_batch, 1, 0)
    torch.testing.assert_close(by_batch(x.permute(2, 0, 1))[0].permute(1, 2, 0), run(0))
    sparse.eval()
    torch.testing.assert_close(sparse(x)[0], sparse.to_dense()(x)[0])


def test_a_state_dict_carries_survivors_and_their_places() -> None:
    _, first, _ = pair("gru", 6, 7, 0.3, seed=1, num_layers=2)
    _, second, _ = pair("gru", 6, 7, 0.6, seed=2, num_layers=2)
    x = torch.randn(4, 3, 6, dtype=torch.float64, generator=generator(0))
    expected = first(x)[0]
    assert not torch.equal(second(x)[0], expected)
    second.load_state_dict(first.state_dict())
    assert torch.equal(second(x)[0], expected)
    assert torch.equal(copy.deepcopy(first)(x)[0], expected)
    file = io.BytesIO()
    torch.save(first, file)
    file.seek(0)
    assert torch.equal(torch.load(file, weights_only=False)(x)[0], expected)


def test_to_dense_and_back() -> None:
    for kind in sorted(KINDS):
        dense, sparse, masks = pair(kind, 6, 7, 0.3, num_layers=2, bidirectional=True)
        again = sparse.to_dense()
        assert type(again) is type(dense)
        for name, parameter in dense.named_parameters():
            assert torch.equal(again.get_parameter(name), parameter)
        assert {name: int(mask.sum()) for name, mask in masks.items()} == {name: sparse.weight(name).values.numel() for name in masks}


def test_random_layers_hold_exactly_their_survivors_and_repeat() -> None:
    first = SparseLSTM.random(30, 40, num_layers=2, density=0.1, seed=5)
    second = SparseLSTM.random(30, 40, num_layers=2, density=0.1, seed=5)
    other = SparseLSTM.random(30, 40, num_layers=2, density=0.1, seed=6)
    assert first.weight("weight_ih_l0").values.numel() == 480
    assert first.weight("weight_hh_l1").values.numel() == 640
    for (name, ours), (_, theirs) in zip(first.state_dict().items(), second.state_dict().items(), strict=True):
        assert torch.equal(ours, theirs), name
    assert not torch.equal(first.weight("weight_hh_l0").columns, other.weight("weight_hh_l0").columns)
    assert SparseRNN.random(3, 4, density=0.5, seed=0, nonlinearity="relu").nonlinearity == "relu"


def test_other_dtypes_run_dense() -> None:
    for kind in sorted(KINDS):
        dense, sparse, _ = pair(kind, 6, 7, 0.3, num_layers=2, bidirectional=True, dtype=torch.float32)
        dense, sparse = dense.to(torch.bfloat16), sparse.to(torch.bfloat16)
        x = torch.randn(4, 3, 6, generator=generator(0)).to(torch.bfloat16).requires_grad_()
        y, last = sparse(x)
        expected, expected_last = dense(x)
        for ours, theirs in zip([y, *flat(last)], [expected, *flat(expected_last)], strict=True):
            torch.testing.assert_close(ours, theirs, rtol=0.05, atol=0.05)
        y.float().sum().backward()
        grad = sparse.weight("weight_hh_l0").values.grad
        assert grad is not None
        assert grad.shape == sparse.weight("weight_hh_l0").values.shape


def test_moved_survivors_are_used_at_once() -> None:
    _, sparse, _ = pair("lstm", 6, 7, 0.3, seed=1)
    _, other, _ = pair("lstm", 6, 7, 0.3, seed=2)
    x = torch.randn(4, 3, 6, dtype=torch.float64, generator=generator(0))
    sparse(x)
    for name in sparse._names(0):
        sparse.weight(name).move(other.weight(name).pattern, other.weight(name).values)
    for name, bias in other.named_parameters():
        if name.startswith("bias"):
            sparse.get_parameter(name).data.copy_(bias)
    assert torch.equal(sparse(x)[0], other(x)[0])


def test_a_thousand_steps_back_in_time() -> None:
    dense, sparse, masks = pair("lstm", 3, 16, 0.5)
    x = torch.randn(1000, 2, 3, dtype=torch.float64, generator=generator(0)).requires_grad_()
    compare(dense, sparse, masks, x, None, 1e-9)


def test_a_second_backward_pass_gives_the_same() -> None:
    _, sparse, _ = pair("gru", 6, 7, 0.3)
    x = torch.randn(4, 3, 6, dtype=torch.float64, generator=generator(0)).requires_grad_()
    loss = sparse(x)[0].square().sum()
    (first,) = torch.autograd.grad(loss, x, retain_graph=True)
    (second,) = torch.autograd.grad(loss, x)
    assert torch.equal(first, second)


def test_what_does_not_fit_is_named() -> None:
    dense, sparse, masks = pair("lstm", 6, 7, 0.3)
    with pytest.raises(PruningError, match="from nn"):
        SparseGRU.from_dense(dense, masks)
    with pytest.raises(UnknownName, match="weight_ih_l0"):
        SparseLSTM.from_dense(dense, {"weight_ih_10": masks["weight_ih_l0"]})
    with pytest.raises(PruningError, match="proj_size"):
        SparseLSTM.from_dense(nn.LSTM(6, 7, proj_size=3), {})
    with pytest.raises(PruningError, match=r"\(steps, batch, input\)"):
        sparse(torch.zeros(3, 2, 5, dtype=torch.float64))
    with pytest.raises(PruningError, match="pair"):
        sparse(torch.zeros(3, 2, 6, dtype=torch.float64), torch.zeros(1, 2, 7))
    with pytest.raises(PruningError, match=r"\(1, 2, 7\)"):
        sparse(torch.zeros(3, 2, 6, dtype=torch.float64), (torch.zeros(1, 3, 7), torch.zeros(1, 3, 7)))
    with pytest.raises(PruningError, match="layout"):
        SparseLSTM.random(3, 4, density=0.5, seed=0, layout="feature", batch_first=True)
    with pytest.raises(PruningError, match="nonlinearity"):
        SparseRNN.random(3, 4, density=0.5, seed=0, nonlinearity="sigmoid")


@pytest.mark.parametrize("kind", sorted(KINDS))
def test_a_model_with_recurrent_layers_is_compressed_and_back(kind: str) -> None:
    class Tagger(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.layers = KINDS[kind][1](6, 7, num_layers=2, bidirectional=True, **KINDS[kind][2])
            self.output = nn.Linear(14, 3)

        def forward(self, x: Tensor) -> Tensor:
            y: Tensor = self.output(self.layers(x)[0])
            return y

    model = Tagger()
    mask = Mask({name: torch.rand(p.shape, generator=generator(0, name)) < 0.4 for name, p in model.named_parameters() if "weight" in name})
    sparse = compress(model, mask)
    assert isinstance(sparse.get_submodule("layers"), KINDS[kind][0])
    assert mask_of(sparse) == mask
    apply(mask, model)
    x = torch.randn(5, 4, 6, generator=generator(1))
    torch.testing.assert_close(sparse(x), model(x), rtol=1e-4, atol=1e-5)
    again = decompress(sparse)
    assert torch.equal(again(x), model(x))
    gates = {entry.parameter: [block.name for block in entry.blocks] for entry in linear_maps(model) if entry.kind == "recurrent"}
    assert {
        entry.parameter.removesuffix(".values"): [block.name for block in entry.blocks]
        for entry in linear_maps(sparse)
        if entry.kind == "recurrent"
    } == gates


class TinyLanguageModel(nn.Module):
    """Token ids (steps, batch) -> logits (steps, batch, 20)."""

    def __init__(self) -> None:
        super().__init__()
        self.embedding = nn.Embedding(20, 12)
        self.layers = nn.LSTM(12, 24, num_layers=2)
        self.output = nn.Linear(24, 20)

    def forward(self, tokens: Tensor) -> Tensor:
        logits: Tensor = self.output(self.layers(self.embedding(tokens))[0])
        return logits


def test_a_thousand_training_steps_follow_the_masked_dense_trajectory() -> None:
    with torch.random.fork_rng():
        torch.manual_seed(0)
        dense = TinyLanguageModel()
    weights = {name: p for name, p in dense.named_parameters() if name.startswith("layers.weight")}
    mask = Mask({name: torch.rand(p.shape, generator=generator(0, name)) < 0.3 for name, p in weights.items()})
    apply(mask, dense)
    sparse = compress(dense, mask)
    losses: dict[bool, list[float]] = {True: [], False: []}
    for is_sparse, model in ((False, dense), (True, sparse)):
        optimizer = torch.optim.Adam(model.parameters(), lr=1e-3)
        random = generator(7)
        for _ in range(1000):
            starts = torch.randint(20, (1, 8), generator=random)
            tokens = (starts + torch.arange(9).view(9, 1) ** 2) % 20
            loss = nn.functional.cross_entropy(model(tokens[:-1]).flatten(0, 1), tokens[1:].flatten())
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
            if not is_sparse:
                apply(mask, model)
            losses[is_sparse].append(loss.item())
    assert losses[False][-1] < 0.6 * losses[False][0]
    worst = max(abs(ours - theirs) / theirs for ours, theirs in zip(losses[True], losses[False], strict=True))
    assert worst < 1e-4, f"the losses differ by {worst:.1e} of themselves"


@pytest.mark.parametrize("isa", ["avx512", "avx2", "baseline"])
def test_each_instruction_set_runs_recurrent_layers(isa: str) -> None:
    from secateur import _kernels

    if isa not in _kernels.instruction_sets():
        pytest.skip(f"this processor does not run {isa}")
    environment = {**os.environ, "SECATEUR_ISA": isa}
    script = Path(__file__).with_name("recurrent_on_one_isa.py")
    done = subprocess.run([sys.executable, str(script), isa], env=environment, capture_output=True, text=True, timeout=300, check=False)
    assert done.returncode == 0, done.stderr


def test_the_number_of_threads_changes_no_bit() -> None:
    layer = SparseLSTM.random(60, 300, num_layers=2, density=0.2, seed=1, bidirectional=True)
    x = torch.randn(7, 20, 60, generator=generator(1))
    results = []
    before = torch.get_num_threads()
    try:
        for threads in (1, 2, 3):
            torch.set_num_threads(threads)
            layer.zero_grad()
            leaf = x.clone().requires_grad_()
            y = layer(leaf)[0]
            y.square().sum().backward()
            results.append([y.detach(), leaf.grad, *[parameter.grad for parameter in layer.parameters()]])
    finally:
        torch.set_num_threads(before)
    for other in results[1:]:
        for ours, theirs in zip(other, results[0], strict=True):
            assert torch.equal(ours, theirs)


def test_python_threads_may_share_a_layer() -> None:
    layer = SparseGRU.random(30, 80, density=0.2, seed=1)
    inputs = [torch.randn(9, 5, 30, generator=generator(i)) for i in range(8)]
    with torch.no_grad():
        expected = [layer(x)[0] for x in inputs]
        with ThreadPoolExecutor(4) as pool:
            for _ in range(5):
                for ours, theirs in zip(pool.map(lambda x: layer(x)[0], inputs), expected, strict=True):
                    assert torch.equal(ours, theirs)
