"""Movement (Sanh et al. 2020): a score that grows while training. The loop carries it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from secateur.errors import PruningError
from secateur.masks import Mask
from secateur.pruning.scores import Batches, Loss, Scores
from secateur.registry import scores

Tensors = Mapping[str, Tensor]


@dataclass(frozen=True)
class Movement:
    """-sum over steps of rate * w * dL/dw, one tensor a parameter, of its shape: positive where training moves a weight away from zero.

    Equation 3 of the paper, where the straight-through gradient of a score is w * dL/dw with respect to the *masked* weight: so `gradients`
    are dense, taken before pruned positions are masked, and a pruned weight goes on collecting as long as its (latent) weight is handed in.
    """

    scores: Tensors

    def update_(self, weights: Tensors, gradients: Tensors, rate: float, strength: float = 0.0) -> None:
        """Descend the loss by one step, in place: weights before the step, gradients there, the learning rate of scores.

        With a `strength`, descend the loss + strength * the mean of sigmoid(S) over all scores: soft movement's regulariser.
        """
        count = sum(score.numel() for score in self.scores.values())
        for name, score in self.scores.items():
            slope = torch.sigmoid(score) * torch.sigmoid(-score) if strength else None
            score.addcmul_(weights[name].detach(), gradients[name].detach(), value=-rate)
            if slope is not None:
                score.sub_(slope, alpha=rate * strength / count)

    def kept_above(self, threshold: float, mask: Mask) -> Mask:
        """Soft movement: of what `mask` keeps, what scores sigmoid(S) > `threshold`."""
        return mask.map(
            lambda name, pattern: pattern.with_kept(pattern.flags() & (torch.sigmoid(self.scores[name]) > threshold).cpu().numpy())
        )


@scores.register("movement", needs_batches=False, needs_loss=False, signed=True, in_loop=True)
def movement(model: nn.Module, mask: Mask, batches: Batches | None, loss: Loss | None, generator: torch.Generator | None) -> Scores:
    """Movement (Sanh et al. 2020): -sum of w * dL/dw over training, which schedules gradual (hard) and soft-movement collect."""
    raise PruningError(
        "score 'movement' grows while training, where schedule 'gradual' or 'soft-movement' collects it: "
        "there is nothing to score at one moment"
    )
