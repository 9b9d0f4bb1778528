"""d1 / diffu-GRPO: group-relative policy optimisation on one-step log-probabilities (arXiv 2504.12216).

This is EGSPO with: one forward pass for all tokens of a completion, which is masked as a whole, instead of the states
that it went through; every token a term of its own. The prompt is masked in part, differently in each of the mu inner
updates, so that the same completion is seen from several sides.

Axes: B rows, prompt-major in groups of G; P prompt, C completion, L = P + C; U inner updates; D = 1 input: the prompt
in part and the completion wholly masked.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import ClassVar

import torch
from torch import Tensor

from harness.config.decoding import Decoding
from harness.errors import require_positive, require_shares
from harness.models.diffusion_lm import DiffusionLM
from harness.randomness import row_seeds
from harness.registry import method
from harness.rl.advantages import centred_rewards
from harness.rl.estimator import Estimator, Setting
from harness.rl.masked import masked_inputs, new_logprob, old_logprob, prompt_mask, reference_logprob
from harness.rl.method import Loss, Method, Prepared, ScoreFunction, UpdateBatch
from harness.rl.token_level import MaskedTokens, token_loss, token_terms
from harness.rollout import ScoredRollouts

FIXED_SEED = 42


@dataclass(frozen=True, kw_only=True)
class DiffuGrpoConfig:
    """Options of diffu-GRPO; the defaults are the published values.

    inner_updates: mu, optimiser updates per rollout, each with its own prompt mask. p_mask_prompt: probability that a
    prompt token is masked. random_masking: without it every update of the run draws the same mask. clip: the ratio
    stays within 1 - clip and 1 + clip. beta: weight of the KL term, 0 for none. guidance_scale: of classifier-free
    guidance in the log-probabilities, 0 for none.
    """

    inner_updates: int = 12
    p_mask_prompt: float = 0.15
    random_masking: bool = True
    clip: float = 0.5
    beta: float = 0.04
    guidance_scale: float = 0.0


@method("d1", "diffu-grpo", title="diffu-GRPO (d1)", colour="#009E73", ablations=("random_masking", "inner_updates"))
@dataclass(frozen=True, kw_only=True)
class DiffuGrpo(Method):
    """diffu-GRPO."""

    Config: ClassVar[type] = DiffuGrpoConfig
    takes_cached: ClassVar[bool] = True
    takes_adaptive: ClassVar[bool] = True
    takes_blocks: ClassVar[bool] = False  # tokens of the prompt are masked, which such a model has never seen
    compares: ClassVar[bool] = True
    config: DiffuGrpoConfig = field(default_factory=DiffuGrpoConfig)

    def check(self, decoding: Decoding) -> None:
        """Raises UserError for a number of updates below 1 and for a probability outside 0..1."""
        require_positive("method", inner_updates=self.config.inner_updates)
        require_shares("method", p_mask_prompt=self.config.p_mask_prompt)

    def draw(self, scored: ScoredRollouts, policy: DiffusionLM, generator: torch.Generator) -> Tensor:
        """The prompt tokens masked in each inner update, bool (B, U, P)."""
        source = generator if self.config.random_masking else torch.Generator().manual_seed(FIXED_SEED)
        seed_B = scored.shard.mine(row_seeds(scored.global_rows, source))
        updates = range(self.config.inner_updates) if self.config.random_masking else [0] * self.config.inner_updates
        masks = [prompt_mask(scored.rollout, seed_B, update, self.config.p_mask_prompt) for update in updates]
        return torch.stack(masks, 1)

    def prepare(self, scored: ScoredRollouts, policy: DiffusionLM, score: ScoreFunction, draws: Tensor) -> Prepared:
        """One update per prompt mask, with the old log-probabilities under it; draws: bool (B, U, P).

        Where an update of the published code accumulates n passes, these take n masks in turn: update u of pass p has
        mask n u + p, modulo the number of masks.
        """
        advantage_B = centred_rewards(scored)
        row_B = torch.arange(scored.rollout.num_rows, device=draws.device)
        masks = [
            draws[row_B, (update * scored.accumulated_batches + scored.pass_B) % draws.shape[1]]
            for update in range(draws.shape[1])
        ]
        parts = [self._part(scored, policy, mask_BP, advantage_B) for mask_BP in masks]
        return Prepared(updates=[UpdateBatch(parts=[part]) for part in parts], advantages=advantage_B)

    def loss(self, policy: DiffusionLM, part: MaskedTokens) -> Loss:
        """The clipped objective and KL of every token."""
        config = self.config
        new_BC = new_logprob(policy, part, guidance_scale=config.guidance_scale)[:, 0]

        def reference() -> Tensor:
            return reference_logprob(policy, part, guidance_scale=config.guidance_scale)[:, 0]

        return token_loss(new_BC, reference, part, clip_low=config.clip, clip_high=config.clip, beta=config.beta)

    @classmethod
    def estimators(cls, setting: Setting) -> list[Estimator]:
        """The first inner update; nothing depends on the enumerable task's prompt, so its mask changes nothing."""
        one_step = cls(config=DiffuGrpoConfig(inner_updates=1, beta=0.0))
        scale = setting.num_steps * setting.with_itself
        return [Estimator(method=one_step, options="one step", baseline="group mean", scale=scale, ends_early=True)]

    def _part(
        self, scored: ScoredRollouts, policy: DiffusionLM, is_masked_BP: Tensor, advantage_B: Tensor
    ) -> MaskedTokens:
        """One inner update, with the old log-probabilities under its mask."""
        rollout = scored.rollout
        wholly_BDC = torch.ones_like(rollout.completion_ids_BC, dtype=torch.bool)[:, None]
        tokens_BDL = masked_inputs(rollout, wholly_BDC, is_masked_BP[:, None])
        old_BDC, mask_BL = old_logprob(policy, rollout, tokens_BDL, guidance_scale=self.config.guidance_scale)
        return MaskedTokens(
            tokens_BDL=tokens_BDL,
            mask_BL=mask_BL,
            target_BC=rollout.completion_ids_BC,
            **token_terms(scored, policy, old_BDC[:, 0], advantage_B),
        )
