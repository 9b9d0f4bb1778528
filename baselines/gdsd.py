"""GDSD: RL as a regression of the change in a completion's score on its advantage (arXiv 2605.29398), and GDSD-TLC.

This is ESPO with: a squared error in place of the clipped ratio, whose target is psi times the advantage; a score per
draw instead of their mean; a clamp on the score's change instead of a clip of the ratio. The score is the plain sum of
log-probabilities or, as in GDSD-TLC, ESPO's coupled ELBO. The "token-level logit centring" of that name subtracts a
detached constant from all logits of a position: a softmax does not see it, and it is left out.

Axes: B rows, prompt-major in groups of G; C completion; U inner updates; M draws per row; D = 2 M inputs per row: every
mask and its complement.
"""

from __future__ import annotations

import functools
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
from harness.registry import method
from harness.rl.advantages import against_others, group_std
from harness.rl.estimator import Estimator, Setting
from harness.rl.masked import masked_inputs
from harness.rl.method import Loss, Method, Prepared, ScoreFunction, UpdateBatch
from harness.rl.outcomes import every_mask
from harness.rl.policy_loss import k2
from harness.rl.sequence_level import (
    ScoredInputs,
    new_score,
    old_score,
    reference_score,
    require_others,
    scored_inputs,
    spread_masks_of_updates,
)
from harness.rollout import ScoredRollouts

STD_FLOOR = 1e-4


@dataclass(frozen=True, kw_only=True)
class GdsdConfig:
    """Options of GDSD; the published values stand in the `paper` recipes.

    inner_updates: mu, optimiser updates per rollout; with one the old policy is the current one. mc_samples: M, masks
    per row. tlc: the score is ESPO's coupled ELBO, as in GDSD-TLC. psi: weight of the advantage in the target. epsilon:
    the change of a score stays within log(1 - epsilon) and log(1 + epsilon), beyond which it has no gradient.
    clamp_per_token: the change per token stays within them instead of that of the whole completion. beta: weight of the
    KL term, 0 for none. scale_rewards: divide advantages by the group's standard deviation.
    """

    inner_updates: int = 8
    mc_samples: int = 1
    tlc: bool = False
    psi: float = 1.0
    epsilon: float = 4e-4
    clamp_per_token: bool = False
    beta: float = 0.001
    scale_rewards: bool = False


