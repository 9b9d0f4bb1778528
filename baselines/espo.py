"""ESPO: the whole completion as one action, its log-likelihood replaced by a Monte-Carlo ELBO (arXiv 2512.03759).

This is EGSPO with: one ratio per completion instead of one per step; an ELBO from randomly masked completions instead
of the states that it went through; a baseline that leaves the completion itself out. The same masks serve the new, the
old and the reference policy; each of the mu inner updates draws its own.

Axes: B rows, prompt-major in groups of G; P prompt, C completion, L = P + C; U inner updates; M draws per row; D inputs
per row: M, or 2 M with each mask's complement; V vocabulary.
"""

from __future__ import annotations

import functools
import itertools
from dataclasses import dataclass, field
from typing import ClassVar

import torch
from torch import Tensor

from harness.config.decoding import Decoding
from harness.diffusion import elbo
from harness.errors import require_positive
from harness.models.diffusion_lm import DiffusionLM
from harness.registry import method
from harness.rl.advantages import group_std, leave_one_out_mean
from harness.rl.estimator import Estimator, Setting
from harness.rl.masked import masked_inputs
from harness.rl.method import Loss, Method, Prepared, ScoreFunction, UpdateBatch
from harness.rl.outcomes import every_mask
from harness.rl.policy_loss import ClippedObjective, k2
from harness.rl.sequence_level import (
    ScoredInputs,
    clipped_ratio,
    new_score,
    reference_score,
    require_others,
    scored_inputs,
    spread_masks_of_updates,
)
from harness.rollout import ScoredRollouts

STD_FLOOR = 1e-4


@dataclass(frozen=True, kw_only=True)
class EspoConfig:
    """Options of ESPO; the published values stand in the `paper` recipes.

    inner_updates: mu, optimiser updates per rollout. mc_samples: M, masks per row. coupled: a second input masks each
    mask's complement (the official code always does it). clip_low, clip_high: the ratio stays within 1 - clip_low and 1
    + clip_high. beta: weight of the KL term, 0 for none. scale_rewards: divide advantages by the group's standard
    deviation.
    """

    inner_updates: int = 8
    mc_samples: int = 2
    coupled: bool = True
    clip_low: float = 0.2
    clip_high: float = 0.2
    beta: float = 0.01
    scale_rewards: bool = False


@method("espo", title="ESPO", colour="#E69F00", ablations=("coupled", "mc_samples"))
@dataclass(frozen=True, kw_only=True)
class Espo(Method):
    """ESPO."""

    Config: ClassVar[type] = EspoConfig
    takes_cached: ClassVar[bool] = True
    takes_adaptive: ClassVar[bool] = True
    takes_blocks: ClassVar[bool] = True
    compares: ClassVar[bool] = True
    config: EspoConfig = field(default_factory=EspoConfig)

    def check(self, decoding: Decoding) -> None:
        """Raises UserError for numbers of updates or draws below 1."""
        require_positive("method", inner_updates=self.config.inner_updates, mc_samples=self.config.mc_samples)

    def draw(self, scored: ScoredRollouts, policy: DiffusionLM, generator: torch.Generator) -> Tensor:
        """M masks of the completion per inner update, bool (B, U, M, C), spread over each micro-batch."""
        config = self.config
        return spread_masks_of_updates(scored, config.inner_updates, config.mc_samples, generator).to(policy.device)

    def prepare(self, scored: ScoredRollouts, policy: DiffusionLM, score: ScoreFunction, draws: Tensor) -> Prepared:
        """One update per inner update's masks, with the old ELBOs under them; draws: bool (B, U, M, C).

        Raises UserError for groups of one.
        """
        require_others(scored, "ESPO")
        reward_B = scored.shard.gather(scored.rewards.total_B)
        advantage_B = scored.shard.mine(advantages(reward_B, scored.group_size, self.config))
        parts = [self._part(scored, policy, is_masked_BMC, advantage_B) for is_masked_BMC in draws.unbind(1)]
        return Prepared(updates=[UpdateBatch(parts=[part]) for part in parts], advantages=advantage_B)

    def loss(self, policy: DiffusionLM, part: ScoredInputs) -> Loss:
        """The clipped objective and KL of every completion."""
        new_B1 = new_score(policy, part)
        kl_B1 = k2(new_B1, reference_score(policy, part)) if self.config.beta else torch.zeros_like(new_B1)
        loss, clipped = sequence_loss(new_B1, kl_B1, part, self.config)
        return loss, clipped.values(torch.ones_like(new_B1, dtype=torch.bool), kl=kl_B1)

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
            outcomes=functools.partial(every_mask, 1),
            sampled=itself.draw,
            ends_early=coupled and size == 2,
        )

    def _part(
        self, scored: ScoredRollouts, policy: DiffusionLM, is_masked_BMC: Tensor, advantage_B: Tensor
    ) -> ScoredInputs:
        """One inner update, with the old ELBOs under its masks."""
        is_masked_BDC = elbo.coupled_inputs(is_masked_BMC) if self.config.coupled else is_masked_BMC
        weight_BDC = elbo.elbo_weights(is_masked_BDC) / is_masked_BDC.shape[1]
        tokens_BDL = masked_inputs(scored.rollout, is_masked_BDC)
        return scored_inputs(scored, policy, tokens_BDL, weight_BDC, advantage_B)


def advantages(reward_B: Tensor, group_size: int, config: EspoConfig) -> Tensor:
    """Reward minus the mean of the other completions of the prompt (B,), exactly 0 where a group's are all equal."""
    advantage_B = reward_B - leave_one_out_mean(reward_B, group_size)
    return advantage_B / (group_std(reward_B, group_size) + STD_FLOOR) if config.scale_rewards else advantage_B


def sequence_loss(
    new_B1: Tensor, kl_B1: Tensor, part: ScoredInputs, config: EspoConfig
) -> tuple[Tensor, ClippedObjective]:
    """-min(rho A, clip(rho) A) + beta KL / C with rho = exp((ELBO_new - ELBO_old) / C); mean over the global batch."""
    clipped = clipped_ratio(new_B1, part, clip_low=config.clip_low, clip_high=config.clip_high)
    return (config.beta * kl_B1 / part.length_B[:, None] - clipped.objective).sum() / part.normaliser, clipped
