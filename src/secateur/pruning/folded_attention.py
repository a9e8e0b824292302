"""Attention with fewer heads."""

from __future__ import annotations

import math
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from secateur.errors import PruningError
from secateur.linear_maps import LinearMap, describe
from secateur.masks import Mask


class FoldedAttention(nn.Module):
    """Multi-head attention whose heads together are narrower than what goes in and out: what is left of an `nn.MultiheadAttention`.

    Called like it. `q`, `k`, `v` (inner, inputs) and `out` (width, inner) are linear layers; inner = heads * width of a head.
    """

    def __init__(self, q: nn.Linear, k: nn.Linear, v: nn.Linear, out: nn.Linear, heads: int, dropout: float, batch_first: bool) -> None:
        super().__init__()
        self.q, self.k, self.v, self.out = q, k, v, out
        self.num_heads = heads
        self.dropout = dropout
        self.batch_first = batch_first
        # What nn.TransformerEncoderLayer asks before it takes a short cut that does not fit here.
        self.in_proj_bias = None
        self._qkv_same_embed_dim = False

    def forward(
        self,
        query: Tensor,
        key: Tensor,
        value: Tensor,
        key_padding_mask: Tensor | None = None,
        need_weights: bool = True,
        attn_mask: Tensor | None = None,
        average_attn_weights: bool = True,
        is_causal: bool = False,
    ) -> tuple[Tensor, Tensor | None]:
        """As `nn.MultiheadAttention`, batched inputs: (outputs, weights or None)."""
        if query.dim() != 3:
            raise PruningError("a folded attention takes batched inputs")
        if not self.batch_first:
            query, key, value = (x.transpose(0, 1) for x in (query, key, value))
        q, k, v = (
            layer(x).unflatten(-1, (self.num_heads, -1)).transpose(1, 2) for layer, x in ((self.q, query), (self.k, key), (self.v, value))
        )
        scores = q @ k.transpose(2, 3) / math.sqrt(q.shape[-1])
        if attn_mask is not None and attn_mask.dim() != 2:
            raise PruningError("a folded attention takes masks that are the same for all heads: (queries, keys)")
        hidden_keys = None if key_padding_mask is None else key_padding_mask[:, None, None]
        scores = scores + _as_addend(attn_mask, scores) + _as_addend(hidden_keys, scores)
        weights = scores.softmax(-1)
        mixed = (F.dropout(weights, self.dropout, self.training) @ v).transpose(1, 2).flatten(2)
        outputs = self.out(mixed)
        if not self.batch_first:
            outputs = outputs.transpose(0, 1)
        shown = (weights.mean(1) if average_attn_weights else weights) if need_weights else None
        return outputs, shown


@describe(FoldedAttention)
def _folded_attention(module: FoldedAttention) -> list[LinearMap]:
    def positions(number: int) -> Any:
        return lambda inputs, output: inputs[number].shape[0] * inputs[number].shape[1]

    return [
        LinearMap(
            f"{name}.weight", "", "attention", tuple(layer.weight.shape), uses=positions(number), heads=module.num_heads,
            bias=f"{name}.bias" if layer.bias is not None else None,
        )
        for name, layer, number in (("q", module.q, 0), ("k", module.k, 1), ("v", module.v, 2), ("out", module.out, 0))
    ]  # fmt: skip


def fold_heads(model: nn.Module, mask: Mask) -> None:
    """Remove, in place, the heads whose columns of the output projection are all zero; one stays."""
    modules = dict(model.named_modules())
    for name, module in modules.items():
        attention: Any = module
        prefix = f"{name}." if name else ""
        if hasattr(module, "num_heads") and hasattr(module, "in_proj_weight") and f"{prefix}out_proj.weight" in mask:
            kept = _live_heads(attention.out_proj.weight, attention.num_heads)
            plain = not attention.add_zero_attn and attention.bias_k is None
            if not kept.all() and plain:
                if not name:
                    raise PruningError("an attention that is the whole network cannot be replaced: put it into a module of your own")
                owner, _, leaf = name.rpartition(".")
                setattr(model.get_submodule(owner), leaf, _without_heads(attention, kept).train(attention.training))
        elif all(hasattr(module, part) for part in ("heads", "q_proj", "k_proj", "v_proj", "out_proj")):
            kept = _live_heads(attention.out_proj.weight, attention.heads)
            if not kept.all():
                _cut_projections(attention, kept)


def _live_heads(out: Tensor, heads: int) -> Tensor:
    """Which heads the output projection (width, inner) reads; the first, if none."""
    live = (out.detach().view(out.shape[0], heads, -1) != 0).any(2).any(0)
    live[0] |= not live.any()
    return live


def _cut_projections(attention: Any, kept: Tensor) -> None:
    """Attention of separate linear layers, which reads its width from them and its number of heads from `heads`."""
    channels = kept.repeat_interleave(attention.out_proj.weight.shape[1] // len(kept))
    for part in (attention.q_proj, attention.k_proj, attention.v_proj):
        part.weight = nn.Parameter(part.weight.detach()[channels].clone(), part.weight.requires_grad)
        if part.bias is not None:
            part.bias = nn.Parameter(part.bias.detach()[channels].clone(), part.bias.requires_grad)
        part.out_features = int(channels.sum())
    out = attention.out_proj
    out.weight = nn.Parameter(out.weight.detach()[:, channels].clone(), out.weight.requires_grad)
    out.in_features = int(channels.sum())
    attention.heads = int(kept.sum())
    for part in (attention.q_proj, attention.k_proj, attention.v_proj, out):
        if hasattr(part, "heads"):
            part.heads = int(kept.sum())


def _without_heads(attention: Any, kept: Tensor) -> FoldedAttention:
    channels = kept.repeat_interleave(attention.head_dim)
    if attention.in_proj_weight is not None:
        weights = attention.in_proj_weight.detach().chunk(3)
    else:
        weights = tuple(attention.get_parameter(f"{part}_proj_weight").detach() for part in "qkv")
    biases = attention.in_proj_bias.detach().chunk(3) if attention.in_proj_bias is not None else (None, None, None)
    parts = [_linear(weight[channels], None if bias is None else bias[channels]) for weight, bias in zip(weights, biases, strict=True)]
    out = _linear(
        attention.out_proj.weight.detach()[:, channels], None if attention.out_proj.bias is None else attention.out_proj.bias.detach()
    )
    return FoldedAttention(parts[0], parts[1], parts[2], out, int(kept.sum()), attention.dropout, attention.batch_first)


def _linear(weight: Tensor, bias: Tensor | None) -> nn.Linear:
    layer = nn.Linear(weight.shape[1], weight.shape[0], bias=bias is not None, device="meta")
    layer.weight = nn.Parameter(weight.clone())
    if bias is not None:
        layer.bias = nn.Parameter(bias.clone())
    return layer


def _as_addend(mask: Tensor | None, scores: Tensor) -> Tensor | float:
    """A mask of attention as what is added to scores: -inf where a bool mask is true."""
    if mask is None:
        return 0.0
    return torch.zeros_like(mask, dtype=scores.dtype).masked_fill_(mask, -math.inf) if mask.dtype is torch.bool else mask
