import warnings

import pytest
import torch
from torch import nn

from secateur import prune
from secateur.errors import PruningError, UnknownName
from secateur.linear_maps import LinearMap, describe, linear_maps, parameter_kinds, prunable_mask


class Tagger(nn.Module):
    """A layer of every kind, with a tied output layer."""

    def __init__(self, tied: bool = False) -> None:
        super().__init__()
        self.embedding = nn.Embedding(11, 8, padding_idx=0)
        self.conv = nn.Conv1d(8, 8, 3, padding=1)
        self.norm = nn.LayerNorm(8)
        self.lstm = nn.LSTM(8, 4, num_layers=2, bidirectional=True, batch_first=True)
        self.attention = nn.MultiheadAttention(8, 2, batch_first=True)
        self.output = nn.Linear(8, 11)
        if tied:
            self.output.weight = self.embedding.weight

    def forward(self, tokens: torch.Tensor) -> torch.Tensor:
        x = self.embedding(tokens)
        x = self.conv(x.transpose(1, 2)).transpose(1, 2)
        x, _ = self.lstm(self.norm(x))
        x, _ = self.attention(x, x, x)
        return self.output(x)


def named(model: nn.Module) -> dict[str, LinearMap]:
    return {entry.parameter: entry for entry in linear_maps(model)}


def test_every_linear_map_is_listed_with_its_kind() -> None:
    kinds = {entry.parameter: entry.kind for entry in linear_maps(Tagger())}
    lstm = {f"lstm.weight_{what}_l{layer}{way}": "recurrent" for what in ("ih", "hh") for layer in (0, 1) for way in ("", "_reverse")}
    assert kinds == {
        "embedding.weight": "embedding",
        "conv.weight": "conv",
        **lstm,
        "attention.in_proj_weight": "attention",
        "attention.out_proj.weight": "attention",
        "output.weight": "linear",
    }


def test_axes_blocks_and_fans() -> None:
    maps = named(Tagger())
    assert [(b.name, b.start, b.stop) for b in maps["lstm.weight_hh_l0"].blocks] == [
        ("input", 0, 4), ("forget", 4, 8), ("cell", 8, 12), ("output", 12, 16)
    ]  # fmt: skip
    assert [b.name for b in maps["attention.in_proj_weight"].blocks] == ["q", "k", "v"]
    assert maps["attention.in_proj_weight"].heads == maps["attention.out_proj.weight"].heads == 2
    assert (maps["conv.weight"].fan_in, maps["conv.weight"].fan_out) == (24, 24)
    assert (maps["embedding.weight"].output_axis, maps["embedding.weight"].input_axes, maps["embedding.weight"].fan_in) == (1, (0,), 1)
    assert maps["embedding.weight"].excluded_rows == (0,)
    assert maps["lstm.weight_ih_l1_reverse"].bias == "lstm.bias_ih_l1_reverse"
    assert [maps["output.weight"].bias, maps["attention.in_proj_weight"].bias] == ["output.bias", "attention.in_proj_bias"]
    assert [b.name for b in linear_maps(nn.GRU(2, 3))[0].blocks] == ["reset", "update", "new"]
    assert [b.name for b in linear_maps(nn.RNN(2, 3))[0].blocks] == ["hidden"]


def test_a_tied_tensor_is_one_and_counts_as_the_layer_that_multiplies() -> None:
    tied = named(Tagger(tied=True))
    assert "output.weight" not in tied
    entry = tied["embedding.weight"]
    assert (entry.kind, entry.tied, entry.excluded_rows, entry.transposed) == ("linear", ("output.weight",), (0,), False)
    mask = prunable_mask(Tagger(tied=True), ["linear", "embedding"])
    assert list(mask) == ["embedding.weight"]
    assert mask.prunable == 10 * 8


def test_the_kinds_of_all_parameters() -> None:
    kinds = parameter_kinds(Tagger())
    assert {name for name, kind in kinds.items() if kind == "norm"} == {"norm.weight", "norm.bias"}
    assert kinds["lstm.bias_hh_l1"] == kinds["conv.bias"] == kinds["attention.in_proj_bias"] == "bias"


