"""Movement (Sanh et al. 2020): a score that grows while training. State and pure update; the loop carries it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from secateur.errors import PruningError
from secateur.masks import Mask, parameters_of
from secateur.pruning.scores import Batches, Loss, Scores
from secateur.registry import scores

Tensors = Mapping[str, Tensor]


@dataclass(frozen=True)
class Movement:
    """-sum over steps of rate * w * dL/dw, one tensor a parameter: positive where training moves a weight away from zero.

    Equation 3 of the paper, where the straight-through gradient of a score is w * dL/dw with respect to the *masked* weight: so `gradients`
    are dense, taken before pruned positions are masked, and a pruned weight goes on collecting as long as its (latent) weight is handed in.
    """

    scores: Tensors

    @classmethod
    def zero(cls, model: nn.Module, mask: Mask) -> Movement:
        """No movement yet."""
        return cls({name: torch.zeros_like(parameter, requires_grad=False) for name, parameter in parameters_of(model, mask).items()})

    def updated(self, weights: Tensors, gradients: Tensors, rate: float) -> Movement:
        """The movement after one more step: weights before the step, gradients there, the learning rate of scores."""
        return Movement({name: score - rate * weights[name].detach() * gradients[name].detach() for name, score in self.scores.items()})

    def update_(self, weights: Tensors, gradients: Tensors, rate: float) -> None:
        """As `updated`, in place: what the loop calls, at one pass over the weights."""
        for name, score in self.scores.items():
            score.addcmul_(weights[name].detach(), gradients[name].detach(), value=-rate)

    def kept_above(self, threshold: float, prunable: Mask) -> Mask:
        """Soft movement: keep what scores sigmoid(S) > `threshold`, among `prunable`. `penalised` pulls scores down."""
        if not 0 < threshold < 1:
            raise PruningError(f"soft movement: a threshold of {threshold} lies outside of (0, 1)")
        return prunable.map(
            lambda name, pattern: pattern.with_kept(pattern.flags() & (torch.sigmoid(self.scores[name]) > threshold).cpu().numpy())
        )

    def penalised(self, strength: float) -> Movement:
        """Soft movement's regulariser: one step of gradient descent on `strength` * the mean over all weights of sigmoid(S)."""
        count = sum(score.numel() for score in self.scores.values())
        changes = {name: torch.sigmoid(score) * torch.sigmoid(-score) / count for name, score in self.scores.items()}
        return Movement({name: score - strength * changes[name] for name, score in self.scores.items()})


@scores.register("movement", needs_batches=False, needs_loss=False, signed=True, in_loop=True)
def movement(model: nn.Module, mask: Mask, batches: Batches | None, loss: Loss | None, generator: torch.Generator | None) -> Scores:
    """Movement (Sanh et al. 2020): -sum of w * dL/dw over training, ranked to a density (hard movement). Schedule gradual collects it."""
    raise PruningError(
        "score 'movement' grows while training, where schedule 'gradual' collects it: there is nothing to score at one moment"
    )
