"""Scores from the curvature of the loss: the diagonal of its Hessian (OBD), and of the Fisher information."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from typing import Any, Literal

import numpy as np
import torch
from torch import Tensor, nn

from secateur.errors import PruningError
from secateur.masks import Mask
from secateur.pruning.arithmetic import squares_
from secateur.pruning.gradients import batch_losses, evaluated, gradients_of, owned, products_of
from secateur.pruning.rank_one import may_be_chain, squares_of_examples
from secateur.pruning.scores import Batches, Loss, Scores
from secateur.registry import scores
from secateur.seeds import generator as generator_for


@scores.register("fisher", needs_batches=True, needs_loss=True, signed=False, version=2)
def fisher(
    model: nn.Module,
    mask: Mask,
    batches: Batches | None,
    loss: Loss | None,
    generator: torch.Generator | None,
    *,
    gradients: Literal["example", "batch"] = "example",
) -> Scores:
    """w**2 / 2 * mean of g**2: OBD with the diagonal of the empirical Fisher information (Theis et al. 2018) for the Hessian's.

    g is the gradient of one example's loss, or of one batch's, which costs less and estimates less: the mean over examples is squared.
    Examples lie along axis 0 of inputs and targets. In a chain of linear layers the squares of a batch are summed in one pass of it.
    """
    with evaluated(model, mask) as parameters:
        squares = _Squares(list(parameters.values()))
        if gradients == "batch" or batches is None or loss is None:
            squares.add(batch_losses(model, batches, loss, "fisher"))
        else:
            chain = may_be_chain(model)
            for inputs, targets in batches:
                sums = squares_of_examples(model, parameters, inputs, targets, loss) if chain else None
                chain = sums is not None
                if sums is not None:
                    squares.add_sums(sums, len(targets))
                elif len(targets):
                    squares.add(batch_losses(model, _single_examples(inputs, targets), loss, "fisher"))
            if not squares.count:
                raise PruningError("score 'fisher' needs at least one batch; there is none")
        return dict(zip(parameters, squares.times_weights(), strict=True))


class _Squares:
    """Sums of squares of gradients, one a weight: each adds in one pass over the weights, the last in the one that multiplies by them."""

    def __init__(self, weights: Sequence[Tensor]) -> None:
        self.weights = weights
        self.count = 0
        self._totals: list[Tensor] = []
        self._first = False  # totals are gradients, not yet squared
        self._latest: list[Tensor] = []  # gradients whose squares are not yet among the totals

    def add(self, losses: Iterable[Tensor]) -> None:
        """The gradients of each of the losses."""
        for value in losses:
            self._settle()  # so that no more than two sets of gradients are alive
            found = gradients_of(value, self.weights)
            if self._totals:
                self._latest = found
            else:
                self._totals, self._first = [owned(gradient, found[:place]) for place, gradient in enumerate(found)], True
            self.count += 1

    def add_sums(self, sums: list[Tensor], count: int) -> None:
        """Sums of squares of `count` gradients; before any of `add`."""
        if self._totals:
            torch._foreach_add_(self._totals, sums)
        else:
            self._totals = sums
        self.count += count

    def times_weights(self) -> list[Tensor]:
        """weights**2 / 2 * the mean of the squares, in the memory of the sums."""
        latest: Sequence[Tensor | None] = self._latest or [None] * len(self.weights)
        together = zip(self._totals, latest, self.weights, strict=True)
        return [squares_(total, found, weight, divisor=2 * self.count, first=self._first) for total, found, weight in together]

    def _settle(self) -> None:
        if self._latest:
            for total, found in zip(self._totals, self._latest, strict=True):
                squares_(total, found, first=self._first)
            self._first, self._latest = False, []


@scores.register("obd", needs_batches=True, needs_loss=True, signed=True)
def obd(
    model: nn.Module,
    mask: Mask,
    batches: Batches | None,
    loss: Loss | None,
    generator: torch.Generator,
    *,
    probes: int = 16,
    exact: bool = False,
) -> Scores:
    """Optimal brain damage (LeCun et al. 1990): w**2 / 2 * the diagonal of the Hessian of the loss summed over batches. Signed.

    The diagonal is Hutchinson's estimate from `probes` random signs v a batch, the mean of v * H v; or `exact`, a product a weight, for
    small networks. The paper's own recursion leaves out a part of the second derivatives; this does not.
    """
    if probes < 1:
        raise PruningError(f"score 'obd': probes = {probes}; there is at least one")
    seed = int(torch.randint(2**62, (), generator=generator))
    with evaluated(model, mask) as parameters:
        weights = list(parameters.values())
        diagonal = [torch.zeros_like(weight) for weight in weights]
        for number, value in enumerate(batch_losses(model, batches, loss, "obd")):
            gradients = gradients_of(value, weights, create_graph=True)
            if exact:
                _add_exact_diagonal(diagonal, gradients, weights)
                continue
            for probe in range(probes):
                signs = [_signs(weight, generator_for(seed, name, number, probe)) for name, weight in parameters.items()]
                product = products_of(gradients, signs, weights, again=probe < probes - 1)
                torch._foreach_addcmul_(diagonal, signs, product, 1.0 / probes)
        return {
            name: squares_(value, weights=weight, divisor=2) for (name, weight), value in zip(parameters.items(), diagonal, strict=True)
        }


def _signs(weight: Tensor, draw: torch.Generator) -> Tensor:
    """-1 or 1 for each weight."""
    drawn = torch.randint(256, ((weight.numel() + 7) // 8,), generator=draw, dtype=torch.uint8)
    bits = torch.from_numpy(np.unpackbits(drawn.numpy(), count=weight.numel()))
    return bits.view(weight.shape).to(weight).mul_(2).sub_(1)


def _add_exact_diagonal(diagonal: list[Tensor], gradients: list[Tensor], weights: list[nn.Parameter]) -> None:
    for number, (total, gradient) in enumerate(zip(diagonal, gradients, strict=True)):
        for place in range(gradient.numel()):
            unit = [torch.zeros_like(weight) for weight in weights]
            unit[number].view(-1)[place] = 1.0
            total.view(-1)[place] += products_of(gradients, unit, weights, again=True)[number].view(-1)[place]


def _single_examples(inputs: Any, targets: Tensor) -> Iterator[tuple[Any, Tensor]]:
    for number in range(len(targets)):
        one = slice(number, number + 1)
        yield tuple(part[one] for part in inputs) if isinstance(inputs, tuple | list) else inputs[one], targets[one]
