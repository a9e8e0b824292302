"""Scores that look at one linear map and its inputs at a time: Wanda, SparseGPT; and SparseGPT's update of what stays."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor, nn

from secateur.errors import PruningError
from secateur.layer_inputs import watched
from secateur.linear_maps import LinearMap, linear_maps
from secateur.masks import Mask, apply, parameters_of
from secateur.pruning.arithmetic import add_squares_, weighed
from secateur.pruning.gradients import in_eval_mode, outputs_of
from secateur.pruning.scores import Batches, Loss, Scores
from secateur.registry import scores


@scores.register("wanda", needs_batches=True, needs_loss=False, signed=False, linear_maps_only=True)
def wanda(model: nn.Module, mask: Mask, batches: Batches | None, loss: Loss | None, generator: torch.Generator | None) -> Scores:
    """Wanda (Sun et al. 2024): |w| * 2-norm of its input over all calibration examples. The paper ranks in scope neuron.

    Padded positions count as the network sees them; an embedding's input is how often a word occurs (norm: the root of its count). A packed
    projection of attention has one norm for queries, keys and values together. Targets are not read.
    """
    maps = _maps_of(model, mask, "wanda")
    weights = {entry.parameter: model.get_parameter(entry.parameter).detach() for entry in maps}
    squares = {}
    for entry in maps:
        inputs = entry.shape[0] if entry.kind == "embedding" else entry.fan_in
        squares[entry.parameter] = weights[entry.parameter].new_zeros(inputs, dtype=torch.float64)

    def visit(entry: LinearMap, vectors: Tensor) -> None:
        total = squares[entry.parameter]
        if vectors.is_floating_point():
            add_squares_(total, vectors)
        else:
            total += torch.bincount(vectors, minlength=len(total))

    _calibrate(model, maps, batches, visit, "wanda")
    found = {}
    for entry in maps:
        weight = weights[entry.parameter]
        norms = squares[entry.parameter].sqrt_().to(weight.dtype)
        found[entry.parameter] = (weight * norms.unsqueeze(1)).abs_() if entry.transposed else weighed(weight, norms)
    return found


@scores.register("sparsegpt", needs_batches=True, needs_loss=False, signed=False, linear_maps_only=True)
def sparsegpt(
    model: nn.Module,
    mask: Mask,
    batches: Batches | None,
    loss: Loss | None,
    generator: torch.Generator | None,
    *,
    damping: float = 0.01,
) -> Scores:
    """SparseGPT (Frantar & Alistarh 2023): (w / c)**2, c the diagonal of the upper Cholesky factor of (X^T X + damping * mean diagonal)^-1.

    What pruning w costs the layer's output once the weights after it, in the order of inputs, make up for it: `reconstruct` does that. The
    mask is chosen at once (the paper's block size for masks = all inputs). No embeddings.
    """
    maps = _maps_of(model, mask, "sparsegpt")
    found = {}
    for entry, factor in zip(maps, _factors(model, maps, batches, damping, "sparsegpt"), strict=True):
        weight = model.get_parameter(entry.parameter).detach().double()
        found[entry.parameter] = (weight / factor.diagonal().view(1, *entry.shape[1:])).square()
    return found


def reconstruct(model: nn.Module, mask: Mask, batches: Batches, *, damping: float = 0.01) -> None:
    """SparseGPT's update, in place: zero what `mask` prunes and let the kept weights make up for it, layer by layer, in order.

    Each row's inputs are walked through in order; the error of pruning one is spread over the later ones by the inverse Hessian
    (Frantar & Alistarh 2023, algorithm 1), and kept only where the mask keeps. A layer sees inputs from layers already updated. A tied or
    shared tensor sees all its uses.
    """
    maps = _maps_of(model, mask, "sparsegpt")
    with torch.no_grad():
        for entry in maps:
            factor = next(iter(_factors(model, [entry], batches, damping, "sparsegpt")))
            parameter = model.get_parameter(entry.parameter)
            weight = parameter.double().reshape(entry.shape[0], -1).clone()
            kept = mask[entry.parameter].to(weight.device).reshape(weight.shape)
            for column in range(weight.shape[1]):
                error = torch.where(kept[:, column], 0.0, weight[:, column]) / factor[column, column]
                weight[:, column:] -= error.unsqueeze(1) * factor[column, column:].unsqueeze(0)
                weight[:, column] *= kept[:, column]
            parameter.copy_(weight.reshape(entry.shape))
    apply(mask, model)


def _maps_of(model: nn.Module, mask: Mask, score: str) -> list[LinearMap]:
    """The linear maps of a mask's parameters; `PruningError` when some are none."""
    maps = {entry.parameter: entry for entry in linear_maps(model)}
    parameters_of(model, mask)
    others = [name for name in mask if name not in maps or (score == "sparsegpt" and maps[name].transposed)]
    if others:
        raise PruningError(
            f"score {score!r} looks at the inputs of linear maps; these have none: {', '.join(others)}. Exclude them with '!' in prunable"
        )
    order = {name: number for number, name in enumerate(maps)}
    return [maps[name] for name in sorted(mask, key=order.__getitem__)]


def _calibrate(model: nn.Module, maps: Sequence[LinearMap], batches: Batches | None, visit: object, score: str) -> None:
    if batches is None:
        raise PruningError(f"score {score!r} needs calibration batches")
    count = 0
    with in_eval_mode(model), torch.no_grad(), watched(model, maps, visit):  # type: ignore[arg-type]
        for inputs, _ in batches:
            outputs_of(model, inputs)
            count += 1
    if not count:
        raise PruningError(f"score {score!r} needs at least one calibration batch; there is none")


def _factors(model: nn.Module, maps: Sequence[LinearMap], batches: Batches | None, damping: float, score: str) -> list[Tensor]:
    """For each map the upper Cholesky factor of the inverse of X^T X plus `damping` of its mean diagonal: (inputs, inputs)."""
    moments = {
        entry.parameter: torch.zeros(entry.fan_in, entry.fan_in, dtype=torch.float64, device=model.get_parameter(entry.parameter).device)
        for entry in maps
    }

    def visit(entry: LinearMap, vectors: Tensor) -> None:
        if not vectors.is_floating_point():
            raise PruningError(f"score {score!r}: {entry.parameter!r} looks rows up; it needs inputs that are vectors")
        moments[entry.parameter].addmm_(vectors.double().T, vectors.double())

    _calibrate(model, maps, batches, visit, score)
    factors = []
    for moment in moments.values():
        moment.diagonal()[moment.diagonal() == 0] = 1.0
        moment.diagonal().add_(damping * moment.diagonal().mean())
        inverse = torch.cholesky_inverse(torch.linalg.cholesky(moment))
        factors.append(torch.linalg.cholesky(inverse, upper=True))
    return factors
