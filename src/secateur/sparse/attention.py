"""`SparseMultiheadAttention`: `nn.MultiheadAttention` whose projections hold survivors alone."""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from secateur.errors import PruningError
from secateur.masks import Pattern
from secateur.sparse.linear import sparse_linear
from secateur.sparse.weight import SparseWeight


class SparseMultiheadAttention(nn.Module):
    """Attention with torch's interface over sparse projections.

    `in_proj` (3 * embed_dim, embed_dim) stacks q, k and v; `out_proj` is square.

    Keys and values have the embedding's width, and there is no added bias or zero to attend to.
    """

    def __init__(
        self,
        in_proj: SparseWeight,
        out_proj: SparseWeight,
        num_heads: int,
        *,
        in_bias: Tensor | None = None,
        out_bias: Tensor | None = None,
        dropout: float = 0.0,
        batch_first: bool = False,
    ) -> None:
        super().__init__()
        width = out_proj.shape[0]
        if in_proj.shape != (3 * width, width) or out_proj.shape != (width, width) or width % num_heads:
            raise PruningError(
                f"projections of shapes {in_proj.shape} and {out_proj.shape} do not make an attention of {num_heads} heads: "
                "they must be (3 * width, width) and (width, width), the width a multiple of the heads"
            )
        self.embed_dim, self.num_heads, self.dropout, self.batch_first = width, num_heads, dropout, batch_first
        self.in_proj, self.out_proj = in_proj, out_proj
        self.in_proj_bias = _parameter(in_bias)
        self.out_proj_bias = _parameter(out_bias)

    @classmethod
    def from_dense(cls, attention: nn.MultiheadAttention, kept: dict[str, Tensor | Pattern]) -> SparseMultiheadAttention:
        """The layer `attention` with the weights that `kept` keeps: masks of `in_proj_weight` and `out_proj.weight` (missing: all)."""
        weights = {}
        for name in sparse_weight_names(attention):
            dense = attention.get_parameter(name)
            weights[name] = SparseWeight.from_dense(dense, kept.get(name, Pattern.full(tuple(dense.shape))))
        return cls.from_weights(attention, weights)

    @classmethod
    def from_weights(cls, attention: nn.MultiheadAttention, weights: dict[str, SparseWeight]) -> SparseMultiheadAttention:
        """The layer `attention` over sparse weights `in_proj_weight` and `out_proj.weight`; its biases are shared, not copied."""
        sparse_weight_names(attention)
        return cls(
            weights["in_proj_weight"], weights["out_proj.weight"], attention.num_heads, in_bias=attention.in_proj_bias,
            out_bias=attention.out_proj.bias, dropout=attention.dropout, batch_first=attention.batch_first,
        )  # fmt: skip

    def sparse_weights(self) -> dict[str, SparseWeight]:
        """The sparse weights by the names that the dense layer gives them."""
        return {"in_proj_weight": self.in_proj, "out_proj.weight": self.out_proj}

    def to_dense(self) -> nn.MultiheadAttention:
        """The same layer as `nn.MultiheadAttention`, zero where pruned."""
        values = self.in_proj.values
        dense = nn.MultiheadAttention(
            self.embed_dim, self.num_heads, self.dropout, bias=self.in_proj_bias is not None,
            batch_first=self.batch_first, device=values.device, dtype=values.dtype,
        )  # fmt: skip
        assert dense.in_proj_weight is not None
        with torch.no_grad():
            dense.in_proj_weight.copy_(self.in_proj.to_dense())
            dense.out_proj.weight.copy_(self.out_proj.to_dense())
            if self.in_proj_bias is not None and self.out_proj_bias is not None:
                dense.in_proj_bias.copy_(self.in_proj_bias)
                dense.out_proj.bias.copy_(self.out_proj_bias)
        return dense

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
        """As `nn.MultiheadAttention.forward`: (length, batch, width) or, with `batch_first`, (batch, length, width); or without a batch."""
        batched, same = query.dim() == 3, query is key and key is value
        if not batched:
            query, key, value = query.unsqueeze(1), key.unsqueeze(1), value.unsqueeze(1)
            key_padding_mask = None if key_padding_mask is None else key_padding_mask.unsqueeze(0)
        batch_first = self.batch_first and batched
        q, k, v = (self._heads(x, batch_first) for x in self._projected(query, key, value, same))
        mask = _float_mask(attn_mask, key_padding_mask, q, k, self.num_heads, is_causal)
        dropout = self.dropout if self.training else 0.0
        weights = None
        if need_weights:
            scores = (q @ k.transpose(-2, -1)) / q.shape[-1] ** 0.5
            weights = torch.softmax(scores if mask is None else scores + mask, dim=-1)
            attended = (F.dropout(weights, dropout) if dropout else weights) @ v
            weights = weights.mean(1) if average_attn_weights else weights
            weights = weights if batched else weights.squeeze(0)
        else:
            attended = F.scaled_dot_product_attention(q, k, v, mask, dropout)
        merged = attended.transpose(1, 2) if batch_first else attended.permute(2, 0, 1, 3)
        y = sparse_linear(merged.reshape(*merged.shape[:2], self.embed_dim), self.out_proj, self.out_proj_bias)
        return (y if batched else y.squeeze(1)), weights

    def _projected(self, query: Tensor, key: Tensor, value: Tensor, same: bool) -> list[Tensor]:
        if same:
            return list(sparse_linear(query, self.in_proj, self.in_proj_bias).chunk(3, dim=-1))
        # One product over all queries, keys and values would compute each three times: take the thirds of the weight.
        biases = [None] * 3 if self.in_proj_bias is None else list(self.in_proj_bias.chunk(3))
        width = self.embed_dim
        return [
            sparse_linear(x, self.in_proj, bias, rows=(i * width, (i + 1) * width))
            for i, (x, bias) in enumerate(zip((query, key, value), biases, strict=True))
        ]

    def _heads(self, x: Tensor, batch_first: bool) -> Tensor:
        """(batch, heads, length, width / heads)."""
        split = x.reshape(*x.shape[:-1], self.num_heads, -1)
        return split.transpose(1, 2) if batch_first else split.permute(1, 2, 0, 3)

    def extra_repr(self) -> str:
        return f"embed_dim={self.embed_dim}, num_heads={self.num_heads}, batch_first={self.batch_first}"


