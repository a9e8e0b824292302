"""Sparse layers: parameters, gradients and cost follow the surviving weights."""

from secateur.sparse.convolution import SparseConv1d
from secateur.sparse.embedding import SparseEmbedding
from secateur.sparse.linear import SparseLinear, sparse_linear
from secateur.sparse.recurrent import SparseGRU, SparseLSTM, SparseRNN
from secateur.sparse.weight import SparseWeight

__all__ = [
    "SparseConv1d",
    "SparseEmbedding",
    "SparseGRU",
    "SparseLSTM",
    "SparseLinear",
    "SparseRNN",
    "SparseWeight",
    "sparse_linear",
]
