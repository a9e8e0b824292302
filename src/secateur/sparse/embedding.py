"""`SparseEmbedding`: `nn.Embedding` over the surviving weights alone."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from secateur._kernels import new_tensor
from secateur.captures import is_wrapped, outside_graphs
from secateur.errors import PruningError
from secateur.masks import Pattern
from secateur.sparse.backward import applied, differentiable_once
from secateur.sparse.weight import SparseWeight


class _LookUp(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, values: Tensor, ids: Tensor, kernel: Any) -> Tensor:
        y = new_tensor(values, (ids.shape[0], kernel.columns))
        kernel.embedding_forward(values, ids, y, torch.get_num_threads())
        ctx.save_for_backward(ids)
        ctx.kernel = kernel
        return y

    @staticmethod
    @differentiable_once
    def backward(ctx: Any, dy: Tensor) -> tuple[Tensor | None, ...]:
        (ids,) = ctx.saved_tensors
        dvalues = new_tensor(dy, (ctx.kernel.survivors,))
        ctx.kernel.embedding_backward(ids, dy.contiguous(), dvalues, torch.get_num_threads())
        return dvalues, None, None


class SparseEmbedding(nn.Module):
    """`nn.Embedding` of which only survivors are stored. The padding row is empty: zero, and without a gradient."""

    def __init__(self, weight: SparseWeight, padding_idx: int | None = None) -> None:
        super().__init__()
        if len(weight.shape) != 2:
            raise PruningError(f"an embedding's weight has two axes, not shape {weight.shape}")
        self.num_embeddings, self.embedding_dim = weight.shape
        if padding_idx is not None:
            padding_idx %= self.num_embeddings
            if int(weight.row_starts[padding_idx + 1] - weight.row_starts[padding_idx]):
                raise PruningError(f"row {padding_idx} is the padding row, but the mask keeps weights of it")
        self.weight = weight
        self.padding_idx = padding_idx

    @classmethod
    def from_dense(cls, embedding: nn.Embedding, kept: Tensor | Pattern) -> SparseEmbedding:
        """The layer `embedding` with the weights that `kept` (num_embeddings, embedding_dim) keeps; `PruningError` if it renormalises."""
        cls.check(embedding)
        return cls(SparseWeight.from_dense(embedding.weight, kept), embedding.padding_idx)

    @staticmethod
    def check(embedding: nn.Embedding) -> None:
        """`PruningError` for an embedding that renormalises rows, or scales or stores gradients in its own way."""
        if embedding.max_norm is not None or embedding.scale_grad_by_freq or embedding.sparse:
            raise PruningError("SparseEmbedding has no max_norm, no scale_grad_by_freq and no sparse gradients")

    @classmethod
    def random(
        cls, num_embeddings: int, embedding_dim: int, *, density: float, seed: int, padding_idx: int | None = None
    ) -> SparseEmbedding:
        """A new layer that was never dense; survivors uniform with variance 1 / density, so that a row's norm is `nn.Embedding`'s."""
        bound = (3.0 / max(density, 1e-12)) ** 0.5
        rows = () if padding_idx is None else (padding_idx % num_embeddings,)
        return cls(SparseWeight.random((num_embeddings, embedding_dim), density, bound, seed, excluded_rows=rows), padding_idx)

    def sparse_weights(self) -> dict[str, SparseWeight]:
        """The sparse weights by the names that the dense layer gives them."""
        return {"weight": self.weight}

    def to_dense(self) -> nn.Embedding:
        """The same layer as `nn.Embedding`, zero where pruned."""
        values = self.weight.values
        dense = nn.Embedding(self.num_embeddings, self.embedding_dim, self.padding_idx, device=values.device, dtype=values.dtype)
        with torch.no_grad():
            dense.weight.copy_(self.weight.to_dense())
        return dense

    @outside_graphs
    def forward(self, ids: Tensor) -> Tensor:
        """ids (…) int64 or int32 -> (…, embedding_dim)."""
        if ids.dtype not in (torch.int64, torch.int32):
            raise PruningError(f"an embedding looks up int64 or int32 ids, not {ids.dtype}")
        if ids.device.type != "cpu" or not self.weight.runs_on_kernels() or is_wrapped(ids):
            return F.embedding(ids, self.weight.to_dense(), self.padding_idx)
        flat = ids.reshape(-1).to(torch.int64).contiguous()
        y: Tensor = applied(_LookUp, self.weight.values, flat, self.weight.kernel)
        return y.view(*ids.shape, self.embedding_dim)

    def extra_repr(self) -> str:
        return f"{self.num_embeddings}, {self.embedding_dim}, padding_idx={self.padding_idx}"