def sparse_weight_names(attention: nn.MultiheadAttention) -> tuple[str, ...]:
    """The weights that become sparse; `PruningError` for an attention that `SparseMultiheadAttention` is no counterpart of."""
    if attention.in_proj_weight is None or attention.bias_k is not None or attention.add_zero_attn:
        raise PruningError("SparseMultiheadAttention has keys and values of the embedding's width, and no added bias or zero to attend to")
    return ("in_proj_weight", "out_proj.weight")


def _parameter(tensor: Tensor | None) -> nn.Parameter | None:
    return tensor if tensor is None or isinstance(tensor, nn.Parameter) else nn.Parameter(tensor)


def _float_mask(
    attn_mask: Tensor | None, key_padding_mask: Tensor | None, q: Tensor, k: Tensor, heads: int, is_causal: bool
) -> Tensor | None:
    """What is added to the scores (batch, heads, queries, keys), or None."""
    if is_causal and attn_mask is None:
        raise PruningError("is_causal is a hint that goes with attn_mask, as in torch")

    def added(mask: Tensor) -> Tensor:
        return torch.zeros_like(mask, dtype=q.dtype).masked_fill(mask, float("-inf")) if mask.dtype is torch.bool else mask.to(q.dtype)

    total: Tensor | None = None
    if attn_mask is not None:
        total = added(attn_mask)
        if total.dim() == 3:
            total = total.view(-1, heads, *total.shape[1:])
    if key_padding_mask is not None:
        padding = added(key_padding_mask)[:, None, None, :]
        total = padding if total is None else total + padding
    return None if total is None else total.expand(q.shape[0], q.shape[1], q.shape[2], k.shape[2])
