"""The bag of words of study C: the mean of a text's word vectors, and one linear layer."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from secateur.dropout import Dropout
from secateur.models.embeddings import word_table
from secateur.models.initialisers import initialised, start_from_vectors
from secateur.registry import models
from secateur.shapes import PADDING, DataShape


class BagOfWords(nn.Module):
    """Token ids (batch, length) -> mean of the vectors of the words that are no padding -> logits (batch, outputs).

    `nn.EmbeddingBag(mode="mean")` as a look-up and a mean: torch's fused one has no second derivative, which GraSP needs,
    and a sparse embedding can stand in for `nn.Embedding`. A text of padding alone has the mean zero.
    """

    def __init__(self, vocabulary: int, embedding: int, dropout: float, outputs: int) -> None:
        super().__init__()
        self.embedding = nn.Embedding(vocabulary, embedding, padding_idx=PADDING)
        self.dropout = Dropout(dropout)
        self.output = nn.Linear(embedding, outputs)

    def forward(self, tokens: Tensor) -> Tensor:
        words = (tokens != PADDING).sum(1, keepdim=True).clamp(min=1)
        return self.output(self.dropout(self.embedding(tokens).sum(1) / words))  # type: ignore[no-any-return]


@models.register("embedding-bag")
def embedding_bag(
    shape: DataShape,
    generator: torch.Generator,
    *,
    embedding: int | None = None,
    dropout: float = 0.0,
    freeze_embedding: bool = False,
    init: str = "torch",
) -> BagOfWords:
    """Study C's classifier: `EmbeddingBag(vocabulary, 64, mean)` and `Linear(64, outputs)`."""
    vocabulary, dimension = word_table(shape, embedding, default=64)
    model = initialised(lambda: BagOfWords(vocabulary, dimension, dropout, shape.outputs), init, generator)
    start_from_vectors(model.embedding, shape.vectors)
    model.embedding.weight.requires_grad_(not freeze_embedding)
    return model
