import copy

import pytest
import torch
from small_networks import batches_of, drawn, loss, mlp, tagger
from torch import Tensor, nn
from torch.nn.utils.rnn import pack_padded_sequence

from secateur.errors import PruningError
from secateur.layer_inputs import watched
from secateur.linear_maps import LinearMap, linear_maps, prunable_mask
from secateur.masks import apply
from secateur.pruning.keeping import keep
from secateur.pruning.layerwise import reconstruct
from secateur.registry import scores
from secateur.seeds import generator


def seen(model: nn.Module, *inputs: object, **named: object) -> dict[str, Tensor]:
    found: dict[str, Tensor] = {}

    def visit(entry: LinearMap, vectors: Tensor) -> None:
        found[entry.parameter] = vectors

    with torch.no_grad(), watched(model, linear_maps(model), visit):
        model(*inputs, **named)
    return found


def test_wanda_by_eye() -> None:
    layer = nn.Linear(2, 2, bias=False)
    with torch.no_grad():
        layer.weight.copy_(torch.tensor([[1.0, -2.0], [3.0, 0.5]]))
    found = scores["wanda"](layer, prunable_mask(layer), [(torch.tensor([[3.0, 0.0], [4.0, 2.0]]), torch.zeros(2))], None, generator(0))
    assert found["weight"].tolist() == [[5.0, 4.0], [15.0, 1.0]]


def test_wanda_of_an_embedding_counts_words() -> None:
    model = nn.Embedding(4, 2)
    nn.init.ones_(model.weight)
    found = scores["wanda"](
        model, prunable_mask(model, ["embedding"]), [(torch.tensor([[1, 1, 3], [1, 1, 2]]), torch.zeros(2))], None, generator(0)
    )
    assert found["weight"].tolist() == [[0, 0], [2, 2], [1, 1], [1, 1]]


