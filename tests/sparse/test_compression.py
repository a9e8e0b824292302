"""compress and decompress, dynamic moves, tickets and the choice between dense and sparse."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from secateur.errors import InputError, PruningError
from secateur.linear_maps import linear_maps, prunable_mask
from secateur.masks import Mask, Pattern, apply, random_pattern
from secateur.sparse import (
    Crossovers,
    SparseConv1d,
    SparseEmbedding,
    SparseLinear,
    SparseMultiheadAttention,
    Ticket,
    choose_execution,
    compress,
    decompress,
    mask_of,
    shipped_crossovers,
    sparse_weights,
)
from secateur.sparse.execution import Crossover
from secateur.sparse.ticket import _coded, _decoded


class Tagger(nn.Module):
    """Every kind of layer that has a sparse counterpart, one without, and an output tied to the embedding."""

    def __init__(self) -> None:
        super().__init__()
        torch.manual_seed(0)
        self.embedding = nn.Embedding(40, 16, padding_idx=0)
        self.conv = nn.Conv1d(16, 16, 3, padding=1)
        self.norm = nn.LayerNorm(16)
        self.attention = nn.MultiheadAttention(16, 4, batch_first=True)
        self.hidden = nn.Linear(16, 16)
        self.output = nn.Linear(16, 40, bias=False)
        self.output.weight = self.embedding.weight

    def forward(self, ids: Tensor) -> Tensor:
        x = torch.relu(self.conv(self.embedding(ids).transpose(1, 2))).transpose(1, 2)
        x = x + self.attention(self.norm(x), self.norm(x), self.norm(x))[0]
        y: Tensor = self.output(torch.tanh(self.hidden(x)))
        return y


def random_mask(model: nn.Module, density: float, prunable: tuple[str, ...] = ("linear", "conv", "attention", "embedding")) -> Mask:
    return prunable_mask(model, prunable).map(
        lambda name, full: random_pattern(full.shape, int(density * full.prunable), 1, name, full.excluded_rows)
    )


def batch() -> tuple[Tensor, Tensor]:
    drawn = torch.Generator().manual_seed(1)
    ids = torch.randint(1, 40, (6, 9), generator=drawn)
    ids[:, 7:] = 0
    return ids, torch.randint(0, 40, (6, 9), generator=drawn)


def loss_of(model: nn.Module) -> Tensor:
    ids, targets = batch()
    return nn.functional.cross_entropy(model(ids).flatten(0, 1), targets.flatten())


def test_compress_swaps_every_layer_and_keeps_the_tie() -> None:
    model = Tagger()
    mask = random_mask(model, 0.3)
    fast = compress(model, mask)
    kinds = {name: type(module) for name, module in fast.named_children()}
    assert kinds["embedding"] is SparseEmbedding
    assert kinds["conv"] is SparseConv1d
    assert kinds["attention"] is SparseMultiheadAttention
    assert kinds["hidden"] is SparseLinear
    assert kinds["norm"] is nn.LayerNorm
    assert fast.embedding.weight is fast.output.weight
    assert isinstance(model.hidden, nn.Linear), "the model itself is left alone"
    apply(mask, model)
    torch.testing.assert_close(loss_of(fast), loss_of(model))
    assert mask_of(fast) == mask
    assert set(sparse_weights(fast)) == set(mask)


def test_linear_maps_lists_sparse_layers_with_the_dense_shape() -> None:
    model = Tagger()
    dense = {entry.parameter: (entry.shape, entry.kind) for entry in linear_maps(model)}
    sparse = {entry.parameter: (entry.shape, entry.kind) for entry in linear_maps(compress(model, random_mask(model, 0.3)))}
    renamed = {name.replace("in_proj_weight", "in_proj.weight").replace("proj.weight", "proj"): what for name, what in dense.items()}
    assert sparse == {f"{name}.values": what for name, what in renamed.items()}


def test_gradients_of_a_compressed_model_are_the_masked_ones() -> None:
    model = Tagger()
    mask = random_mask(model, 0.3)
    fast = compress(model, mask)
    apply(mask, model)
    loss_of(model).backward()
    loss_of(fast).backward()
    parameters = dict(model.named_parameters())
    for name, weight in sparse_weights(fast).items():
        dense = parameters[name].grad
        assert dense is not None
        torch.testing.assert_close(weight.values.grad, dense.reshape(-1)[weight.places()], atol=1e-6, rtol=1e-4)
    torch.testing.assert_close(fast.attention.in_proj_bias.grad, model.attention.in_proj_bias.grad, atol=1e-6, rtol=1e-4)


def test_decompress_gives_the_pruned_model_back() -> None:
    model = Tagger()
    mask = random_mask(model, 0.3)
    dense = decompress(compress(model, mask))
    apply(mask, model)
    assert dense.output.weight is dense.embedding.weight
    expected = model.state_dict()
    assert dense.state_dict().keys() == expected.keys()
    for name, tensor in dense.state_dict().items():
        assert torch.equal(tensor, expected[name]), name


@pytest.mark.parametrize("optimizer", [torch.optim.SGD, torch.optim.Adam, torch.optim.AdamW])
def test_training_sparse_follows_training_masked(optimizer: type[torch.optim.Optimizer]) -> None:
    model = Tagger()
    mask = random_mask(model, 0.3)
    fast = compress(model, mask)
    apply(mask, model)
    losses: list[list[float]] = []
    for network in (model, fast):
        steps = optimizer(network.parameters(), lr=1e-2)  # type: ignore[call-arg]
        losses.append([])
        for _ in range(30):
            steps.zero_grad()
            loss = loss_of(network)
            loss.backward()
            steps.step()
            if network is model:
                apply(mask, model)
            losses[-1].append(loss.item())
    np.testing.assert_allclose(losses[0], losses[1], rtol=1e-4)


@pytest.mark.slow
def test_a_thousand_steps_agree_to_1e4() -> None:
    drawn = torch.Generator().manual_seed(5)
    inputs, targets = torch.randn(512, 64, generator=drawn, dtype=torch.float64), torch.randint(0, 5, (512,), generator=drawn)
    torch.manual_seed(2)
    model = nn.Sequential(nn.Linear(64, 128), nn.Tanh(), nn.Linear(128, 128), nn.Tanh(), nn.Linear(128, 5)).double()
    mask = random_mask(model, 0.1, ("linear",))
    fast = compress(model, mask)
    apply(mask, model)
    losses: list[list[float]] = []
    for network in (model, fast):
        steps = torch.optim.SGD(network.parameters(), lr=0.1, momentum=0.9)
        losses.append([])
        for step in range(1000):
            chosen = slice(step * 64 % 512, step * 64 % 512 + 64)
            steps.zero_grad()
            loss = nn.functional.cross_entropy(network(inputs[chosen]), targets[chosen])
            loss.backward()
            steps.step()
            if network is model:
                apply(mask, model)
            losses[-1].append(loss.item())
    np.testing.assert_allclose(losses[0], losses[1], rtol=1e-4)


def test_layers_by_name_take_those_that_share_a_weight_along() -> None:
    model = Tagger()
    mask = random_mask(model, 0.3)
    fast = compress(model, mask, layers=["output"])
    assert isinstance(fast.output, SparseLinear)
    assert isinstance(fast.embedding, SparseEmbedding)
    assert isinstance(fast.hidden, nn.Linear)
    apply(mask, model)
    torch.testing.assert_close(loss_of(fast), loss_of(model))
    with pytest.raises(PruningError, match=r"'hiden'.*hidden"):
        compress(model, mask, layers=["hiden"])


def test_a_weight_shared_with_an_unknown_layer_stays_dense() -> None:
    class Foreign(nn.Module):
        def __init__(self, weight: nn.Parameter) -> None:
            super().__init__()
            self.weight = weight

    model = nn.Sequential(nn.Linear(4, 4))
    model.append(Foreign(model[0].weight))
    fast = compress(model, random_mask(model, 0.5, ("linear",)))
    assert isinstance(fast[0], nn.Linear)


def test_a_single_layer_and_a_shared_module_compress() -> None:
    layer = nn.Linear(6, 6)
    fast = compress(layer, random_mask(layer, 0.5, ("linear",)))
    assert isinstance(fast, SparseLinear)
    twice = nn.Sequential(layer, nn.ReLU(), layer)
    both = compress(twice, random_mask(twice, 0.5, ("linear",)))
    assert isinstance(both[0], SparseLinear)
    assert both[0] is both[2]


def test_frozen_weights_stay_frozen() -> None:
    layer = nn.Linear(6, 6)
    layer.weight.requires_grad_(False)
    fast = compress(layer, random_mask(layer, 0.5, ("linear",)))
    assert not fast.weight.values.requires_grad
    assert fast.bias.requires_grad
    assert not decompress(fast).weight.requires_grad


@pytest.mark.parametrize("batch_first", [True, False])
@pytest.mark.parametrize("need_weights", [True, False])
@pytest.mark.parametrize("cross", [True, False])
def test_attention_equals_dense(batch_first: bool, need_weights: bool, cross: bool) -> None:
    torch.manual_seed(3)
    dense = nn.MultiheadAttention(8, 2, batch_first=batch_first, dtype=torch.float64)
    kept: dict[str, Tensor | Pattern] = {"in_proj_weight": torch.rand(24, 8) < 0.5, "out_proj.weight": torch.rand(8, 8) < 0.5}
    with torch.no_grad():
        for name, mask in kept.items():
            dense.get_parameter(name).mul_(mask)
        dense.in_proj_bias.normal_()
    sparse = SparseMultiheadAttention.from_dense(dense, kept)
    query = torch.randn((3, 5, 8) if batch_first else (5, 3, 8), dtype=torch.float64)
    key = torch.randn((3, 7, 8) if batch_first else (7, 3, 8), dtype=torch.float64) if cross else query
    length = 7 if cross else 5
    padding = torch.zeros(3, length, dtype=torch.bool)
    padding[1, -2:] = True
    causal = torch.triu(torch.ones(5, length, dtype=torch.bool), 1)
    for options in ({}, {"key_padding_mask": padding}, {"attn_mask": causal}, {"attn_mask": causal, "key_padding_mask": padding}):
        expected, weights = dense(query, key, key, need_weights=need_weights, **options)
        found, found_weights = sparse(query, key, key, need_weights=need_weights, **options)
        torch.testing.assert_close(found, expected)
        if need_weights:
            torch.testing.assert_close(found_weights, weights)
        else:
            assert found_weights is None
    torch.testing.assert_close(sparse.to_dense()(query, key, key)[0], dense(query, key, key)[0])
    single, wide = (query[0], key[0]) if batch_first else (query[:, 0], key[:, 0])
    torch.testing.assert_close(sparse(single, wide, wide)[0], dense(single, wide, wide)[0])


def test_a_ticket_comes_back_from_its_file(tmp_path: Path) -> None:
    model = Tagger()
    mask = random_mask(model, 0.05)
    apply(mask, model)
    for source in (Ticket.from_model(model, mask), Ticket.from_model(compress(model, mask))):
        source.save(tmp_path / "t.safetensors")
        loaded = Ticket.load(tmp_path / "t.safetensors")
        assert loaded.mask == mask
        other = Tagger()
        with torch.no_grad():
            for parameter in other.parameters():
                parameter.add_(1.0)
        loaded.load_into(other)
        for name, tensor in other.state_dict().items():
            assert torch.equal(tensor, model.state_dict()[name]), name
        source.save(tmp_path / "again.safetensors")
        assert (tmp_path / "again.safetensors").read_bytes() == (tmp_path / "t.safetensors").read_bytes()
    with pytest.raises(PruningError, match="does not fit"):
        loaded.load_into(nn.Linear(3, 3))
    mask.save(tmp_path / "m.safetensors")
    with pytest.raises(PruningError, match="no ticket"):
        Ticket.load(tmp_path / "m.safetensors")


def test_a_ticket_of_five_percent_takes_a_twelfth(tmp_path: Path) -> None:
    model = nn.Linear(600, 500, bias=False)
    mask = random_mask(model, 0.05, ("linear",))
    Ticket.from_model(model, mask).save(tmp_path / "t.safetensors")
    whole = (tmp_path / "t.safetensors").stat().st_size
    assert whole <= 600 * 500 * 4 / 12
    assert whole <= 1.02 * (mask.kept * 5 + 600 * 500 * 0.002)
    Ticket.from_model(model, mask).save(tmp_path / "h.safetensors", half=True)
    assert (tmp_path / "h.safetensors").stat().st_size < 0.65 * whole
    torch.testing.assert_close(
        Ticket.load(tmp_path / "h.safetensors").survivors["weight"],
        Ticket.from_model(model, mask).survivors["weight"],
        atol=1e-4,
        rtol=1e-3,
    )


def test_a_ticket_s_file_is_the_sum_of_its_parts(tmp_path: Path) -> None:
    """At 95 % sparsity, by a magnitude that empties some matrices more than others: prunable weights in a twelfth, 2 % for the rest."""
    model = nn.Sequential(nn.Embedding(400, 64), nn.LSTM(64, 128), nn.Linear(128, 300), nn.Linear(300, 40))
    names = [name for name, parameter in model.named_parameters() if parameter.dim() == 2 and not name.startswith("0.")]
    parameters = {name: model.get_parameter(name).detach() for name in names}
    scores = torch.cat([parameter.abs().flatten() for parameter in parameters.values()])
    threshold = scores.sort().values[int(0.95 * len(scores))]
    mask = Mask({name: Pattern.from_tensor(parameter.abs() >= threshold) for name, parameter in parameters.items()})
    densities = [pattern.density for pattern in mask.patterns.values()]
    assert min(densities) < 0.02
    assert max(densities) > 0.055
    Ticket.from_model(model, mask).save(tmp_path / "t.safetensors")
    pruned = 0
    for pattern in mask.patterns.values():
        gaps = np.diff(pattern.indices(), prepend=-1) - 1
        pruned += 4 * pattern.kept + min((pattern.size + 7) // 8, int((gaps // 255 + 1).sum()))
    assert pruned <= 4 * len(scores) / 12
    others = sum(4 * tensor.numel() for name, tensor in model.state_dict().items() if name not in names)
    assert pruned + others < (tmp_path / "t.safetensors").stat().st_size <= 1.02 * (pruned + others)


@pytest.mark.parametrize("places", [[], [0], [4999], [254, 255], [255], [256, 767, 4000], list(range(0, 5000, 2)), [510, 511, 1022]])
def test_coded_places_decode(places: list[int]) -> None:
    pattern = Pattern.from_indices((5, 1000), np.array(places, dtype=np.int64))
    form, coded = _coded(pattern)
    assert form == ("bits" if len(places) > 700 else "gaps")
    assert _decoded(form, coded, 5000, "w").tolist() == places
    if form == "gaps" and places:
        with pytest.raises(PruningError, match="damaged"):
            _decoded(form, np.append(coded, np.uint8(255)), 5000, "w")


def test_the_nearest_entry_decides() -> None:
    table = Crossovers(
        (Crossover("linear", 1000, 1000, 64, 0.4), Crossover("linear", 100, 100, 64, 0.1), Crossover("conv", 100, 300, 64, 0.0))
    )
    assert choose_execution("linear", (900, 1100), 0.3, 64, table) == "sparse"
    assert choose_execution("linear", (900, 1100), 0.4, 64, table) == "dense"
    assert choose_execution("linear", (120, 90), 0.3, 64, table) == "dense"
    assert choose_execution("conv", (1000, 100, 10), 0.01, 64, table) == "dense"
    assert choose_execution("recurrent", (900, 900), 0.3, 64, table) == "sparse", "an unmeasured kind is judged as a linear layer"
    assert Crossovers.from_described(table.described()).digest == table.digest
    with pytest.raises(InputError, match="format"):
        Crossovers.from_described({"format": 9})
    assert shipped_crossovers().entries


def test_auto_keeps_dense_what_is_faster_dense() -> None:
    model = nn.Sequential(nn.Linear(64, 64), nn.Linear(64, 64))
    mask = Mask({"0.weight": random_pattern((64, 64), 3000, 1, "a"), "1.weight": random_pattern((64, 64), 40, 1, "b")})
    table = Crossovers((Crossover("linear", 64, 64, 64, 0.2),))
    mixed = compress(model, mask, layers="auto", crossovers=table)
    assert isinstance(mixed[0], nn.Linear)
    assert isinstance(mixed[1], SparseLinear)
    assert int((mixed[0].weight != 0).sum()) == 3000
