"""ESPO: the whole completion as one action, its log-likelihood replaced by a Monte-Carlo ELBO (arXiv 2512.03759).

This is EGSPO with: one ratio per completion instead of one per step; an ELBO from randomly masked completions instead
of the states that it went through; a baseline that leaves the completion itself out. The same masks serve the new, the
old and the reference policy; each of the mu inner updates draws its own.

Axes: B rows, prompt-major in groups of G; P prompt, C completion, L = P + C; U inner updates; M draws per row; D inputs
per row: M, or 2 M with each mask's complement; V vocabulary.
"""

from __future__ import annotations

import itertools
import math
from dataclasses import dataclass, field
from typing import ClassVar

import torch
from torch import Tensor

from harness.config.decoding import Decoding
from harness.diffusion import elbo
from harness.errors import UserError, require_positive
from harness.models.diffusion_lm import DiffusionLM
from harness.randomness import row_seeds, uniforms
from harness.registry import method
from harness.rl.advantages import group_std, leave_one_out_mean
from harness.rl.estimator import Estimator, Outcome, Setting
from harness.rl.masked import MaskedInputs, masked_inputs, new_logprob, old_logprob, reference_logprob
from harness.rl.method import Loss, Method, Prepared, ScoreFunction, UpdateBatch
from harness.rl.policy_loss import ClippedObjective, clipped_objective, k2
from harness.rollout import ScoredRollouts

ORDER_DRAW = 0
STD_FLOOR = 1e-4


@dataclass(frozen=True, kw_only=True)
class EspoConfig:
    """Options of ESPO; the published values stand in the `paper` recipes.

    inner_updates: mu, optimiser updates per rollout. mc_samples: M. coupled: a second input masks each mask's
    complement (the official code always does it). clip_low, clip_high: the ratio stays within 1 - clip_low and
    1 + clip_high. beta: weight of the KL term, 0 for none. scale_rewards: divide advantages by the group's standard
    deviation.
    """

    inner_updates: int = 8
    mc_samples: int = 2
    coupled: bool = True
    clip_low: float = 0.2
    clip_high: float = 0.2
    beta: float = 0.01
    scale_rewards: bool = False


@dataclass(frozen=True, kw_only=True)
class Bound(MaskedInputs):
    """One inner update. weight_BDC: what each token's log-probability counts in the row's ELBO, 0 where it is not
    masked; normaliser: rows of the global batch."""

    weight_BDC: Tensor
    old_elbo_B: Tensor
    advantage_B: Tensor
    normaliser: float


@method("espo", title="ESPO", colour="#E69F00", ablations=("coupled", "mc_samples"))
@dataclass(frozen=True, kw_only=True)
class Espo(Method):
    """ESPO."""

    Config: ClassVar[type] = EspoConfig
    takes_cached: ClassVar[bool] = True
    takes_adaptive: ClassVar[bool] = True
    takes_blocks: ClassVar[bool] = True
    config: EspoConfig = field(default_factory=EspoConfig)

    def check(self, decoding: Decoding) -> None:
        """Raises UserError for numbers of updates or draws below 1."""
        require_positive("method", inner_updates=self.config.inner_updates, mc_samples=self.config.mc_samples)

    def draw(self, scored: ScoredRollouts, policy: DiffusionLM, generator: torch.Generator) -> Tensor:
        """M masks of the completion per inner update, bool (B, U, M, C), spread over each micro-batch."""
        updates, draws = range(self.config.inner_updates), range(self.config.mc_samples)
        masks = [torch.stack([draw_masks(scored, u, m, generator) for m in draws], 1) for u in updates]
        return torch.stack(masks, 1).to(policy.device)

    def prepare(self, scored: ScoredRollouts, policy: DiffusionLM, score: ScoreFunction, draws: Tensor) -> Prepared:
        """One update per inner update's masks, with the old ELBOs under them; draws: bool (B, U, M, C).

        Raises UserError for groups of one.
        """
        if scored.group_size < 2:
            raise UserError("train.group_size=1: ESPO compares with the other completions of a prompt; set 2 or more.")
        reward_B = scored.shard.gather(scored.rewards.total_B)
        advantage_B = scored.shard.mine(advantages(reward_B, scored.group_size, self.config))
        parts = [self._part(scored, policy, is_masked_BMC, advantage_B) for is_masked_BMC in draws.unbind(1)]
        return Prepared(updates=[UpdateBatch(parts=[part]) for part in parts], advantages=advantage_B)

    def loss(self, policy: DiffusionLM, part: Bound) -> Loss:
        """The clipped objective and KL of every completion."""
        new_B = row_elbo(new_logprob(policy, part), part.weight_BDC)
        kl_B = torch.zeros_like(new_B)
        if self.config.beta:
            kl_B = k2(new_B, row_elbo(reference_logprob(policy, part), part.weight_BDC))
        loss, clipped = sequence_loss(new_B, kl_B, part, self.config)
        return loss, clipped.values(torch.ones_like(new_B, dtype=torch.bool), kl=kl_B)

    @classmethod
    def estimators(cls, setting: Setting) -> list[Estimator]:
        """The first inner update, with one draw and two, alone or coupled."""
        variants = itertools.product((False, True), (1, 2))
        return [cls._estimator(setting, coupled, size) for coupled, size in variants]

    @classmethod
    def _estimator(cls, setting: Setting, coupled: bool, size: int) -> Estimator:
        itself = cls(config=EspoConfig(inner_updates=1, mc_samples=size, coupled=coupled, beta=0.0))
        return Estimator(
            method=itself,
            options="coupled" if coupled else "single",
            baseline="leave one out",
            size=size,
            scale=setting.num_steps,
            outcomes=every_mask,
            sampled=itself.draw,
        )

    def _part(self, scored: ScoredRollouts, policy: DiffusionLM, is_masked_BMC: Tensor, advantage_B: Tensor) -> Bound:
        """One inner update, with the old ELBOs under its masks."""
        rollout = scored.rollout
        is_masked_BDC = elbo.coupled_inputs(is_masked_BMC) if self.config.coupled else is_masked_BMC
        weight_BDC = (elbo.elbo_weights(is_masked_BDC) / is_masked_BDC.shape[1]).to(rollout.logprob_BC.dtype)
        tokens_BDL = masked_inputs(rollout, is_masked_BDC)
        old_BDC, mask_BL = old_logprob(policy, rollout, tokens_BDL)
        old_elbo_B = row_elbo(old_BDC, weight_BDC)
        return Bound(
            tokens_BDL=tokens_BDL,
            mask_BL=mask_BL,
            target_BC=rollout.completion_ids_BC,
            weight_BDC=weight_BDC,
            old_elbo_B=old_elbo_B,
            advantage_B=advantage_B.to(old_elbo_B.dtype),
            normaliser=scored.global_rows,
        )


