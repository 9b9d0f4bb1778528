"""DMPO: the policy is matched to the one that rewards tilt, by a weighted denoising loss (arXiv 2510.08233).

This is ESPO with: no ratio, clip or KL term, but a weight per completion, the softmax over its group of
log(reference policy / old policy) + reward / alpha, less a centring, so that bad completions are lowered; and ordinary
denoising of randomly masked completions, each weighted so. The reference policy is asked once per rollout.

Axes: B rows, prompt-major in groups of G; P prompt, C completion, L = P + C; U inner updates; D masked inputs per row
of an update (replicates); K of the rollout, for its weights.
"""

from __future__ import annotations

import dataclasses
import functools
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import ClassVar, Self

import torch
from torch import Tensor

from harness.config.decoding import Decoding
from harness.config.tree import RunConfig
from harness.diffusion.elbo import mean_masked_logprob
from harness.errors import UserError, require_choices, require_positive, require_shares
from harness.models.diffusion_lm import DiffusionLM
from harness.randomness import row_seeds
from harness.registry import method
from harness.rl.advantages import centre_in_group
from harness.rl.estimator import Estimator, Setting
from harness.rl.masked import MaskedInputs, inputs_of, masked_elbo, masks_at_drawn_rates, new_logprob, until_first_end
from harness.rl.method import Loss, Method, Prepared, ScoreFunction, UpdateBatch
from harness.rl.outcomes import every_denoised_mask
from harness.rl.weighted import mean_within, micro_batches, softmax_within, step_size, weighted_likelihood
from harness.rollout import ScoredRollouts

CHOICES = {"centring": ("negative", "unbiased", "mean", "none")}
LOSS_DRAW, WEIGHT_DRAW = 0, 2  # and the next of each
LEAST_RATE, PLAIN = 0.1, -1.0
Masks = tuple[Tensor, Tensor]


@dataclass(frozen=True, kw_only=True)
class DmpoConfig:
    """Options of DMPO; the published values stand in the `paper` recipes.

    inner_updates: mu, optimiser updates per rollout, each with its own masks. replicates: inputs per row. clamp: the
    rates of masking are uniform from 0.1 to 1, not from 0. antithetic: the second half of the inputs masks the
    complements of the first. mask_text_only: what follows the first end token is never masked. alpha: temperature of
    the tilted policy; 0 weights by softmax(reward), without a reference policy, -1 by the reward itself. elbo_samples:
    K, inputs per row behind the weights. coeff: step size towards it, above 0 up to 1. least_sample_size: above 0, the
    step is shortened group by group until the effective sample size is that share of the group. centring: what is taken
    from the weights: those with the reward's sign reversed (negative), the softmax of log(policy / old policy) over a
    micro-batch (unbiased), the mean over a micro-batch, or nothing. strength: how much.
    """

    inner_updates: int = 8
    replicates: int = 4
    clamp: bool = True
    antithetic: bool = True
    mask_text_only: bool = False
    alpha: float = 0.04
    elbo_samples: int = 4
    coeff: float = 1.0
    least_sample_size: float = 0.0
    centring: str = "negative"
    strength: float = 1.0


@dataclass(frozen=True, kw_only=True)
class Denoised(MaskedInputs):
    """One inner update. is_masked_BDC: what the inputs hide of the completion. advantage_B: weight less centring; where
    old_elbo_B is there, some centring is still to be taken from it. normaliser: the number of micro-batches."""

    is_masked_BDC: Tensor
    advantage_B: Tensor
    old_elbo_B: Tensor | None
    normaliser: float

    def split(self, sequences: int) -> Iterator[Self]:
        """As every part; but a softmax over rows needs all of them, and their inputs go through the model in turn."""
        if self.old_elbo_B is None:
            yield from super().split(sequences)
        else:
            yield dataclasses.replace(self, at_once=sequences)


