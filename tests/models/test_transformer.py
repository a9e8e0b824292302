import math

import pytest
import torch
from torch import nn

from secateur.data.dataset import DataShape
from secateur.dropout import foreign_dropout
from secateur.errors import InputError
from secateur.linear_maps import linear_maps, prunable_mask
from secateur.models.transformer import Attention, Transformer, sinusoids
from secateur.registry import models

SHAPE = DataShape(11, vocabulary=11, source_vocabulary=13)


def build(**options: object) -> Transformer:
    options = {"layers": (2, 2), "width": 8, "inner": 12, "heads": 2} | options
    return models["transformer"](SHAPE, torch.Generator().manual_seed(0), **options)


def test_attention_equals_torchs() -> None:
    ours, reference = Attention(8, 2, 0.0), nn.MultiheadAttention(8, 2, batch_first=True)
    projections = [ours.q_proj, ours.k_proj, ours.v_proj]
    with torch.no_grad():
        reference.in_proj_weight.copy_(torch.cat([p.weight for p in projections]))
        reference.in_proj_bias.copy_(torch.cat([p.bias for p in projections]))
        reference.out_proj.load_state_dict(ours.out_proj.state_dict())
    x, y = torch.randn(3, 4, 8), torch.randn(3, 5, 8)
    padding = torch.tensor([[0, 0, 0, 0, 0], [0, 0, 0, 1, 1], [0, 0, 0, 0, 1]]).bool()
    expected, _ = reference(x, y, y, key_padding_mask=padding)
    assert torch.allclose(ours(x, *ours.keys_and_values(y), padding[:, None, None]), expected, atol=1e-6)


def test_the_stack_equals_torchs_transformer() -> None:
    model = build().eval()
    reference = nn.Transformer(8, 2, 2, 2, 12, batch_first=True).eval()
    copied = {}
    for side, layers in (("encoder", model.encoder), ("decoder", model.decoder)):
        for depth, layer in enumerate(layers):
            attentions = {"self_attn": layer.attention} | ({"multihead_attn": layer.over_source} if side == "decoder" else {})
            for name, attention in attentions.items():
                place = f"{side}.layers.{depth}.{name}"
                parts = [attention.q_proj, attention.k_proj, attention.v_proj]
                copied[f"{place}.in_proj_weight"] = torch.cat([p.weight for p in parts])
                copied[f"{place}.in_proj_bias"] = torch.cat([p.bias for p in parts])
                copied |= {f"{place}.out_proj.{key}": value for key, value in attention.out_proj.state_dict().items()}
            for name, inner in {"linear1": layer.feed_forward[0], "linear2": layer.feed_forward[3]}.items():
                copied |= {f"{side}.layers.{depth}.{name}.{key}": value for key, value in inner.state_dict().items()}
            for number, norm in enumerate(layer.norms, 1):
                copied |= {f"{side}.layers.{depth}.norm{number}.{key}": value for key, value in norm.state_dict().items()}
    for side, norm in (("encoder", model.encoder_norm), ("decoder", model.decoder_norm)):
        copied |= {f"{side}.norm.{key}": value for key, value in norm.state_dict().items()}
    reference.load_state_dict(copied)
    source, target = torch.tensor([[3, 4, 5, 6], [7, 8, 0, 0]]), torch.tensor([[2, 4, 5], [2, 6, 7]])

    def placed(words: torch.Tensor) -> torch.Tensor:
        return words * math.sqrt(8) + sinusoids(words.shape[1], 8)

    out = reference(
        placed(model.source_embedding(source)),
        placed(model.embedding(target)),
        tgt_mask=nn.Transformer.generate_square_subsequent_mask(3),
        src_key_padding_mask=source == 0,
        memory_key_padding_mask=source == 0,
    )
    assert torch.allclose(model(source, target), model.output(out), atol=1e-5)


