import math

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor, nn

from secateur.errors import PruningError
from secateur.linear_maps import LinearMap, describe, linear_maps, prunable_mask
from secateur.masks import Mask
from secateur.pruning.keeping import Named, keep

quick = settings(deadline=None, max_examples=40)


def kept_of(
    model: nn.Module, unit: Named, density: float | None, prunable: list[str], scope: str | None = None, seed: int = 0, **values: Tensor
) -> Mask:
    mask = prunable_mask(model, prunable)
    draw = torch.Generator().manual_seed(seed)
    scores = {name: torch.rand(model.get_parameter(name).shape, generator=draw) for name in mask}
    scores.update(values)
    return keep(scores, mask, density, scope=scope, unit=unit, maps=linear_maps(model))


def test_two_of_four_by_eye() -> None:
    layer = nn.Linear(8, 2, bias=False)
    weight = torch.tensor([[4.0, 3, 2, 1, 1, 2, 3, 4], [1, 9, 9, 1, 5, 5, 5, 5]])
    kept = kept_of(layer, "2:4", None, ["linear"], weight=weight)["weight"].int()
    assert kept.tolist() == [[1, 1, 0, 0, 0, 0, 1, 1], [0, 1, 1, 0, 1, 1, 0, 0]]
    assert kept_of(layer, {"name": "nm", "n": 2, "m": 4}, 0.5, ["linear"], weight=weight)["weight"].int().tolist() == kept.tolist()


def test_n_counts_kept_inputs_and_a_short_group_its_share() -> None:
    layer = nn.Linear(7, 3, bias=False)
    kept = kept_of(layer, "1:4", None, ["linear"])["weight"]
    assert (kept[:, :4].sum(1) == 1).all()
    assert (kept[:, 4:].sum(1) == 1).all()


def test_n_m_of_a_convolution_is_along_channels_at_each_kernel_position() -> None:
    conv = nn.Conv2d(8, 3, (2, 3), bias=False)
    kept = kept_of(conv, "2:4", None, ["conv"])["weight"]
    assert (kept.reshape(3, 2, 4, 2, 3).sum(2) == 2).all()


def test_n_m_fixes_its_own_density() -> None:
    layer = nn.Linear(8, 2)
    with pytest.raises(PruningError, match=r"fixes its own density, here 0\.5"):
        kept_of(layer, "2:4", 0.4, ["linear"])
    with pytest.raises(PruningError, match="nothing competes between layers"):
        kept_of(layer, "2:4", None, ["linear"], scope="global")
    with pytest.raises(PruningError, match="is no linear map"):
        kept_of(layer, "2:4", None, ["linear", "bias"])
    with pytest.raises(PruningError, match="needs a density"):
        kept_of(layer, "weight", None, ["linear"])


def test_blocks_by_eye() -> None:
    layer = nn.Linear(4, 4, bias=False)
    weight = torch.tensor([[5.0, 5, 0, 9], [5, 5, 0, 0], [1, 1, 3, 3], [1, 1, 3, 3]])
    kept = kept_of(layer, {"name": "block", "rows": 2, "columns": 2}, 0.5, ["linear"], weight=weight)["weight"].int()
    assert kept.tolist() == [[1, 1, 0, 0], [1, 1, 0, 0], [0, 0, 1, 1], [0, 0, 1, 1]]
    kept = kept_of(layer, {"name": "block", "rows": 2, "columns": 2, "reduce": "max"}, 0.5, ["linear"], weight=weight)["weight"].int()
    assert kept.tolist() == [[1, 1, 1, 1], [1, 1, 1, 1], [0, 0, 0, 0], [0, 0, 0, 0]]


@pytest.mark.parametrize(("reduce", "winner"), [("mean", 0), ("sum", 1), ("max", 2), ("norm", 2)])
def test_a_units_score_is_the_stated_reduction(reduce: str, winner: int) -> None:
    model = nn.ModuleDict({"a": nn.Linear(1, 1, bias=False), "b": nn.Linear(4, 1, bias=False), "c": nn.Linear(2, 1, bias=False)})
    values = {"a.weight": torch.tensor([[4.0]]), "b.weight": torch.full((1, 4), 2.5), "c.weight": torch.tensor([[7.0, 0.0]])}
    density = [1, 4, 2][winner] / 7
    kept = kept_of(model, {"name": "row", "reduce": reduce}, density, ["linear"], scope="global", **values)
    assert [kept.pattern(name).kept > 0 for name in values] == [number == winner for number in range(3)]


