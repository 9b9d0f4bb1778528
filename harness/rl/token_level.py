"""Every token of a completion a term of its own: the clipped, token-wise loss of d1, coupled-GRPO, d2-StepMerge and
JustGRPO.

Which inputs a token's log-probability comes from is a method's own. Axes: N rows of a part: completions, or states of
them; n tokens of each. B rows of the rollout, C completion, X micro-batches.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from harness.models.diffusion_lm import DiffusionLM
from harness.rl.masked import MaskedInputs, row_weights, token_counts, until_first_end
from harness.rl.method import Loss, LossPart
from harness.rl.policy_loss import clipped_objective, k3
from harness.rollout import ScoredRollouts


@dataclass(frozen=True, kw_only=True)
class TokenTerms(LossPart):
    """counted_Nn: the tokens that are terms. weight_N: of a row's terms, before their sum is divided by the
    normaliser."""

    counted_Nn: Tensor
    old_logprob_Nn: Tensor
    advantage_N: Tensor
    weight_N: Tensor
    normaliser: float


@dataclass(frozen=True, kw_only=True)
class MaskedTokens(MaskedInputs, TokenTerms):
    """One inner update, a row for each completion: tokens are counted up to and including the first end token, and the
    normaliser is their number in the global batch; weights are 1, unless micro-batches are normalised apart."""


def token_terms(
    scored: ScoredRollouts, policy: DiffusionLM, old_logprob_BC: Tensor, advantage_B: Tensor
) -> dict[str, Any]:
    """The fields of MaskedTokens beyond its inputs; each micro-batch's tokens are counted apart."""
    counted_BC = until_first_end(policy.is_end(scored.rollout.completion_ids_BC))
    count_X = token_counts(counted_BC, scored)
    return {
        "counted_Nn": counted_BC,
        "old_logprob_Nn": old_logprob_BC,
        "advantage_N": advantage_B.to(old_logprob_BC.dtype),
        "weight_N": row_weights(count_X, scored).to(old_logprob_BC.dtype),
        "normaliser": float(count_X.sum()),
    }


def token_loss(
    new_Nn: Tensor,
    reference: Callable[[], Tensor],
    part: TokenTerms,
    *,
    clip_low: float,
    clip_high: float,
    beta: float,
) -> Loss:
    """-min(rho A, clip(rho) A) + beta k3 per token, weighted, summed over the counted tokens and divided by the
    normaliser. reference: gives the reference policy's log-probabilities (N, n); asked where beta is not 0."""
    clipped = clipped_objective(
        new_Nn, part.old_logprob_Nn, part.advantage_N[:, None], clip_low=clip_low, clip_high=clip_high
    )
    kl_Nn = k3(new_Nn, reference()) if beta else torch.zeros_like(new_Nn)
    term_Nn = (beta * kl_Nn - clipped.objective) * part.weight_N[:, None]
    loss = torch.where(part.counted_Nn, term_Nn, 0.0).sum() / part.normaliser
    return loss, clipped.values(part.counted_Nn, kl=kl_Nn)
