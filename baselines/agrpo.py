"""AGRPO: the policy gradient over all unmasking steps, estimated from a few steps drawn at random (arXiv 2510.04019).

This is EGSPO with: steps drawn with known probabilities instead of chosen by rank, and weighted so that the mean over
the draws is unbiased; every token a term of its own; and probabilities of the tempered, truncated distribution that was
sampled. By default all M draws are accumulated into one update, as the paper has it; the published code steps after
every draw of its last accumulated batch (`stepping`).

Axes: B rows, prompt-major in groups of G; P prompt, C completion, L = P + C; T steps; M draws per row; n positions
revealed by one step; V vocabulary; k tokens of a support.
"""

from __future__ import annotations

import itertools
from dataclasses import dataclass, field
from typing import ClassVar

import torch
from torch import Tensor

from harness.config.decoding import Decoding
from harness.diffusion.exact_record import exact_at
from harness.diffusion.logprob import behaviour_logprob
from harness.errors import UserError, require_choices, require_positive
from harness.models.diffusion_lm import DiffusionLM
from harness.models.flops import ModelShape
from harness.registry import method
from harness.rl.advantages import centred_rewards
from harness.rl.estimator import Estimator, Setting
from harness.rl.method import ChosenSteps, Loss, LossPart, Method, Prepared, ScoreFunction, UpdateBatch
from harness.rl.outcomes import every_uniform, every_weighed_step
from harness.rl.passes import per_draw
from harness.rl.policy_loss import ClippedObjective, clipped_objective, k3
from harness.rl.step_selection import IMPORTANCES, UNIFORMS, draw_steps
from harness.rollout import Rollout, RolloutNeeds, ScoredRollouts

CHOICES = {
    "importance": IMPORTANCES,
    "draws": tuple(UNIFORMS),
    "divisor": ("group", "batch"),
    "stepping": ("accumulate", "per-draw"),
}


@dataclass(frozen=True, kw_only=True)
class AgrpoConfig:
    """Options of AGRPO; the published values stand in the `paper` recipes.

    mc_samples: M, drawn steps per row. importance: steps uniform, or in proportion to their entropy and weighted by the
    inverse. draws: where the uniforms behind them come from. clip_low, clip_high: the ratio stays within 1 - clip_low
    and 1 + clip_high. beta: weight of the KL term, 0 for none. divisor: the sum over tokens is divided by M and by the
    rows of one group, as the official code does, or of the global batch.

    stepping: one update from all draws; or M of them, the first from all draws of the accumulated passes but the last
    (conventions.accumulated_batches) and from the first draw of that, the others from one draw of it each, at moved
    weights and one learning rate: they are one training step. last_draw_weight: of draw M, against 1 of the others.
    loss_scale: of all. The published code has per-draw, 2 and 0.5, as trl, accelerate and DeepSpeed divide by passes.
    """

    mc_samples: int = 24
    importance: str = "entropy"
    draws: str = "low-discrepancy"
    clip_low: float = 0.2
    clip_high: float = 0.2
    beta: float = 0.0
    divisor: str = "group"
    stepping: str = "accumulate"
    last_draw_weight: float = 1.0
    loss_scale: float = 1.0


@dataclass(frozen=True, kw_only=True)
class Draw(LossPart):
    """One drawn step of every row. tokens_BL: the state before it; position_Bn: what it revealed, in the sequence.

    importance_B: (1 / number of steps) / probability of the draw. support_Bnk: None where nothing was truncated.
    """

    tokens_BL: Tensor
    mask_BL: Tensor | None
    position_Bn: Tensor
    target_Bn: Tensor
    is_revealed_Bn: Tensor
    support_Bnk: Tensor | None
    old_logprob_Bn: Tensor
    advantage_B: Tensor
    importance_B: Tensor
    temperature: float
    normaliser: float