def test_rows_take_their_bias_along() -> None:
    model = nn.Sequential(nn.Linear(3, 4), nn.Linear(4, 2))
    kept = kept_of(model, "row", 0.5, ["linear", "bias"], scope="layer")
    assert torch.equal(kept["0.weight"].any(1), kept["0.bias"])
    assert kept["0.weight"].all(1).sum() == kept["0.bias"].sum() == 2


def test_words_are_rows_of_an_embedding_and_padding_is_none() -> None:
    model = nn.Embedding(10, 3, padding_idx=0)
    kept = kept_of(model, "row", 1 / 3, ["embedding"])
    assert kept["weight"].all(1).sum() == 3
    assert not kept["weight"][0].any()


def test_filters_are_whole_and_of_convolutions_alone() -> None:
    model = nn.Sequential(nn.Conv1d(3, 8, 3), nn.ReLU(), nn.Conv1d(8, 4, 3))
    kept = kept_of(model, "filter", 0.5, ["conv"], scope="layer")
    for name, count in (("0.weight", 4), ("2.weight", 2)):
        filters = kept[name].flatten(1)
        assert torch.equal(filters.any(1), filters.all(1))
        assert int(filters.any(1).sum()) == count
    with pytest.raises(PruningError, match="made of conv"):
        kept_of(nn.Sequential(model, nn.Linear(3, 3)), "filter", 0.5, ["conv", "linear"])


@pytest.mark.parametrize("kind", [nn.LSTM, nn.GRU, nn.RNN])
def test_hidden_units_go_with_all_their_rows_and_columns(kind: type[nn.RNNBase]) -> None:
    model = kind(3, 6, num_layers=2, bidirectional=True)
    gates = {nn.LSTM: 4, nn.GRU: 3, nn.RNN: 1}[kind]
    kept = kept_of(model, "hidden", 0.4, ["recurrent", "bias"], scope="layer")
    units = {}
    for level in (0, 1):
        for way in ("", "_reverse"):
            rows = kept[f"weight_ih_l{level}{way}"].reshape(gates, 6, -1).any(2)
            unit = rows[0]
            assert (rows == unit).all()
            units[level, way] = unit
            assert torch.equal(kept[f"bias_ih_l{level}{way}"].reshape(gates, 6), rows)
            assert torch.equal(kept[f"weight_hh_l{level}{way}"].reshape(gates, 6, 6), (unit[:, None] & unit[None, :]).expand(gates, 6, 6))
            if level == 0:
                assert kept[f"weight_ih_l0{way}"].reshape(gates, 6, 3)[:, unit].all()
    below = torch.cat([units[0, ""], units[0, "_reverse"]])
    for way in ("", "_reverse"):
        expected = units[1, way][:, None] & below[None, :]
        assert torch.equal(kept[f"weight_ih_l1{way}"].reshape(gates, 6, 12), expected.expand(gates, 6, 12))
    assert abs(kept.density - 0.4) < 0.08


def test_heads_go_with_their_queries_keys_values_and_outputs() -> None:
    for model in (nn.MultiheadAttention(8, 4), nn.MultiheadAttention(8, 4, kdim=6, vdim=5)):
        kept = kept_of(model, "head", 0.5, ["attention"])
        heads = kept["out_proj.weight"].reshape(8, 4, 2).any(2).any(0)
        assert int(heads.sum()) == 2
        assert torch.equal(kept["out_proj.weight"], heads.repeat_interleave(2).expand(8, 8))
        rows = heads.repeat_interleave(2)
        if "in_proj_weight" in kept:
            assert torch.equal(kept["in_proj_weight"], rows.repeat(3).unsqueeze(1).expand(24, 8))
            assert kept.kept == kept.prunable // 2
        else:
            assert torch.equal(kept["k_proj_weight"], rows.unsqueeze(1).expand(8, 6))


