"""Every token of a completion a term of its own: the clipped, token-wise loss of d1, coupled-GRPO and d2-StepMerge.

Which inputs a token's log-probability comes from is a method's own. Axes: B rows, C completion; D inputs per row, X
micro-batches.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from harness.models.diffusion_lm import DiffusionLM
from harness.rl.masked import MaskedInputs, row_weights, token_counts, until_first_end
from harness.rl.method import Loss
from harness.rl.policy_loss import clipped_objective, k3
from harness.rollout import ScoredRollouts


@dataclass(frozen=True, kw_only=True)
class TokenTerms(MaskedInputs):
    """One inner update. counted_BC: True up to and including the first end token; normaliser: the number of such tokens
    in the global batch; weight_B: 1, unless micro-batches are normalised apart."""

    counted_BC: Tensor
    old_logprob_BC: Tensor
    advantage_B: Tensor
    weight_B: Tensor
    normaliser: float


def token_terms(
    scored: ScoredRollouts, policy: DiffusionLM, old_logprob_BC: Tensor, advantage_B: Tensor
) -> dict[str, Any]:
    """The fields of TokenTerms beyond those of its inputs; each micro-batch's tokens are counted apart."""
    counted_BC = until_first_end(policy.is_end(scored.rollout.completion_ids_BC))
    count_X = token_counts(counted_BC, scored)
    return {
        "counted_BC": counted_BC,
        "old_logprob_BC": old_logprob_BC,
        "advantage_B": advantage_B.to(old_logprob_BC.dtype),
        "weight_B": row_weights(count_X, scored).to(old_logprob_BC.dtype),
        "normaliser": float(count_X.sum()),
    }


def token_loss(
    new_BC: Tensor,
    reference: Callable[[], Tensor],
    part: TokenTerms,
    *,
    clip_low: float,
    clip_high: float,
    beta: float,
) -> Loss:
    """-min(rho A, clip(rho) A) + beta k3 per token, weighted, summed over the counted tokens and divided by their
    number. reference: gives the reference policy's log-probabilities (B, C); asked where beta is not 0."""
    clipped = clipped_objective(
        new_BC, part.old_logprob_BC, part.advantage_B[:, None], clip_low=clip_low, clip_high=clip_high
    )
    kl_BC = k3(new_BC, reference()) if beta else torch.zeros_like(new_BC)
    term_BC = (beta * kl_BC - clipped.objective) * part.weight_B[:, None]
    loss = torch.where(part.counted_BC, term_BC, 0.0).sum() / part.normaliser
    return loss, clipped.values(part.counted_BC, kl=kl_BC)
