"""Sparse layers: parameters, gradients and cost follow the surviving weights."""

from secateur.sparse.attention import SparseMultiheadAttention
from secateur.sparse.compression import compress, decompress, mask_of, sparse_weights
from secateur.sparse.conversion import sparse_counterpart
from secateur.sparse.convolution import SparseConv1d
from secateur.sparse.embedding import SparseEmbedding
from secateur.sparse.evolution import evolve, move_survivors
from secateur.sparse.execution import Crossovers, choose_execution, shipped_crossovers
from secateur.sparse.linear import SparseLinear, sparse_linear
from secateur.sparse.recurrent import SparseGRU, SparseLSTM, SparseRNN
from secateur.sparse.sequential import SparseSequential
from secateur.sparse.ticket import Ticket
from secateur.sparse.transposed import SparseTransposedLinear
from secateur.sparse.weight import SparseWeight

__all__ = [
    "Crossovers",
    "SparseConv1d",
    "SparseEmbedding",
    "SparseGRU",
    "SparseLSTM",
    "SparseLinear",
    "SparseMultiheadAttention",
    "SparseRNN",
    "SparseSequential",
    "SparseTransposedLinear",
    "SparseWeight",
    "Ticket",
    "choose_execution",
    "compress",
    "decompress",
    "evolve",
    "mask_of",
    "move_survivors",
    "shipped_crossovers",
    "sparse_counterpart",
    "sparse_linear",
    "sparse_weights",
]