def draw_masks(scored: ScoredRollouts, update: int, draw: int, generator: torch.Generator) -> Tensor:
    """One mask per row (B, C): counts evenly spaced over each micro-batch from a random start, places at random."""
    length, rows = scored.rollout.completion_length, scored.global_rows
    start_X = torch.randint(0, length + 1, (len(scored.micro_batches),), generator=generator)
    spaced = zip(scored.micro_batches, start_X.tolist(), strict=True)
    count_B = torch.cat([elbo.evenly_spaced_counts(size, length, start) for size, start in spaced])
    seed_B = row_seeds(rows, generator)
    uniform_BC = uniforms(seed_B, update, torch.arange(length).expand(rows, -1), ORDER_DRAW)
    return scored.shard.mine(elbo.masks_of_counts(count_B, uniform_BC))


def advantages(reward_B: Tensor, group_size: int, config: EspoConfig) -> Tensor:
    """Reward minus the mean of the other completions of the prompt (B,)."""
    advantage_B = reward_B - leave_one_out_mean(reward_B, group_size)
    return advantage_B / (group_std(reward_B, group_size) + STD_FLOOR) if config.scale_rewards else advantage_B


def row_elbo(logprob_BDC: Tensor, weight_BDC: Tensor) -> Tensor:
    """ELBO (B,), nats: weighted log-probabilities summed over the tokens and inputs of a row."""
    return (logprob_BDC * weight_BDC).sum((1, 2))


def sequence_loss(new_B: Tensor, kl_B: Tensor, part: Bound, config: EspoConfig) -> tuple[Tensor, ClippedObjective]:
    """-min(rho A, clip(rho) A) + beta KL / C with rho = exp((ELBO_new - ELBO_old) / C); mean over the global batch."""
    length = part.target_BC.shape[1]
    clipped = clipped_objective(
        new_B / length,
        part.old_elbo_B / length,
        part.advantage_B,
        clip_low=config.clip_low,
        clip_high=config.clip_high,
    )
    return (config.beta * kl_B / length - clipped.objective).sum() / part.normaliser, clipped


def every_mask(scored: ScoredRollouts, policy: DiffusionLM) -> list[Outcome]:
    """All masks of a row as if they were its draws. Every count is equally likely, and so are the masks of a count:
    each mask stands as often as its share of the least common multiple of the binomial coefficients asks for."""
    rows, length = scored.rollout.completion_ids_BC.shape
    masks = list(itertools.product((False, True), repeat=length))
    multiple = math.lcm(*(math.comb(length, count) for count in range(length + 1)))
    repeated = [mask for mask in masks for _ in range(multiple // math.comb(length, sum(mask)))]
    return [Outcome(draws=torch.tensor(repeated)[None].expand(rows, -1, -1, -1))]