@pytest.mark.parametrize(
    ("prunable", "expected"),
    [
        (["linear"], {"output.weight"}),
        (["conv", "embedding"], {"conv.weight", "embedding.weight"}),
        (["lstm.weight_hh*", "!*_reverse"], {"lstm.weight_hh_l0", "lstm.weight_hh_l1"}),
        (["!output.*", "linear", "conv"], {"conv.weight"}),
        (["output.weight", "output.bias"], {"output.weight", "output.bias"}),
        (["norm"], {"norm.weight", "norm.bias"}),
    ],
)
def test_selectors(prunable: list[str], expected: set[str]) -> None:
    assert set(prunable_mask(Tagger(), prunable)) == expected


def test_selectors_that_mean_nothing_are_refused() -> None:
    with pytest.raises(UnknownName, match="Did you mean 'linear'"):
        prunable_mask(Tagger(), ["lineer"])
    with pytest.raises(PruningError, match="matches no parameter"):
        prunable_mask(Tagger(), ["encoder.*"])
    with pytest.raises(PruningError, match="selects nothing"):
        prunable_mask(nn.Linear(2, 2), ["conv"])
    with pytest.raises(PruningError, match="selects nothing"):
        prunable_mask(Tagger(), ["linear", "!*"])


def test_all_of_a_transformer_is_found_and_not_its_linear_modules_alone() -> None:
    encoder = nn.TransformerEncoderLayer(8, 2, 16)
    weights = sum(entry.pattern().size for entry in linear_maps(encoder))
    assert weights == 3 * 8 * 8 + 8 * 8 + 2 * 8 * 16
    assert {entry.module for entry in linear_maps(encoder)} == {"self_attn", "linear1", "linear2"}


def test_attention_with_other_widths_of_keys_and_values() -> None:
    maps = named(nn.MultiheadAttention(8, 2, kdim=6, vdim=4))
    assert {name: entry.shape for name, entry in maps.items()} == {
        "q_proj_weight": (8, 8), "k_proj_weight": (8, 6), "v_proj_weight": (8, 4), "out_proj.weight": (8, 8)
    }  # fmt: skip


def test_a_module_used_twice_is_listed_once() -> None:
    shared = nn.Linear(4, 4)
    assert [entry.parameter for entry in linear_maps(nn.Sequential(shared, nn.ReLU(), shared))] == ["0.weight"]


def test_a_layer_of_ones_own_joins_the_table() -> None:
    class Scaled(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.matrix = nn.Parameter(torch.rand(3, 5))

    @describe(Scaled)
    def scaled(module: Scaled) -> list[LinearMap]:
        return [LinearMap("matrix", "", "linear", (3, 5), uses=lambda inputs, output: 1)]

    assert [entry.parameter for entry in linear_maps(nn.Sequential(Scaled()))] == ["0.matrix"]
    assert prunable_mask(Scaled(), ["linear"]).prunable == 15


def test_a_parametrised_weight_is_refused_with_the_way_out() -> None:
    model = nn.Sequential(nn.utils.parametrizations.weight_norm(nn.Linear(3, 3)))
    with pytest.raises(PruningError, match=r"'0.weight' is computed from other parameters"):
        linear_maps(model)


class Backwards(nn.Module):
    """A linear layer whose weight is (inputs, outputs), as GPT-2's are."""

    def __init__(self, inputs: int, outputs: int) -> None:
        super().__init__()
        self.weight, self.gain = nn.Parameter(torch.randn(inputs, outputs)), nn.Parameter(torch.ones(1, outputs))

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.gain * (x @ self.weight)


def test_matrices_of_unknown_layers_are_named() -> None:
    model = nn.Sequential(nn.Linear(4, 5), *(Backwards(5, 5) for _ in range(5)))
    with pytest.warns(UserWarning, match=r"^125 weights are not pruned: 1.weight, 2.weight, 3.weight, … belong") as direct:
        prunable_mask(model, ["linear"])
    with pytest.warns(UserWarning, match="not pruned") as through:
        prune(model, 0.5, prunable=["linear"])
    assert direct[0].filename == through[0].filename == __file__  # not a line of the package
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert set(prunable_mask(model, ["linear", "![1-5].weight"])) == {"0.weight"}
        assert len(prunable_mask(model, ["linear", "[1-5].weight"])) == 6
