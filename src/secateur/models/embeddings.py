"""What networks over token ids ask of their data: the size of the vocabulary, the dimension of its vectors, the length."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor

from secateur.errors import InputError
from secateur.shapes import PADDING, DataShape


def word_table(shape: DataShape, embedding: int | None, default: int = 100) -> tuple[int, int]:
    """(vocabulary, dimension) of the embedding: `embedding`, or the pretrained vectors' dimension, or `default`."""
    if shape.vocabulary is None:
        raise InputError("this network reads words; the data set has none")
    if shape.vectors is None:
        return shape.vocabulary, default if embedding is None else embedding
    dimension = int(shape.vectors.shape[1])
    if embedding not in (None, dimension):
        raise InputError(f"embedding = {embedding}, but the pretrained vectors have {dimension} dimensions: leave `embedding` out")
    return shape.vocabulary, dimension


def text_length(shape: DataShape) -> int:
    """The number of tokens of every text, for a network whose size depends on it."""
    if shape.length is None:
        raise InputError("this network needs texts of one fixed length: set it in the data set's options")
    return shape.length


def fixed_length(tokens: Tensor, length: int) -> Tensor:
    """Token ids (batch, any) cut or padded at the end to (batch, length)."""
    return F.pad(tokens[:, :length], (0, length - min(length, tokens.shape[1])), value=PADDING)


def true_lengths(tokens: Tensor) -> Tensor:
    """(batch,) int64: the number of tokens up to the last that is no padding; at least 1."""
    places = (tokens != PADDING) * torch.arange(1, tokens.shape[1] + 1, device=tokens.device)
    return places.amax(1).clamp(min=1)