@method("agrpo", title="AGRPO", colour="#CC79A7", ablations=("importance", "mc_samples"))
@dataclass(frozen=True, kw_only=True)
class Agrpo(Method):
    """AGRPO."""

    Config: ClassVar[type] = AgrpoConfig
    takes_cached: ClassVar[bool] = True
    takes_blocks: ClassVar[bool] = True
    compares: ClassVar[bool] = True
    config: AgrpoConfig = field(default_factory=AgrpoConfig)

    def check(self, decoding: Decoding) -> None:
        """Raises UserError for unknown options, for M below 1, and for rollouts that are greedy or guided."""
        require_choices("method", self.config, CHOICES)
        require_positive("method", mc_samples=self.config.mc_samples)
        if decoding.temperature == 0:
            raise UserError("rollout.temperature=0 is greedy, but AGRPO needs sampled completions; set it above 0.")
        decoding.require_unguided("AGRPO")

    def needs(self, shape: ModelShape, decoding: Decoding, prompt_length: int) -> RolloutNeeds:
        """The distribution that was sampled."""
        return RolloutNeeds(behaviour=True)

    @property
    def updates_per_step(self) -> int:
        """M where every draw is stepped."""
        return self.config.mc_samples if self.config.stepping == "per-draw" else 1

    def draw(self, scored: ScoredRollouts, policy: DiffusionLM, generator: torch.Generator) -> Tensor:
        """Uniforms (B, M), a step each; low-discrepancy ones are spread over each micro-batch."""
        uniforms, draws = UNIFORMS[self.config.draws], self.config.mc_samples
        uniform_BM = torch.cat([uniforms(rows, draws, generator) for rows in scored.micro_batches])
        return scored.shard.mine(uniform_BM).to(policy.device)

    def prepare(self, scored: ScoredRollouts, policy: DiffusionLM, score: ScoreFunction, draws: Tensor) -> Prepared:
        """One update from all drawn steps, or M; draws: uniforms (B, M)."""
        advantage_B = centred_rewards(scored)
        is_end_BC = policy.is_end(scored.rollout.completion_ids_BC)
        steps = draw_steps(scored.rollout, is_end_BC, draws, self.config.importance)
        normalisers = self._normalisers(scored, draws.shape[1])
        columns = zip(steps.step_BM.unbind(1), steps.importance_BM.unbind(1), normalisers, strict=True)
        rollout = exact_at(scored.rollout, policy, steps.step_BM)
        parts = [
            make_draw(rollout, step_B, importance_B, advantage_B, normaliser=normaliser)
            for step_B, importance_B, normaliser in columns
        ]
        updates = [parts] if self.config.stepping == "accumulate" else per_draw(parts, scored)
        return Prepared(
            updates=[UpdateBatch(parts=parts) for parts in updates],
            advantages=advantage_B,
            chosen=ChosenSteps(step_BK=steps.step_BM),
        )

    def loss(self, policy: DiffusionLM, part: Draw) -> Loss:
        """The weighted objective of one drawn step."""
        new_Bn = self._logprob(policy, part)
        kl_Bn = torch.zeros_like(new_Bn)
        if self.config.beta:
            with torch.no_grad(), policy.reference_policy():
                reference_Bn = self._logprob(policy, part)
            kl_Bn = k3(new_Bn, reference_Bn)
        loss, clipped = draw_loss(new_Bn, kl_Bn, part, self.config)
        return loss, clipped.values(part.is_revealed_Bn, kl=kl_Bn)

    @classmethod
    def estimators(cls, setting: Setting) -> list[Estimator]:
        """Both importances, both kinds of draws, M = 1 .. T."""
        variants = itertools.product(CHOICES["importance"], CHOICES["draws"], range(1, setting.num_steps + 1))
        return [cls._estimator(setting, importance, draws, size) for importance, draws, size in variants]

    @classmethod
    def _estimator(cls, setting: Setting, importance: str, draws: str, size: int) -> Estimator:
        itself = cls(config=AgrpoConfig(mc_samples=size, importance=importance, draws=draws, divisor="batch"))
        return Estimator(
            method=itself,
            options=f"{importance}, {draws}",
            baseline="group mean",
            size=size,
            scale=setting.num_steps * setting.with_itself,
            outcomes=every_uniform if importance == "uniform" else every_weighed_step,
            sampled=itself.draw,
            ends_early=draws == "low-discrepancy" and size == setting.num_steps,
            is_drawn=draws == "low-discrepancy",
        )

    def _normalisers(self, scored: ScoredRollouts, draws: int) -> list[float]:
        """What each draw's sum over tokens is divided by."""
        rows = scored.group_size if self.config.divisor == "group" else scored.global_rows
        weights = [1.0] * (draws - 1) + [self.config.last_draw_weight]
        return [draws * rows / (weight * self.config.loss_scale) for weight in weights]

    def _logprob(self, policy: DiffusionLM, part: Draw) -> Tensor:
        """Log-probabilities (B, n) under the temperature and the support of the rollout, nats."""
        logits_BnV = policy.logits(part.tokens_BL, part.mask_BL, part.position_Bn)
        return behaviour_logprob(logits_BnV, part.target_Bn, temperature=part.temperature, support_Bnk=part.support_Bnk)


def make_draw(
    rollout: Rollout, step_B: Tensor, importance_B: Tensor, advantage_B: Tensor, *, normaliser: float
) -> Draw:
    """Gathers what the loss needs of the states step_B."""
    revealed = rollout.revealed_positions(step_B)
    tokens_BL, mask_BL = rollout.state_at(step_B)
    old_logprob_Bn = rollout.sampled_logprob_BC.gather(1, revealed.position_Bn)
    return Draw(
        tokens_BL=tokens_BL,
        mask_BL=mask_BL,
        position_Bn=revealed.position_Bn + tokens_BL.shape[1] - rollout.completion_length,
        target_Bn=revealed.target_Bn,
        is_revealed_Bn=revealed.is_revealed_Bn,
        support_Bnk=rollout.support_at(revealed.position_Bn),
        old_logprob_Bn=old_logprob_Bn,
        advantage_B=advantage_B.to(old_logprob_Bn.dtype),
        importance_B=importance_B.to(old_logprob_Bn.dtype),
        temperature=rollout.temperature,
        normaliser=normaliser,
    )


def draw_loss(new_Bn: Tensor, kl_Bn: Tensor, part: Draw, config: AgrpoConfig) -> tuple[Tensor, ClippedObjective]:
    """-min(rho A, clip(rho) A) + beta KL rho per token, times the importance weight, over the normaliser.

    The KL estimate is weighted by the ratio, and the gradient flows through both, as in the official code.
    """
    old_Bn = torch.where(part.is_revealed_Bn, part.old_logprob_Bn, new_Bn.detach())
    advantage_B1 = part.advantage_B[:, None]
    clipped = clipped_objective(new_Bn, old_Bn, advantage_B1, clip_low=config.clip_low, clip_high=config.clip_high)
    term_Bn = (config.beta * kl_Bn * (new_Bn - old_Bn).exp() - clipped.objective) * part.importance_B[:, None]
    return torch.where(part.is_revealed_Bn, term_Bn, 0.0).sum() / part.normaliser, clipped