def test_half_a_unit_is_refused() -> None:
    with pytest.raises(PruningError, match="weight_hh_l0 of '' must be prunable too"):
        kept_of(nn.LSTM(3, 4), "hidden", 0.5, ["weight_ih*"])
    with pytest.raises(PruningError, match="all projections of '' must be prunable"):
        kept_of(nn.MultiheadAttention(4, 2), "head", 0.5, ["in_proj_weight"])
    with pytest.raises(PruningError, match="projection"):
        kept_of(nn.LSTM(3, 4, proj_size=2), "hidden", 0.5, ["recurrent"])
    with pytest.raises(PruningError, match="go with weights that are not prunable"):
        kept_of(nn.Sequential(nn.Linear(2, 2), nn.Linear(2, 2)), "row", 0.5, ["0.weight", "1.bias"])


@quick
@given(
    st.floats(0, 1, allow_subnormal=False), st.integers(1, 3), st.integers(1, 4), st.integers(1, 9), st.integers(1, 9), st.integers(0, 20)
)
def test_larger_units_come_as_near_as_they_can(density: float, rows: int, columns: int, height: int, width: int, seed: int) -> None:
    layer = nn.Linear(width, height, bias=False)
    kept = kept_of(layer, {"name": "block", "rows": rows, "columns": columns}, density, ["linear"], seed=seed)
    target = math.floor(density * width * height + 0.5)
    assert abs(kept.kept - target) <= rows * columns / 2
    flags = kept["weight"].numpy()
    for top in range(0, height, rows):
        for left in range(0, width, columns):
            part = flags[top : top + rows, left : left + columns]
            assert part.all() or not part.any()


@quick
@given(st.sampled_from(["row", "block", "hidden"]), st.floats(0.2, 0.9, allow_subnormal=False), st.integers(0, 20))
def test_what_was_pruned_stays_pruned_from_round_to_round(unit: str, density: float, seed: int) -> None:
    model = nn.GRU(3, 5)
    mask = prunable_mask(model)
    draw = torch.Generator().manual_seed(seed)
    for power in (1, 2, 3):
        values = {name: torch.rand(model.get_parameter(name).shape, generator=draw) for name in mask}
        renewed = keep(values, mask, min(density**power, mask.density), scope="layer", unit=unit, maps=linear_maps(model))
        assert (renewed & mask) == renewed
        mask = renewed


def test_options_and_names_are_checked() -> None:
    layer = nn.Linear(4, 4)
    with pytest.raises(PruningError, match="is no block"):
        kept_of(layer, {"name": "block", "rows": 0}, 0.5, ["linear"])
    with pytest.raises(PruningError, match="n of each m"):
        kept_of(layer, "5:4", None, ["linear"])
    with pytest.raises(Exception, match="unknown option 'row'"):
        kept_of(layer, {"name": "block", "row": 2}, 0.5, ["linear"])
    with pytest.raises(PruningError, match="does not say its name"):
        kept_of(layer, {"rows": 2}, 0.5, ["linear"])
    assert np.isclose(kept_of(layer, "row", 0.5, ["linear"]).density, 0.5)


class Backwards(nn.Module):
    """A linear layer whose weight is (inputs, outputs)."""

    def __init__(self) -> None:
        super().__init__()
        self.weight, self.bias = nn.Parameter(torch.zeros(10, 6)), nn.Parameter(torch.zeros(6))


@describe(Backwards)
def _backwards(module: Backwards) -> list[LinearMap]:
    return [LinearMap("weight", "", "linear", (10, 6), uses=lambda inputs, output: 1, transposed=True, bias="bias")]


@pytest.mark.parametrize(
    ("unit", "density", "prunable"), [("3:4", None, ["linear"]), ("row", 0.5, ["linear"]), ("row", 0.5, ["linear", "bias"])]
)
def test_units_of_a_transposed_weight_lie_along_its_outputs(unit: str, density: float | None, prunable: list[str]) -> None:
    weight, bias = torch.rand(6, 10, generator=torch.Generator().manual_seed(1)), torch.rand(6)
    wanted = kept_of(nn.Linear(10, 6), unit, density, prunable, weight=weight, bias=bias)
    kept = kept_of(Backwards(), unit, density, prunable, weight=weight.T.contiguous(), bias=bias)
    assert torch.equal(kept["weight"].T, wanted["weight"])
    assert ("bias" not in prunable) or torch.equal(kept["bias"], wanted["bias"])
