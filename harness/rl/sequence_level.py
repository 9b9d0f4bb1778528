"""Completions as single actions: a score in place of the log-likelihood of a whole completion, and clipped ratios of
scores. All that methods share whose score is a weighted sum of log-probabilities of masked tokens.

Axes: B rows, prompt-major in groups of G; C completion, L = prompt + C; U inner updates; M draws per row; S scores per
row; D inputs per row, D / S successive ones for each score.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from harness.diffusion import elbo
from harness.errors import UserError
from harness.models.diffusion_lm import DiffusionLM
from harness.randomness import row_seeds, uniforms
from harness.rl.masked import MaskedInputs, attended, new_logprob, old_logprob, reference_logprob
from harness.rl.policy_loss import ClippedObjective, clipped_objective
from harness.rollout import ScoredRollouts

ORDER_DRAW = 0


@dataclass(frozen=True, kw_only=True)
class ScoredInputs(MaskedInputs):
    """One inner update. weight_BDC: what each token's log-probability counts in its score, 0 where it is not masked;
    scores: S.

    old_score_BS: None where the old policy is the current one, as in the only update of a rollout. length_B: tokens
    that a ratio is taken over; normaliser: rows of the global batch.
    """

    weight_BDC: Tensor
    old_score_BS: Tensor | None
    advantage_B: Tensor
    length_B: Tensor
    normaliser: float
    scores: int = 1


def scored_inputs(
    scored: ScoredRollouts,
    policy: DiffusionLM,
    tokens_BDL: Tensor,
    weight_BDC: Tensor,
    advantage_B: Tensor,
    *,
    length_B: Tensor | None = None,
    scores: int = 1,
    only_update: bool = False,
    kept_BC: Tensor | None = None,
) -> ScoredInputs:
    """A part with its old scores, taken while the policy is still the one that sampled; without where it is the only
    update of the rollout. length_B: by default C. kept_BC: the tokens that the model sees, by default all."""
    rollout, dtype = scored.rollout, scored.rollout.logprob_BC.dtype
    weight_BDC = weight_BDC.to(dtype)
    old_BS, mask_BL = None, attended(rollout, kept_BC)
    if not only_update:
        old_BS = row_scores(old_logprob(policy, rollout, tokens_BDL, kept_BC=kept_BC)[0], weight_BDC, scores)
    if length_B is None:
        length_B = torch.full_like(advantage_B, rollout.completion_length)
    return ScoredInputs(
        tokens_BDL=tokens_BDL,
        mask_BL=mask_BL,
        target_BC=rollout.completion_ids_BC,
        weight_BDC=weight_BDC,
        old_score_BS=old_BS,
        advantage_B=advantage_B.to(dtype),
        length_B=length_B.to(dtype),
        normaliser=scored.global_rows,
        scores=scores,
    )


def row_scores(logprob_BDC: Tensor, weight_BDC: Tensor, scores: int = 1) -> Tensor:
    """Scores (B, S), nats: weighted log-probabilities summed over the tokens and inputs of each score."""
    return (logprob_BDC * weight_BDC).unflatten(1, (scores, -1)).sum((2, 3))


def new_score(policy: DiffusionLM, part: ScoredInputs) -> Tensor:
    """Scores (B, S) under `policy`, with their gradient."""
    return row_scores(new_logprob(policy, part), part.weight_BDC, part.scores)


def reference_score(policy: DiffusionLM, part: ScoredInputs) -> Tensor:
    """Scores (B, S) under the reference policy, without gradient."""
    return row_scores(reference_logprob(policy, part), part.weight_BDC, part.scores)


def old_score(new_BS: Tensor, part: ScoredInputs) -> Tensor:
    """Scores (B, S) under the old policy."""
    return new_BS.detach() if part.old_score_BS is None else part.old_score_BS


def clipped_ratio(
    new_BS: Tensor, part: ScoredInputs, *, clip_low: float, clip_high: float, per_token: bool = True
) -> ClippedObjective:
    """PPO's objective with rho = exp((new - old) / length), one ratio per score; without `per_token` of the sums."""
    length_B1 = part.length_B[:, None] if per_token else torch.ones_like(part.length_B)[:, None]
    return clipped_objective(
        new_BS / length_B1,
        old_score(new_BS, part) / length_B1,
        part.advantage_B[:, None],
        clip_low=clip_low,
        clip_high=clip_high,
    )


def require_others(scored: ScoredRollouts, title: str) -> None:
    """Raises UserError for groups of one, which have no others to be compared with. title: of the method."""
    if scored.group_size < 2:
        raise UserError(f"train.group_size=1: {title} compares with the other completions of a prompt; set 2 or more.")


def spread_masks(scored: ScoredRollouts, update: int, generator: torch.Generator) -> Tensor:
    """One mask per row (B, C): counts evenly spaced over each micro-batch from a random start, places at random."""
    length, rows = scored.rollout.completion_length, scored.global_rows
    start_X = torch.randint(0, length + 1, (len(scored.micro_batches),), generator=generator)
    spaced = zip(scored.micro_batches, start_X.tolist(), strict=True)
    count_B = torch.cat([elbo.evenly_spaced_counts(size, length, start) for size, start in spaced])
    seed_B = row_seeds(rows, generator)
    uniform_BC = uniforms(seed_B, update, torch.arange(length).expand(rows, -1), ORDER_DRAW)
    return scored.shard.mine(elbo.masks_of_counts(count_B, uniform_BC))


def spread_masks_of_updates(scored: ScoredRollouts, updates: int, draws: int, generator: torch.Generator) -> Tensor:
    """M such masks per inner update, bool (B, U, M, C)."""
    masks = [torch.stack([spread_masks(scored, u, generator) for _ in range(draws)], 1) for u in range(updates)]
    return torch.stack(masks, 1)
