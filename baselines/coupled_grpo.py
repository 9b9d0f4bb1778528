"""coupled-GRPO of DiffuCoder: every token scored in two inputs, of which one belongs to a pair of complementary masks
(arXiv 2506.20639).

This is d1 with: three inputs per update, the completion wholly masked, masked at a random rate, and masked exactly
where that one is not; a token's score is the mean of the first and of the one of the pair that masks it, divided by how
likely that was; a whole prompt; a baseline that leaves the completion itself out. The rate is one number per update. A
score is not a log-probability: at rate 0.2 the second of its halves counts five times.

Axes: B rows, prompt-major in groups of G; C completion, L the sequence; U inner updates; D = 3 inputs.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import ClassVar

import torch
from torch import Tensor

from harness.config.decoding import Decoding
from harness.errors import UserError, require_positive
from harness.models.diffusion_lm import DiffusionLM
from harness.randomness import row_seeds, uniforms
from harness.registry import method
from harness.rl.advantages import against_others, group_std
from harness.rl.estimator import Estimator, Outcome, Setting
from harness.rl.masked import masked_inputs, new_logprob, old_logprob, reference_logprob
from harness.rl.method import Loss, Method, Prepared, ScoreFunction, UpdateBatch
from harness.rl.outcomes import masks_at_two_rates
from harness.rl.sequence_level import require_others
from harness.rl.token_level import MaskedTokens, token_loss, token_terms
from harness.rollout import ScoredRollouts

MASK_DRAW = 0
STD_FLOOR = 1e-4


@dataclass(frozen=True, kw_only=True)
class CoupledGrpoConfig:
    """Options of coupled-GRPO; the defaults are the published values.

    inner_updates: mu, optimiser updates per rollout, each with a rate and masks of its own. min_rate, max_rate: between
    which the rate is uniform. clip: the ratio stays within 1 - clip and 1 + clip. beta: weight of the KL term, 0 for
    none. scale_rewards: divide advantages by the group's standard deviation. repeat_masks: the accumulated batches
    (conventions.accumulated_batches) have the same masks, row by row, as in the published code.
    """

    inner_updates: int = 2
    min_rate: float = 0.2
    max_rate: float = 0.8
    clip: float = 0.5
    beta: float = 0.01
    scale_rewards: bool = False
    repeat_masks: bool = False


@dataclass(frozen=True, kw_only=True)
class Draws:
    """rate_BU: float64, in the product one of all rows. is_masked_BUC: the masks at that rate."""

    rate_BU: Tensor
    is_masked_BUC: Tensor


@dataclass(frozen=True, kw_only=True)
class Coupled(MaskedTokens):
    """One inner update. weight_BDC: what an input's log-probability counts in the score of a token."""

    weight_BDC: Tensor


