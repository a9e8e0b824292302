"""What scores compute beside the passes of the network, each in one pass over the weights: torch's own calls take one for each operation.

On contiguous CPU tensors of one dtype, float32 or float64, a kernel does it; elsewhere torch does. Both round alike.
"""

from __future__ import annotations

from typing import Any

import torch
from numpy.typing import NDArray
from torch import Tensor

from secateur import _kernels


@torch.no_grad()
def add_changes_(totals: Tensor, weights: Tensor, gradients: Tensor, *, first: bool = False) -> Tensor:
    """totals += |weights * gradients|, all of one shape; `first` overwrites totals, which may be the gradients."""
    if alike(totals, weights, gradients):
        _kernels.add_changes(flat(weights), flat(gradients), flat(totals), first, torch.get_num_threads())
        return totals
    changes = (gradients * weights).abs_()
    return totals.copy_(changes) if first else totals.add_(changes)


@torch.no_grad()
def squares_(
    totals: Tensor, gradients: Tensor | None = None, weights: Tensor | None = None, *, divisor: float = 1.0, first: bool = False
) -> Tensor:
    """totals = (totals + gradients**2) * weights**2 / divisor, without what is None; where `first`, totals are squared before."""
    if alike(totals, *(its for its in (gradients, weights) if its is not None)):
        added, factors = (None if its is None else flat(its) for its in (gradients, weights))
        _kernels.squares(flat(totals), added, factors, divisor, first, torch.get_num_threads())
        return totals
    if first:
        totals.square_()
    if gradients is not None:
        totals.addcmul_(gradients, gradients)
    return totals if weights is None else totals.mul_(weights.square()).div_(divisor)


def weighed(weights: Tensor, norms: Tensor) -> Tensor:
    """|weights * norms|: weights (outputs, ...), norms one for each weight of an output."""
    weights, norms = weights.detach(), norms.detach()
    if alike(weights, norms):
        scores = torch.empty_like(weights)
        _kernels.weigh(weights.numpy(), norms.numpy(), scores.numpy(), torch.get_num_threads())
        return scores
    return torch.mul(weights, norms.view(1, *weights.shape[1:])).abs_()


def add_squares_(totals: Tensor, vectors: Tensor) -> Tensor:
    """totals += the sum over axis 0 of vectors**2, in double precision: totals (n,) float64, vectors (number, n)."""
    vectors = vectors.detach()
    if alike(vectors) and alike(totals):
        _kernels.add_squares(vectors.numpy(), totals.numpy(), torch.get_num_threads())
        return totals
    return totals.add_(vectors.double().square().sum(0))


def alike(*tensors: Tensor) -> bool:
    """Whether kernels take them: contiguous CPU tensors of one dtype, float32 or float64."""
    dtype = tensors[0].dtype
    return dtype in (torch.float32, torch.float64) and all(its.is_cpu and its.dtype == dtype and its.is_contiguous() for its in tensors)


def flat(tensor: Tensor) -> NDArray[Any]:
    """A contiguous CPU tensor's memory."""
    return tensor.detach().numpy().reshape(-1)