@method("dmpo", title="DMPO", colour="#661100", ablations=("centring", "alpha", "antithetic"))
@dataclass(frozen=True, kw_only=True)
class Dmpo(Method):
    """DMPO."""

    Config: ClassVar[type] = DmpoConfig
    takes_cached: ClassVar[bool] = True
    takes_adaptive: ClassVar[bool] = True
    takes_blocks: ClassVar[bool] = True
    compares: ClassVar[bool] = True
    config: DmpoConfig = field(default_factory=DmpoConfig)

    def check(self, decoding: Decoding) -> None:
        """Raises UserError for options outside their range."""
        config = self.config
        require_choices("method", config, CHOICES)
        for name in ("inner_updates", "replicates", "elbo_samples", "coeff"):
            require_positive("method", **{name: getattr(config, name)})
        for name in ("replicates", "elbo_samples"):
            if config.antithetic and getattr(config, name) % 2:
                raise UserError(f"method.{name}={getattr(config, name)} must be even: method.antithetic pairs inputs.")
        require_shares("method", coeff=config.coeff, least_sample_size=config.least_sample_size)
        if config.alpha < 0 and config.alpha != PLAIN:
            raise UserError(f"method.alpha={config.alpha} must be 0 or above, or -1 for the reward itself.")

    def check_learning(self, config: RunConfig) -> None:
        """Weighted by its reward itself, a completion teaches alone."""
        if self.config.alpha != PLAIN:
            super().check_learning(config)

    @property
    def needs_reference(self) -> bool:
        """Whether weights are those of a policy that is tilted from it."""
        return self.config.alpha > 0

    def draw(self, scored: ScoredRollouts, policy: DiffusionLM, generator: torch.Generator) -> Masks:
        """What is masked of the completion, bool: in each inner update (B, U, D, C), and for the weights (B, K, C)."""
        config, ids_BC, length = self.config, scored.rollout.completion_ids_BC, scored.rollout.completion_length
        seed_B = scored.shard.mine(row_seeds(scored.global_rows, generator)).to(ids_BC.device)
        updates, inputs = range(config.inner_updates), config.replicates
        loss_BUDC = torch.stack([draw_masks(seed_B, u, inputs, length, LOSS_DRAW, config) for u in updates], 1)
        if config.mask_text_only:
            loss_BUDC = loss_BUDC & until_first_end(policy.is_end(ids_BC))[:, None, None]
        return loss_BUDC, draw_masks(seed_B, 0, config.elbo_samples, length, WEIGHT_DRAW, config)

    def prepare(self, scored: ScoredRollouts, policy: DiffusionLM, score: ScoreFunction, draws: Masks) -> Prepared:
        """One update per inner update's masks, with the weights of the rollout; draws: those of `draw`."""
        loss_BUDC, weight_BKC = draws
        config, rollout, shard = self.config, scored.rollout, scored.shard
        old_elbo_B = log_rnd_B = torch.zeros(rollout.num_rows, device=policy.device)
        if self.needs_reference or config.centring == "unbiased":
            old_elbo_B = masked_elbo(policy, rollout, weight_BKC)
        if self.needs_reference:
            with policy.reference_policy():
                log_rnd_B = masked_elbo(policy, rollout, weight_BKC) - old_elbo_B
        weight_B = centred_weights(shard.gather(scored.rewards.total_B), shard.gather(log_rnd_B), scored, config)
        parts = [
            Denoised(
                **inputs_of(rollout, is_masked_BDC),
                is_masked_BDC=is_masked_BDC,
                advantage_B=shard.mine(weight_B).to(rollout.logprob_BC.dtype),
                old_elbo_B=old_elbo_B if config.centring == "unbiased" else None,
                normaliser=float(len(scored.micro_batches)),
            )
            for is_masked_BDC in loss_BUDC.unbind(1)
        ]
        size = scored.micro_batches[0] if config.centring == "unbiased" else rollout.num_rows
        updates = [UpdateBatch(parts=micro_batches(part, size)) for part in parts]
        return Prepared(updates=updates, advantages=shard.mine(weight_B))

    def loss(self, policy: DiffusionLM, part: Denoised) -> Loss:
        """The weighted denoising loss of every completion."""
        score_B = mean_masked_logprob(new_logprob(policy, part), part.is_masked_BDC)
        advantage_B = part.advantage_B
        if part.old_elbo_B is not None:
            moved_B = score_B.detach() * part.target_BC.shape[1] - part.old_elbo_B
            advantage_B = advantage_B - self.config.strength * moved_B.softmax(0)
        loss = weighted_likelihood(score_B, advantage_B, part.normaliser)
        return loss, {"weight": advantage_B, "logprob": score_B.detach()}

    @classmethod
    def estimators(cls, setting: Setting) -> list[Estimator]:
        """Pairs of masks, complements and independent ones, at the published alpha and at 0, centred and not."""
        one = functools.partial(DmpoConfig, inner_updates=1, replicates=2, clamp=True)
        configs = {
            "antithetic": one(),
            "independent": one(antithetic=False),
            "antithetic, alpha 0": one(alpha=0.0),
            "antithetic, alpha 0, uncentred": one(alpha=0.0, centring="none"),
        }
        return [
            Estimator(
                method=(method := cls(config=config)),
                options=options,
                baseline=config.centring,
                size=config.replicates,
                outcomes=functools.partial(every_denoised_mask, LEAST_RATE, config.antithetic),
                sampled=method.draw,
                ends_early=options == "antithetic",
                is_drawn=config.centring == "negative",
            )
            for options, config in configs.items()
        ]


def draw_masks(seed_B: Tensor, update: int, inputs: int, length: int, kind: int, config: DmpoConfig) -> Tensor:
    """Masks (B, D, C): a rate per input, uniform, and every token with it; or half of them, and their complements."""
    steps = range(update * inputs, update * inputs + (inputs // 2 if config.antithetic else inputs))
    least = LEAST_RATE if config.clamp else 0.0
    drawn_BDC = masks_at_drawn_rates(seed_B, steps, length, least=least, most=1.0, kind=kind)
    return torch.cat([drawn_BDC, ~drawn_BDC], 1) if config.antithetic else drawn_BDC


def group_weights(reward_B: Tensor, log_rnd_B: Tensor, group_size: int, config: DmpoConfig) -> Tensor:
    """Softmax over the group of a step to log_rnd + reward / alpha (B,); log_rnd: log(reference / old policy), nats."""
    if config.alpha == PLAIN:
        return reward_B
    # A group of equal rewards is weighted alike whatever their sign: centred, they are exactly 0.
    centred_B = centre_in_group(reward_B[:, None], group_size)[:, 0]
    target_B = log_rnd_B + centred_B / config.alpha if config.alpha else centred_B
    step_B = step_size(target_B, group_size, config.least_sample_size, config.coeff)
    return softmax_within(step_B * target_B, group_size)


def centred_weights(reward_B: Tensor, log_rnd_B: Tensor, scored: ScoredRollouts, config: DmpoConfig) -> Tensor:
    """The weights of all rows (B,), less the centring that is known before the update."""
    weight_B = group_weights(reward_B, log_rnd_B, scored.group_size, config)
    centring_B = torch.zeros_like(weight_B)
    if config.centring == "negative":
        centring_B = group_weights(-reward_B, log_rnd_B, scored.group_size, config)
    elif config.centring == "mean":
        centring_B = mean_within(weight_B, scored.micro_batches[0])
    return weight_B - config.strength * centring_B
