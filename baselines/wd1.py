"""wd1: weighted likelihood without ratios (arXiv 2507.08838).

This is EGSPO with: one forward pass for all tokens of a completion, which is masked as a whole, and the prompt in part,
as in d1; and weights from a softmax of the advantages in the place of ratios, so that neither an old nor a reference
policy is asked. Completions are raised by softmax(A) and, by default, lowered by softmax(-A). A variant samples from a
mixture of the policy and the reference policy.

Axes: B rows, prompt-major in groups of G; P prompt, C completion, L = P + C; U inner updates.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import ClassVar

import torch
from torch import Tensor

from harness.config.decoding import Decoding
from harness.errors import UserError, require_choices, require_positive, require_shares
from harness.models.diffusion_lm import DiffusionLM
from harness.models.flops import ModelShape
from harness.randomness import row_seeds
from harness.registry import method
from harness.rl.advantages import centre_in_group
from harness.rl.estimator import Estimator, Setting
from harness.rl.masked import MaskedInputs, inputs_of, new_logprob, prompt_mask, until_first_end
from harness.rl.method import Loss, Method, Prepared, ScoreFunction, UpdateBatch
from harness.rl.weighted import softmax_within, weighted_likelihood
from harness.rollout import RolloutNeeds, ScoredRollouts

CHOICES = {"terms": ("both", "positive"), "softmax_over": ("batch", "group")}


@dataclass(frozen=True, kw_only=True)
class Wd1Config:
    """Options of wd1; the published values stand in the `paper` recipes.

    inner_updates: mu, optimiser updates per rollout, each with its own prompt mask. p_mask_prompt: probability that a
    prompt token is masked. terms: both, or the positive one alone, which also trains on groups of equal rewards.
    softmax_over: all rows of a micro-batch (conventions.micro_batch_rows, by default all of the update), or each group
    apart. reference_weight: rollouts are sampled from (1 - w) logits of the policy + w logits of the reference policy;
    0 for the policy alone. guidance_scale: of classifier-free guidance in the log-probabilities, 0 for none.
    """

    inner_updates: int = 8
    p_mask_prompt: float = 0.15
    terms: str = "both"
    softmax_over: str = "batch"
    reference_weight: float = 0.0
    guidance_scale: float = 0.0


@dataclass(frozen=True, kw_only=True)
class Weighted(MaskedInputs):
    """One inner update; D = 1 input: the prompt in part and the completion wholly masked. counted_BC: True up to and
    including the first end token. advantage_B: what the row's log-likelihood is raised by, softmax(A) - softmax(-A);
    normaliser: over how many softmaxes the loss is a mean."""

    counted_BC: Tensor
    advantage_B: Tensor
    normaliser: float


@method("wd1", title="wd1", colour="#44AA99", ablations=("terms", "softmax_over", "reference_weight"))
@dataclass(frozen=True, kw_only=True)
class Wd1(Method):
    """wd1."""

    Config: ClassVar[type] = Wd1Config
    takes_cached: ClassVar[bool] = True
    takes_adaptive: ClassVar[bool] = True
    takes_blocks: ClassVar[bool] = False  # tokens of the prompt are masked, which such a model has never seen
    compares: ClassVar[bool] = True
    config: Wd1Config = field(default_factory=Wd1Config)

    def check(self, decoding: Decoding) -> None:
        """Raises UserError for options outside their range, and where the decoding cannot mix two policies."""
        config = self.config
        require_choices("method", config, CHOICES)
        require_positive("method", inner_updates=config.inner_updates)
        require_shares("method", p_mask_prompt=config.p_mask_prompt, reference_weight=config.reference_weight)
        if config.reference_weight and (not decoding.computes_all or decoding.guidance_scale):
            raise UserError(
                f"method.reference_weight={config.reference_weight} mixes whole passes of two policies; set "
                "rollout.cache=none, and rollout.threshold, factor, entropy_bound and guidance_scale to 0."
            )

    def needs(self, shape: ModelShape, decoding: Decoding, prompt_length: int) -> RolloutNeeds:
        """The reference policy's part in sampling."""
        return RolloutNeeds(reference_weight=self.config.reference_weight)

    @property
    def needs_reference(self) -> bool:
        """Whether rollouts are sampled from it in part."""
        return self.config.reference_weight > 0

    def draw(self, scored: ScoredRollouts, policy: DiffusionLM, generator: torch.Generator) -> Tensor:
        """The prompt tokens masked in each inner update, bool (B, U, P)."""
        seed_B = scored.shard.mine(row_seeds(scored.global_rows, generator))
        updates = range(self.config.inner_updates)
        return torch.stack(
            [prompt_mask(scored.rollout, seed_B, update, self.config.p_mask_prompt) for update in updates], 1
        )

    def prepare(self, scored: ScoredRollouts, policy: DiffusionLM, score: ScoreFunction, draws: Tensor) -> Prepared:
        """One update per prompt mask; draws: bool (B, U, P)."""
        rollout, shard = scored.rollout, scored.shard
        reward_B = shard.gather(scored.rewards.total_B)
        advantage_B = centre_in_group(reward_B[:, None], scored.group_size)[:, 0]
        size = scored.group_size if self.config.softmax_over == "group" else scored.micro_batches[0]
        weight_B = row_weights(advantage_B, size, self.config)
        counted_BC = until_first_end(policy.is_end(rollout.completion_ids_BC))
        wholly_BDC = torch.ones_like(counted_BC)[:, None]
        parts = [
            Weighted(
                **inputs_of(rollout, wholly_BDC, is_masked_BP[:, None]),
                counted_BC=counted_BC,
                advantage_B=shard.mine(weight_B).to(rollout.logprob_BC.dtype),
                normaliser=float(len(weight_B) // size),
            )
            for is_masked_BP in draws.unbind(1)
        ]
        return Prepared(updates=[UpdateBatch(parts=[part]) for part in parts], advantages=shard.mine(advantage_B))

    def loss(self, policy: DiffusionLM, part: Weighted) -> Loss:
        """The weighted log-likelihood of every completion."""
        logprob_BC = new_logprob(policy, part, guidance_scale=self.config.guidance_scale)[:, 0]
        logprob_B = text_logprob(logprob_BC, part.counted_BC)
        values = {"weight": part.advantage_B, "logprob": logprob_B.detach()}
        return weighted_likelihood(logprob_B, part.advantage_B, part.normaliser), values

    @classmethod
    def estimators(cls, setting: Setting) -> list[Estimator]:
        """Both losses; nothing depends on the enumerable task's prompt, so its mask changes nothing."""
        return [
            Estimator(
                method=cls(config=Wd1Config(inner_updates=1, terms=terms, softmax_over="group")),
                options=terms,
                baseline="softmax",
                ends_early=terms == "both",
                is_drawn=terms == "both",
            )
            for terms in CHOICES["terms"]
        ]


def row_weights(advantage_B: Tensor, size: int, config: Wd1Config) -> Tensor:
    """softmax(A) - softmax(-A), or softmax(A) alone, over runs of `size` rows (B,)."""
    positive_B = softmax_within(advantage_B, size)
    return positive_B if config.terms == "positive" else positive_B - softmax_within(-advantage_B, size)


def text_logprob(logprob_BC: Tensor, counted_BC: Tensor) -> Tensor:
    """Log-likelihood (B,), nats: the sum over the counted tokens, not divided by their number."""
    return torch.where(counted_BC, logprob_BC, 0.0).sum(1)
