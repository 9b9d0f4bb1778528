"""Clipped policy-gradient terms and KL estimators. Pure functions of log-probabilities in nats; shapes pass through."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor


@dataclass(frozen=True, kw_only=True)
class ClippedObjective:
    """objective: to be maximised. ratio: importance ratio. low, high: where the clip bound replaced the ratio."""

    objective: Tensor
    ratio: Tensor
    low: Tensor
    high: Tensor

    def values(self, counted: Tensor, *, kl: Tensor) -> dict[str, Tensor]:
        """Named values for the log, of the terms that count; kl: nats, of the shape of the ratio."""
        named = {"ratio": self.ratio, "kl": kl.detach(), "clip_low": self.low, "clip_high": self.high}
        return {name: value[counted] for name, value in named.items()}


def clipped_objective(
    new: Tensor, old: Tensor, advantage: Tensor, *, clip_low: float, clip_high: float
) -> ClippedObjective:
    """PPO's min(rho A, clip(rho, 1 - clip_low, 1 + clip_high) A) with rho = exp(new - old)."""
    ratio = (new - old).exp()
    clipped = ratio.clamp(1 - clip_low, 1 + clip_high)
    objective = torch.minimum(ratio * advantage, clipped * advantage)
    return ClippedObjective(
        objective=objective,
        ratio=ratio.detach(),
        low=((ratio < 1 - clip_low) & (advantage < 0)).detach(),
        high=((ratio > 1 + clip_high) & (advantage > 0)).detach(),
    )


def k2(new: Tensor, reference: Tensor) -> Tensor:
    """Schulman's k2 estimator of KL(new, reference): (new - reference)^2 / 2; its gradient is unbiased."""
    return (new - reference).square() / 2


def k3(new: Tensor, reference: Tensor) -> Tensor:
    """Schulman's k3 estimator of KL(new, reference) from samples of new: exp(d) - d - 1, d = reference - new."""
    difference = reference - new
    return difference.exp() - difference - 1


def exact_kl(new_logits: Tensor, reference_logits: Tensor) -> Tensor:
    """KL(new, reference) over the vocabulary, the last axis, nats."""
    new, reference = new_logits.log_softmax(-1), reference_logits.log_softmax(-1)
    return (new.exp() * (new - reference)).sum(-1)