@method("gdsd", title="GDSD", colour="#88CCEE", ablations=("tlc", "epsilon", "clamp_per_token"))
@dataclass(frozen=True, kw_only=True)
class Gdsd(Method):
    """GDSD and GDSD-TLC."""

    Config: ClassVar[type] = GdsdConfig
    takes_cached: ClassVar[bool] = True
    takes_adaptive: ClassVar[bool] = True
    takes_blocks: ClassVar[bool] = True
    compares: ClassVar[bool] = True
    config: GdsdConfig = field(default_factory=GdsdConfig)

    def check(self, decoding: Decoding) -> None:
        """Raises UserError for numbers of updates or draws below 1, and for an epsilon that leaves no logarithm."""
        config = self.config
        require_positive("method", inner_updates=config.inner_updates, mc_samples=config.mc_samples, psi=config.psi)
        if not 0 <= config.epsilon < 1:
            raise UserError(f"method.epsilon={config.epsilon} must be at least 0 and below 1: log(1 - epsilon) bounds.")

    def draw(self, scored: ScoredRollouts, policy: DiffusionLM, generator: torch.Generator) -> Tensor:
        """M masks of the completion per inner update, bool (B, U, M, C), spread over each micro-batch as ESPO's."""
        config = self.config
        return spread_masks_of_updates(scored, config.inner_updates, config.mc_samples, generator).to(policy.device)

    def prepare(self, scored: ScoredRollouts, policy: DiffusionLM, score: ScoreFunction, draws: Tensor) -> Prepared:
        """One update per inner update's masks, with the old scores under them; draws: bool (B, U, M, C).

        Raises UserError for groups of one.
        """
        require_others(scored, "GDSD")
        reward_B = scored.shard.gather(scored.rewards.total_B)
        advantage_B = scored.shard.mine(advantages(reward_B, scored.group_size, self.config))
        parts = [self._part(scored, policy, is_masked_BMC, advantage_B) for is_masked_BMC in draws.unbind(1)]
        return Prepared(updates=[UpdateBatch(parts=[part]) for part in parts], advantages=advantage_B)

    def loss(self, policy: DiffusionLM, part: ScoredInputs) -> Loss:
        """The squared error and KL of every draw; for the log the ratio per token, and where the clamp was active."""
        new_BM = new_score(policy, part)
        kl_BM = k2(new_BM, reference_score(policy, part)) if self.config.beta else torch.zeros_like(new_BM)
        moved_BM = (new_BM - old_score(new_BM, part)).detach()
        low, high = bounds(part, self.config)
        values = {
            "ratio": (moved_BM / part.length_B[:, None]).exp(),
            "kl": kl_BM.detach(),
            "clip_low": moved_BM < low,
            "clip_high": moved_BM > high,
        }
        loss = distillation_loss(new_BM, kl_BM, part, self.config)
        return loss, {name: value.flatten() for name, value in values.items()}

    @classmethod
    def estimators(cls, setting: Setting) -> list[Estimator]:
        """An only update, with one draw and two of either score. The squared error's gradient at no change is -2 psi
        times the advantage and the score's, over the length and summed over draws."""
        variants = itertools.product((False, True), (1, 2))
        return [cls._estimator(setting, tlc, size) for tlc, size in variants]

    @classmethod
    def _estimator(cls, setting: Setting, tlc: bool, size: int) -> Estimator:
        itself = cls(config=GdsdConfig(inner_updates=1, mc_samples=size, tlc=tlc, beta=0.0))
        return Estimator(
            method=itself,
            options="elbo" if tlc else "sum",
            baseline="leave one out",
            size=size,
            scale=setting.num_steps / (2 * size) if tlc else None,
            outcomes=functools.partial(every_mask, size),
            sampled=itself.draw,
            ends_early=tlc and size == 2,
        )

    def _part(
        self, scored: ScoredRollouts, policy: DiffusionLM, is_masked_BMC: Tensor, advantage_B: Tensor
    ) -> ScoredInputs:
        """One inner update, with the old scores under its masks."""
        is_masked_BDC = elbo.coupled_inputs(is_masked_BMC)
        return scored_inputs(
            scored,
            policy,
            masked_inputs(scored.rollout, is_masked_BDC),
            (elbo.elbo_weights(is_masked_BDC) if self.config.tlc else is_masked_BDC.double()) / 2,
            advantage_B,
            scores=is_masked_BMC.shape[1],
            only_update=self.config.inner_updates == 1,
        )


def advantages(reward_B: Tensor, group_size: int, config: GdsdConfig) -> Tensor:
    """Reward minus the mean of the other completions of the prompt (B,)."""
    advantage_B = against_others(reward_B, group_size)
    return advantage_B / (group_std(reward_B, group_size) + STD_FLOOR) if config.scale_rewards else advantage_B


def bounds(part: ScoredInputs, config: GdsdConfig) -> tuple[Tensor, Tensor]:
    """The least and the largest change of a score that has a gradient (B, 1)."""
    length_B1 = part.length_B[:, None] if config.clamp_per_token else torch.ones_like(part.length_B)[:, None]
    return length_B1 * math.log1p(-config.epsilon), length_B1 * math.log1p(config.epsilon)


def distillation_loss(new_BM: Tensor, kl_BM: Tensor, part: ScoredInputs, config: GdsdConfig) -> Tensor:
    """(clamped change / C - psi A)^2 summed over draws, and beta KL / C averaged over them; mean over the global
    batch."""
    moved_BM = (new_BM - old_score(new_BM, part)).clamp(*bounds(part, config))
    length_B1, target_B1 = part.length_B[:, None], config.psi * part.advantage_B[:, None]
    error_BM = (moved_BM / length_B1 - target_B1).square()
    return (error_BM + config.beta * kl_BM / (length_B1 * part.scores)).sum() / part.normaliser