def test_sinusoids_by_hand() -> None:
    table = sinusoids(3, 4)
    assert table[0].tolist() == [0, 1, 0, 1]
    assert table[2].tolist() == pytest.approx([math.sin(2), math.cos(2), math.sin(0.02), math.cos(0.02)])


def test_no_word_sees_a_later_one_and_padding_is_not_seen() -> None:
    model = build().eval()
    source, target = torch.tensor([[3, 4, 5]]), torch.tensor([[2, 4, 5, 6]])
    changed = target.clone()
    changed[0, 2] = 9
    assert torch.allclose(model(source, target)[:, :2], model(source, changed)[:, :2], atol=1e-6)
    longer = torch.tensor([[3, 4, 5, 0, 0]])
    assert torch.allclose(model(longer, target), model(source, target), atol=1e-6)


def test_word_by_word_equals_all_at_once() -> None:
    model = build().eval()
    source, target = torch.tensor([[3, 4, 5], [6, 7, 0]]), torch.tensor([[2, 4, 5, 6], [2, 7, 8, 9]])
    expected = model(source, target)
    decoding = model.begin(source)
    for place in range(4):
        logits, decoding = model.advance(target[:, place], decoding)
        assert torch.allclose(logits, expected[:, place], atol=1e-5)


def test_rows_of_a_decoding_go_on_as_they_would_have() -> None:
    model = build().eval()
    source = torch.tensor([[3, 4, 5], [6, 7, 0]])
    _, decoding = model.advance(torch.tensor([2, 2]), model.begin(source))
    chosen = torch.tensor([1, 1, 0])
    logits, _ = model.advance(torch.tensor([4, 5, 4]), decoding.rows(chosen))
    alone, _ = model.advance(torch.tensor([4, 5]), decoding)
    assert torch.allclose(logits[2], alone[0], atol=1e-6)
    swapped, _ = model.advance(torch.tensor([4, 4]), decoding.reordered(torch.tensor([0, 0])))
    assert torch.allclose(swapped[0], alone[0], atol=1e-6)


def test_an_empty_sentence_gives_numbers() -> None:
    model = build()
    loss = model(torch.tensor([[0, 0], [3, 4]]), torch.tensor([[2], [2]])).sum()
    loss.backward()
    assert math.isfinite(loss.item())
    assert all(torch.isfinite(p.grad).all() for p in model.parameters())


def test_attention_is_a_kind_of_its_own_and_can_be_selected() -> None:
    model = build()
    kinds = [entry.kind for entry in linear_maps(model)]
    assert kinds.count("attention") == 4 * 2 + 8 * 2
    assert kinds.count("linear") == 2 * 4 + 1
    assert kinds.count("embedding") == 2
    only_linear = prunable_mask(model, ["linear"])
    assert all("feed_forward" in name or name == "output.weight" for name in only_linear)
    assert len(prunable_mask(model, ["linear", "*.out_proj.weight"])) == 9 + 6


def test_study_cs_sizes() -> None:
    options = {key: parameter.default for key, parameter in models.entry("transformer").options.items()}
    assert (options["layers"], options["width"], options["inner"], options["heads"], options["dropout"]) == ((3, 3), 512, 512, 8, 0.1)
    assert foreign_dropout(build()) == []


def test_padding_rows_stay_zero_and_the_generator_decides_all() -> None:
    first, again = build(), build()
    for name, parameter in first.named_parameters():
        assert torch.equal(parameter, again.get_parameter(name))
    optimizer = torch.optim.Adam(first.parameters(), lr=0.1)
    first(torch.tensor([[3, 4, 0]]), torch.tensor([[2, 0]])).sum().backward()
    optimizer.step()
    assert first.source_embedding.weight[0].count_nonzero() == first.embedding.weight[0].count_nonzero() == 0


def test_impossible_shapes_are_refused() -> None:
    with pytest.raises(InputError, match="multiple of heads"):
        build(width=9)
    with pytest.raises(InputError, match="source and a target"):
        models["transformer"](DataShape(3, vocabulary=5), torch.Generator())