@pytest.mark.parametrize(
    ("conv", "shape"),
    [(nn.Conv1d(4, 6, 3, padding=1, stride=2), (2, 4, 7)), (nn.Conv1d(4, 6, 3, padding="same", dilation=2, groups=2), (2, 4, 7)),
     (nn.Conv2d(2, 3, (2, 3), padding=(1, 0)), (2, 2, 5, 6)), (nn.Conv2d(2, 4, 3, padding=1, padding_mode="circular"), (1, 2, 5, 5))],
)  # fmt: skip
def test_what_a_convolution_multiplies(conv: nn.Conv1d, shape: tuple[int, ...]) -> None:
    conv = drawn(conv)
    x = torch.randn(shape, generator=generator(1), dtype=torch.float64)
    vectors = seen(conv, x)["weight"]
    weight = conv.weight.detach().reshape(conv.groups, conv.out_channels // conv.groups, -1)
    columns = vectors.reshape(shape[0], conv.groups, -1, vectors.shape[1])
    rebuilt = torch.einsum("ngpi,goi->ngop", columns, weight).reshape(shape[0], conv.out_channels, -1)
    expected = (conv(x) - conv.bias.view(-1, *(1,) * (x.dim() - 2))).flatten(2).detach()
    torch.testing.assert_close(rebuilt, expected)


@pytest.mark.parametrize("kind", [nn.LSTM, nn.GRU, nn.RNN])
@pytest.mark.parametrize("bidirectional", [False, True])
@pytest.mark.parametrize("packed", [False, True])
def test_what_a_recurrent_layer_multiplies(kind: type[nn.RNNBase], bidirectional: bool, packed: bool) -> None:
    layer = drawn(kind(3, 2, num_layers=2, bidirectional=bidirectional, batch_first=True))
    x = torch.randn(2, 4, 3, generator=generator(1), dtype=torch.float64)
    lengths = torch.tensor([4, 2]) if packed else torch.tensor([4, 4])
    found = seen(layer, pack_padded_sequence(x, lengths, batch_first=True) if packed else x)
    for way in ("", "_reverse")[: 1 + bidirectional]:
        size = 2 * (1 + bidirectional)
        expected = {"ih_l0": [], "hh_l0": [], "ih_l1": [], "hh_l1": []}
        for row, length in enumerate(lengths.tolist()):
            below = x[row, :length]
            for level in (0, 1):
                top = kind(below.shape[1], 2, bidirectional=bidirectional).double()
                with torch.no_grad():
                    for name, parameter in top.named_parameters():
                        parameter.copy_(layer.get_parameter(name.replace("_l0", f"_l{level}")))
                    after = top(below.unsqueeze(1))[0].squeeze(1)
                zero = torch.zeros(1, 2, dtype=torch.float64)
                before = torch.cat([after[1:, 2:], zero]) if way else torch.cat([zero, after[:-1, :2]])
                expected[f"ih_l{level}"].append(below)
                expected[f"hh_l{level}"].append(before)
                below = after
        for part, rows in expected.items():
            vectors = found[f"weight_{part}{way}"]
            assert vectors.shape[1] == (3 if part == "ih_l0" else size if part == "ih_l1" else 2)
            torch.testing.assert_close(vectors.square().sum(0), torch.cat(rows).square().sum(0))


def test_an_lstm_with_projections_and_a_given_state() -> None:
    layer = drawn(nn.LSTM(3, 4, proj_size=2))
    x = torch.randn(5, 1, 3, generator=generator(1), dtype=torch.float64)
    found = seen(layer, x)
    outputs = layer(x)[0].detach()
    torch.testing.assert_close(found["weight_hr_l0"] @ layer.weight_hr_l0.detach().T, outputs[:, 0])
    state = torch.ones(1, 1, 2, dtype=torch.float64), torch.zeros(1, 1, 4, dtype=torch.float64)
    torch.testing.assert_close(seen(layer, x, state)["weight_hh_l0"][0], torch.ones(2, dtype=torch.float64))


def test_what_attention_multiplies() -> None:
    layer = drawn(nn.MultiheadAttention(4, 2, batch_first=True))
    x, y = (torch.randn(2, n, 4, generator=generator(n), dtype=torch.float64) for n in (3, 5))
    found = seen(layer, x, y, value=y)
    expected = layer(x, y, y)[0].detach().reshape(-1, 4)
    out = layer.out_proj
    torch.testing.assert_close(found["out_proj.weight"] @ out.weight.detach().T + out.bias.detach(), expected)
    assert found["in_proj_weight"].shape == (2 * 3 + 2 * (2 * 5), 4)
    assert seen(layer, x, x, x)["in_proj_weight"].shape == (6, 4)


def test_hooks_are_gone_afterwards() -> None:
    model = tagger()
    scores["wanda"](model, prunable_mask(model), batches_of(model), None, generator(0))
    assert all(not module._forward_hooks for module in model.modules())


def test_wanda_and_sparsegpt_score_every_kind() -> None:
    model = tagger()
    mask = prunable_mask(model)
    for name in ("wanda", "sparsegpt"):
        found = scores[name](model, mask, batches_of(model), None, generator(0))
        assert set(found) == set(mask)
        assert all(torch.isfinite(values).all() and (values >= 0).all() for values in found.values())


def published_sparsegpt(weight: Tensor, x: Tensor, sparsity: float, damping: float) -> Tensor:
    """Algorithm 1 as the authors' code writes it, with one block of all columns."""
    weight, columns = weight.clone(), weight.shape[1]
    hessian = 2 * x.T @ x
    hessian += damping * hessian.diagonal().mean() * torch.eye(columns, dtype=x.dtype)
    inverse = torch.linalg.cholesky(torch.cholesky_inverse(torch.linalg.cholesky(hessian)), upper=True)
    saliency = weight**2 / inverse.diagonal().reshape(1, -1) ** 2
    threshold = saliency.flatten().sort()[0][int(saliency.numel() * sparsity)]
    pruned = saliency < threshold
    for i in range(columns):
        d = inverse[i, i]
        q = weight[:, i].clone()
        q[pruned[:, i]] = 0
        error = (weight[:, i] - q) / d
        weight[:, i:] -= error.unsqueeze(1).matmul(inverse[i, i:].unsqueeze(0))
        weight[:, i] = q
    return weight


def test_sparsegpt_equals_the_authors_algorithm() -> None:
    layer = drawn(nn.Linear(6, 5, bias=False))
    x = torch.randn(40, 6, generator=generator(2), dtype=torch.float64) @ torch.randn(6, 6, generator=generator(3), dtype=torch.float64)
    expected = published_sparsegpt(layer.weight.detach(), x, 0.6, 0.01)
    mask = prunable_mask(layer)
    found = scores["sparsegpt"](layer, mask, [(x, x)], None, generator(0))
    kept = keep(found, mask, 0.4, scope="layer")
    reconstruct(layer, kept, [(x, x)])
    torch.testing.assert_close(layer.weight.detach(), expected, rtol=1e-8, atol=1e-10)
    assert torch.equal(layer.weight != 0, kept["weight"])


def test_reconstruction_brings_outputs_nearer_than_zeroing_alone() -> None:
    model = mlp()
    mask = prunable_mask(model)
    batches = batches_of(model, count=4, examples=16)
    kept = keep(scores["sparsegpt"](model, mask, batches, loss, generator(0)), mask, 0.5, scope="layer")
    dense = copy.deepcopy(model).eval()
    zeroed, mended = copy.deepcopy(model).eval(), copy.deepcopy(model).eval()
    apply(kept, zeroed)
    reconstruct(mended, kept, batches)
    assert all((mended.get_parameter(name)[~kept[name]] == 0).all() for name in mask)

    def error(other: nn.Module) -> float:
        return sum((other(inputs) - dense(inputs)).square().sum().item() for inputs, _ in batches)

    assert error(mended) < 0.8 * error(zeroed)


def test_what_has_no_inputs_is_refused() -> None:
    model = tagger()
    with pytest.raises(PruningError, match=r"these have none: .*norm\.weight"):
        scores["wanda"](model, prunable_mask(model, ["linear", "norm"]), batches_of(model), None, generator(0))
    with pytest.raises(PruningError, match=r"embedding\.weight"):
        scores["sparsegpt"](model, prunable_mask(model, ["embedding"]), batches_of(model), None, generator(0))
    with pytest.raises(PruningError, match="calibration batches"):
        scores["wanda"](model, prunable_mask(model), None, None, generator(0))


def test_a_copy_made_while_a_layer_is_watched_runs_by_itself() -> None:
    model = drawn(nn.LSTM(3, 2, batch_first=True)).eval()
    seen: list[str] = []
    x = torch.randn(2, 4, 3, dtype=torch.float64, generator=generator(0))
    with torch.no_grad():
        expected = model(x)[0]
        with watched(model, linear_maps(model), lambda entry, vectors: seen.append(entry.parameter)):
            copied = copy.deepcopy(model)
            model.weight_ih_l0.zero_()
            torch.testing.assert_close(copied(x)[0], expected)
            assert not seen
            model(x)
            assert set(seen) == {"weight_ih_l0", "weight_hh_l0"}
        torch.testing.assert_close(copied(x)[0], expected)


def test_a_layer_s_own_hooks_act_once_on_what_is_seen() -> None:
    model = drawn(nn.MultiheadAttention(4, 2, batch_first=True)).eval()
    x = torch.randn(2, 3, 4, dtype=torch.float64, generator=generator(0))

    def seen(inputs: torch.Tensor) -> dict[str, torch.Tensor]:
        found: dict[str, torch.Tensor] = {}
        with torch.no_grad(), watched(model, linear_maps(model), lambda entry, vectors: found.update({entry.parameter: vectors})):
            model(inputs, inputs, inputs)
        return found

    expected = seen(2 * x)
    model.register_forward_pre_hook(lambda module, args: tuple(2 * part for part in args))
    found = seen(x)
    torch.testing.assert_close(found["out_proj.weight"], expected["out_proj.weight"])
    torch.testing.assert_close(found["in_proj_weight"].unique(dim=0), expected["in_proj_weight"].unique(dim=0))
