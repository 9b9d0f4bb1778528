"""d2-StepMerge: the likelihood of the trajectory, its steps merged into a few segments (arXiv 2509.21474).

This is d1 with: N inputs in place of one. The unmasking steps are cut into N segments, and what a segment has revealed
is scored in the state before it, all at once; N = 1 is d1's input, and with a segment for every step the score is the
exact likelihood of the trajectory. As in d1 the prompt is masked in part, differently in each of the mu inner updates,
and every token is a term of its own.

Axes: B rows, prompt-major in groups of G; P prompt, C completion; T steps; U inner updates; K segments; N states, one
for each segment of a row that has counted tokens.
"""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass, field
from typing import ClassVar

import torch
from torch import Tensor

from harness.config.decoding import Decoding
from harness.errors import UserError, require_positive, require_shares
from harness.models.diffusion_lm import DiffusionLM
from harness.randomness import row_seeds
from harness.registry import method
from harness.rl.advantages import centred_rewards
from harness.rl.estimator import Estimator, Setting
from harness.rl.masked import prompt_mask, row_weights, token_counts, until_first_end
from harness.rl.method import ChosenSteps, Loss, Method, Prepared, ScoreFunction, UpdateBatch
from harness.rl.states import (
    States,
    as_many_everywhere,
    make_states,
    reference_logprob,
    sequences_of,
    state_logprob,
    with_old_logprob,
)
from harness.rl.token_level import token_loss
from harness.rollout import ScoredRollouts


@dataclass(frozen=True, kw_only=True)
class D2StepMergeConfig:
    """Options of d2-StepMerge; the defaults are the published values for Sudoku and Countdown.

    segments: N, runs that the steps of a rollout are cut into, at most these steps. inner_updates: mu, optimiser
    updates per rollout, each with its own prompt mask, which all segments share. p_mask_prompt: probability that a
    prompt token is masked. clip: the ratio stays within 1 - clip and 1 + clip. beta: weight of the KL term, 0 for none.
    """

    segments: int = 16
    inner_updates: int = 8
    p_mask_prompt: float = 0.15
    clip: float = 0.5
    beta: float = 0.04


@method("d2-stepmerge", title="d2-StepMerge", colour="#DDCC77", ablations=("segments", "inner_updates"))
@dataclass(frozen=True, kw_only=True)
class D2StepMerge(Method):
    """d2-StepMerge."""

    Config: ClassVar[type] = D2StepMergeConfig
    takes_cached: ClassVar[bool] = True
    takes_blocks: ClassVar[bool] = False  # tokens of the prompt are masked, which such a model has never seen
    compares: ClassVar[bool] = True
    config: D2StepMergeConfig = field(default_factory=D2StepMergeConfig)

    def check(self, decoding: Decoding) -> None:
        """Raises UserError for numbers below 1, a probability outside 0..1, and more segments than steps."""
        config = self.config
        require_positive("method", segments=config.segments, inner_updates=config.inner_updates)
        require_shares("method", p_mask_prompt=config.p_mask_prompt)
        if config.segments > decoding.num_steps:
            raise UserError(
                f"method.segments={config.segments} is more than rollout.num_steps={decoding.num_steps}, and a segment "
                f"is a step at least; set it to {decoding.num_steps} or less."
            )

    def draw(self, scored: ScoredRollouts, policy: DiffusionLM, generator: torch.Generator) -> Tensor:
        """The prompt tokens masked in each inner update, bool (B, U, P)."""
        seed_B = scored.shard.mine(row_seeds(scored.global_rows, generator))
        updates, probability = range(self.config.inner_updates), self.config.p_mask_prompt
        return torch.stack([prompt_mask(scored.rollout, seed_B, update, probability) for update in updates], 1)

    def prepare(self, scored: ScoredRollouts, policy: DiffusionLM, score: ScoreFunction, draws: Tensor) -> Prepared:
        """One update per prompt mask, from all segments of all rows; draws: bool (B, U, P)."""
        rollout, advantage_B = scored.rollout, centred_rewards(scored)
        counted_BC = until_first_end(policy.is_end(rollout.completion_ids_BC))
        cut_K = cuts(rollout.num_steps, self.config.segments)
        is_masked_BKC, is_target_BKC = segment_states(rollout.unmask_step_BC, counted_BC, cut_K, rollout.num_steps)
        row_N, segment_N = is_target_BKC.any(2).nonzero(as_tuple=True)
        count_X = token_counts(counted_BC, scored)
        states = make_states(
            sequences_of(rollout),
            row_N,
            is_masked_BKC[row_N, segment_N],
            is_target_BKC[row_N, segment_N],
            advantage_B,
            normaliser=float(count_X.sum()),
        )
        states = dataclasses.replace(states, weight_N=row_weights(count_X, scored)[row_N])
        states = as_many_everywhere(states, scored)
        parts = [
            with_old_logprob(policy, dataclasses.replace(states, sequences=sequences_of(rollout, is_masked_BP)))
            for is_masked_BP in draws.unbind(1)
        ]
        return Prepared(
            updates=[UpdateBatch(parts=[part]) for part in parts],
            advantages=advantage_B,
            chosen=ChosenSteps(step_BK=torch.where(is_target_BKC.any(2), cut_K.to(row_N.device), -1)),
        )

    def loss(self, policy: DiffusionLM, part: States) -> Loss:
        """The clipped objective and KL of every token, each in its own segment's input."""
        config = self.config
        return token_loss(
            state_logprob(policy, part),
            lambda: reference_logprob(policy, part),
            part,
            clip_low=config.clip,
            clip_high=config.clip,
            beta=config.beta,
        )

    @classmethod
    def estimators(cls, setting: Setting) -> list[Estimator]:
        """The first inner update with 1, 2, .. T segments; nothing depends on the enumerable task's prompt."""
        one_update = D2StepMergeConfig(inner_updates=1, p_mask_prompt=0.0, beta=0.0)
        return [
            Estimator(
                method=cls(config=dataclasses.replace(one_update, segments=size)),
                options="segments",
                baseline="group mean",
                size=size,
                scale=setting.num_steps * setting.with_itself,
                ends_early=size == setting.num_steps,
            )
            for size in range(1, setting.num_steps + 1)
        ]


def cuts(num_steps: int, segments: int) -> Tensor:
    """The first step of each segment (K,): int(k T / N)."""
    return torch.arange(segments) * num_steps // segments


def segment_states(unmask_step_BC: Tensor, counted_BC: Tensor, cut_K: Tensor, num_steps: int) -> tuple[Tensor, Tensor]:
    """What is masked before each segment, and the counted tokens that it reveals, bool (B, K, C) both. Filler, which no
    step has revealed, is no segment's."""
    step_B1C = unmask_step_BC[:, None].long()
    first_K1, end_K1 = (
        cut_K[:, None].to(step_B1C),
        torch.cat([cut_K[1:], torch.tensor([num_steps])])[:, None].to(step_B1C),
    )
    is_masked_BKC = step_B1C >= first_K1
    return is_masked_BKC, is_masked_BKC & (step_B1C < end_K1) & counted_BC[:, None]