@method("coupled-grpo", title="coupled-GRPO", colour="#AA4499", ablations=("inner_updates", "scale_rewards"))
@dataclass(frozen=True, kw_only=True)
class CoupledGrpo(Method):
    """coupled-GRPO."""

    Config: ClassVar[type] = CoupledGrpoConfig
    takes_cached: ClassVar[bool] = True
    takes_adaptive: ClassVar[bool] = True
    takes_blocks: ClassVar[bool] = True
    compares: ClassVar[bool] = True
    config: CoupledGrpoConfig = field(default_factory=CoupledGrpoConfig)

    def check(self, decoding: Decoding) -> None:
        """Raises UserError for a number of updates below 1 and for rates that leave a token no chance."""
        config = self.config
        require_positive("method", inner_updates=config.inner_updates)
        if not 0 < config.min_rate <= config.max_rate < 1:
            raise UserError(
                f"method.min_rate={config.min_rate} and method.max_rate={config.max_rate} must rise and lie between 0 "
                "and 1, both excluded, as tokens are divided by how likely it was to mask them; 0.2 and 0.8 are usual."
            )

    def draw(self, scored: ScoredRollouts, policy: DiffusionLM, generator: torch.Generator) -> Draws:
        """A rate for each inner update, and a mask of every completion at that rate."""
        config, rollout, shard = self.config, scored.rollout, scored.shard
        uniform_U = torch.rand(config.inner_updates, generator=generator, dtype=torch.float64)
        rate_U = config.min_rate + (config.max_rate - config.min_rate) * uniform_U
        seed_B = shard.mine(self._seeds(scored, generator))
        place_BC = torch.arange(rollout.completion_length).expand(rollout.num_rows, -1)
        masks = [uniforms(seed_B, u, place_BC, MASK_DRAW) < rate for u, rate in enumerate(rate_U.tolist())]
        rate_BU = rate_U.expand(rollout.num_rows, -1)
        return Draws(rate_BU=rate_BU.to(policy.device), is_masked_BUC=torch.stack(masks, 1).to(policy.device))

    def prepare(self, scored: ScoredRollouts, policy: DiffusionLM, score: ScoreFunction, draws: Draws) -> Prepared:
        """One update per rate and mask, with the old scores under them.

        Raises UserError for groups of one.
        """
        require_others(scored, "coupled-GRPO")
        reward_B = scored.shard.gather(scored.rewards.total_B)
        advantage_B = scored.shard.mine(advantages(reward_B, scored.group_size, self.config))
        columns = zip(draws.rate_BU.unbind(1), draws.is_masked_BUC.unbind(1), strict=True)
        parts = [self._part(scored, policy, rate_B, mask_BC, advantage_B) for rate_B, mask_BC in columns]
        return Prepared(updates=[UpdateBatch(parts=[part]) for part in parts], advantages=advantage_B)

    def loss(self, policy: DiffusionLM, part: Coupled) -> Loss:
        """The clipped objective and KL of every token's score."""
        config = self.config
        new_BC = token_scores(new_logprob(policy, part), part.weight_BDC)

        def reference() -> Tensor:
            return token_scores(reference_logprob(policy, part), part.weight_BDC)

        return token_loss(new_BC, reference, part, clip_low=config.clip, clip_high=config.clip, beta=config.beta)

    @classmethod
    def estimators(cls, setting: Setting) -> list[Estimator]:
        """The first inner update. Scores are no log-probabilities, so the scale is fitted."""
        one_update = cls(config=CoupledGrpoConfig(inner_updates=1, beta=0.0))
        return [
            Estimator(
                method=one_update,
                options="coupled",
                baseline="leave one out",
                outcomes=every_mask,
                sampled=one_update.group_draws,
                ends_early=True,
            )
        ]

    def group_draws(self, scored: ScoredRollouts, policy: DiffusionLM, generator: torch.Generator) -> Draws:
        """Draws of one inner update for every group apart, as if it were a batch of its own."""
        config, rows, group_size = self.config, scored.rollout.num_rows, scored.group_size
        uniform_B = torch.rand(rows // group_size, generator=generator, dtype=torch.float64)
        rate_B1 = (config.min_rate + (config.max_rate - config.min_rate) * uniform_B).repeat_interleave(group_size)[
            :, None
        ]
        length = scored.rollout.completion_length
        uniform_BC = torch.rand(rows, length, generator=generator, dtype=torch.float64)
        return Draws(rate_BU=rate_B1, is_masked_BUC=(uniform_BC < rate_B1)[:, None])

    def _seeds(self, scored: ScoredRollouts, generator: torch.Generator) -> Tensor:
        """One seed for each row of the global batch; with repeat_masks those of the first accumulated batch for all."""
        seed_B = row_seeds(scored.global_rows, generator)
        if not self.config.repeat_masks:
            return seed_B
        size, passes = scored.micro_batches[0], scored.accumulated_batches
        return seed_B.unflatten(0, (-1, passes, size))[:, :1].expand(-1, passes, -1).flatten()

    def _part(
        self, scored: ScoredRollouts, policy: DiffusionLM, rate_B: Tensor, is_masked_BC: Tensor, advantage_B: Tensor
    ) -> Coupled:
        """One inner update, with the old scores under its masks."""
        rollout = scored.rollout
        is_masked_BDC = torch.stack([torch.ones_like(is_masked_BC), is_masked_BC, ~is_masked_BC], 1)
        tokens_BDL = masked_inputs(rollout, is_masked_BDC)
        old_BDC, mask_BL = old_logprob(policy, rollout, tokens_BDL)
        weight_BDC = score_weights(is_masked_BC, rate_B).to(old_BDC.dtype)
        return Coupled(
            tokens_BDL=tokens_BDL,
            mask_BL=mask_BL,
            target_BC=rollout.completion_ids_BC,
            weight_BDC=weight_BDC,
            **token_terms(scored, policy, token_scores(old_BDC, weight_BDC), advantage_B),
        )


def advantages(reward_B: Tensor, group_size: int, config: CoupledGrpoConfig) -> Tensor:
    """Reward minus the mean of the other completions of the prompt (B,)."""
    advantage_B = against_others(reward_B, group_size)
    return advantage_B / (group_std(reward_B, group_size) + STD_FLOOR) if config.scale_rewards else advantage_B


def score_weights(is_masked_BC: Tensor, rate_B: Tensor) -> Tensor:
    """(B, D, C), float64: 1/2 for the input that is wholly masked, and for the one of the pair that masks the token
    1 / (2 rate) or, if it is the complement, 1 / (2 (1 - rate))."""
    rate_B1 = rate_B.double()[:, None]
    pair = (is_masked_BC / (2 * rate_B1), ~is_masked_BC / (2 * (1 - rate_B1)))
    return torch.stack([torch.full_like(pair[0], 0.5), *pair], 1)


def token_scores(logprob_BDC: Tensor, weight_BDC: Tensor) -> Tensor:
    """Scores (B, C): weighted log-probabilities, nats, summed over a token's inputs."""
    return (logprob_BDC * weight_BDC).sum(1)


def every_mask(scored: ScoredRollouts, policy: DiffusionLM) -> list[Outcome]:
    """All masks at two rates. A token's weight cancels the probability of what masks it: what is left is of degree
    C - 1 in the rate, which two rates integrate exactly up to C = 4."""
    config, (rows, length) = CoupledGrpoConfig(), scored.rollout.completion_ids_BC.shape
    outcomes = []
    for rate, mask_C, probability in masks_at_two_rates(length, config.min_rate, config.max_rate):
        rate_BU = torch.full((rows, 1), rate, dtype=torch.float64)
        draws = Draws(rate_BU=rate_BU, is_masked_BUC=mask_C.expand(rows, 1, -1))
        outcomes.append(Outcome(draws=draws, probability=probability))
    return outcomes
