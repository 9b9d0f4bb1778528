"""BGPO: bounds of the ratio in place of the ratio, so that a draw's term is linear in its log-likelihood
(arXiv 2510.11683).

This is ESPO with: a term per draw instead of a ratio of means, in which the ratio exp(D) is replaced by its first-order
lower bound 1 + D where the advantage is positive, and stays exp(D) where it is not; a second clip of negative terms;
every row's draws spread over its own counts of masked tokens; advantages over the group's standard deviation; no KL
term. The authors' repository was not available: this agrees with DARE's.

Axes: B rows, prompt-major in groups of G; C completion; U inner updates; M draws per row, R = M / run length runs, each
an input and a score of its own.
"""

from __future__ import annotations

import functools
import math
from dataclasses import dataclass, field
from typing import ClassVar

import torch
from torch import Tensor

from harness.config.decoding import Decoding
from harness.diffusion import elbo
from harness.errors import UserError, require_choices, require_positive
from harness.models.diffusion_lm import DiffusionLM
from harness.randomness import row_seeds, uniforms
from harness.registry import method
from harness.rl.advantages import centre_in_group, group_std
from harness.rl.estimator import Estimator, Outcome, Setting
from harness.rl.masked import masked_inputs, row_weights, token_counts, until_first_end
from harness.rl.method import Loss, Method, Prepared, ScoreFunction, UpdateBatch
from harness.rl.outcomes import masks_of_count
from harness.rl.sequence_level import ScoredInputs, new_score, old_score, scored_inputs
from harness.rollout import ScoredRollouts

CHOICES = {
    "response": ("all", "until_end"),
    "aggregation": ("token-mean", "seq-mean-token-sum", "seq-mean-token-mean"),
}
STD_FLOOR = 1e-6
ORDER_DRAW, START_DRAW = 0, 1


@dataclass(frozen=True, kw_only=True)
class BgpoConfig:
    """Options of BGPO; the defaults are the published values.

    inner_updates: mu, optimiser updates per rollout, each with its own draws. mc_samples: M, draws per row. run_length:
    so many successive draws of a row have counts evenly spaced from a random start. clip_low, clip_high: the ratio
    stays within 1 - clip_low and 1 + clip_high. clip_dual: a negative advantage's term stays below so many times its
    size. aggregation: a row counts by its tokens among all tokens of the batch; by its tokens; or as much as any other.
    scale_rewards: divide advantages by the group's standard deviation. response: all tokens, or rows cut behind the
    first end token, which the model then sees no more of.
    """

    inner_updates: int = 1
    mc_samples: int = 16
    run_length: int = 16
    clip_low: float = 0.2
    clip_high: float = 0.2
    clip_dual: float = 3.0
    aggregation: str = "token-mean"
    scale_rewards: bool = True
    response: str = "all"


@dataclass(frozen=True, kw_only=True)
class WeighedInputs(ScoredInputs):
    """share_B: what a row's terms count in the loss."""

    share_B: Tensor


@method("bgpo", title="BGPO", colour="#CC6677", ablations=("mc_samples", "run_length", "response"))
@dataclass(frozen=True, kw_only=True)
class Bgpo(Method):
    """BGPO."""

    Config: ClassVar[type] = BgpoConfig
    takes_cached: ClassVar[bool] = True
    takes_adaptive: ClassVar[bool] = True
    takes_blocks: ClassVar[bool] = True
    compares: ClassVar[bool] = True
    config: BgpoConfig = field(default_factory=BgpoConfig)

    def check(self, decoding: Decoding) -> None:
        """Raises UserError for unknown options, numbers below 1, and draws that do not divide into runs."""
        config = self.config
        require_choices("method", config, CHOICES)
        require_positive("method", inner_updates=config.inner_updates, mc_samples=config.mc_samples)
        require_positive("method", run_length=config.run_length)
        if config.mc_samples % config.run_length:
            raise UserError(
                f"method.run_length={config.run_length} does not divide method.mc_samples={config.mc_samples}; set it "
                "to a divisor, or to 1 for independent draws."
            )
        if config.clip_dual <= 1:
            raise UserError(f"method.clip_dual={config.clip_dual} must be above 1: it bounds terms at ratio 1 too.")

    def draw(self, scored: ScoredRollouts, policy: DiffusionLM, generator: torch.Generator) -> Tensor:
        """M masks of the response per inner update, bool (B, U, M, C)."""
        config, response_BC = self.config, response(scored, policy, self.config)
        seed_B = scored.shard.mine(row_seeds(scored.global_rows, generator)).to(response_BC.device)
        place_BC = torch.arange(response_BC.shape[1], device=response_BC.device).expand_as(response_BC)
        masks = []
        for update in range(config.inner_updates):
            run_BR = place_BC.new_tensor(range(config.mc_samples // config.run_length)).expand(len(seed_B), -1)
            start_BR = uniforms(seed_B, update, run_BR, START_DRAW)
            count_BM = elbo.wrapped_counts(response_BC.sum(1), start_BR, config.run_length)
            for draw, count_B in enumerate(count_BM.unbind(1)):
                uniform_BC = uniforms(seed_B, update * config.mc_samples + draw, place_BC, ORDER_DRAW)
                masks.append(elbo.masks_of_counts(count_B, uniform_BC.masked_fill(~response_BC, 1.0)))
        return torch.stack(masks, 1).unflatten(1, (config.inner_updates, config.mc_samples))

    def prepare(self, scored: ScoredRollouts, policy: DiffusionLM, score: ScoreFunction, draws: Tensor) -> Prepared:
        """One update per inner update's masks, with the old scores under them; draws: bool (B, U, M, C)."""
        reward_B = scored.shard.gather(scored.rewards.total_B)
        advantage_B = scored.shard.mine(advantages(reward_B, scored.group_size, self.config))
        parts = [self._part(scored, policy, is_masked_BMC, advantage_B) for is_masked_BMC in draws.unbind(1)]
        return Prepared(updates=[UpdateBatch(parts=[part]) for part in parts], advantages=advantage_B)

    def loss(self, policy: DiffusionLM, part: WeighedInputs) -> Loss:
        """The clipped bound of every draw."""
        term_BM, values = clipped_bound(new_score(policy, part), part, self.config)
        loss = (term_BM * part.share_B[:, None]).sum() / part.scores
        return loss, {name: value.detach().flatten() for name, value in values.items()}

    @classmethod
    def estimators(cls, setting: Setting) -> list[Estimator]:
        """The first inner update, with one draw and more of a row, independent or spread."""
        return [
            Estimator(
                method=(one := cls(config=BgpoConfig(mc_samples=size, run_length=run, scale_rewards=False))),
                options=options,
                baseline="group mean",
                size=size,
                scale=setting.num_steps * setting.with_itself,
                outcomes=functools.partial(every_draw, run),
                sampled=one.draw,
                ends_early=options == "spread",
            )
            for options, size, run in [("independent", size, 1) for size in (1, 2, 3)] + [("spread", 3, 3)]
        ]

    def _part(
        self, scored: ScoredRollouts, policy: DiffusionLM, is_masked_BMC: Tensor, advantage_B: Tensor
    ) -> WeighedInputs:
        """One inner update, with the old scores under its masks: log p over the share masked, over C."""
        response_BC = response(scored, policy, self.config)
        share_BM1 = is_masked_BMC.sum(2, keepdim=True) / response_BC.sum(1).double()[:, None, None]
        part = scored_inputs(
            scored,
            policy,
            masked_inputs(scored.rollout, is_masked_BMC),
            is_masked_BMC / (share_BM1 * is_masked_BMC.shape[2]),
            advantage_B,
            scores=is_masked_BMC.shape[1],
            kept_BC=response_BC,
        )
        share_B = row_shares(response_BC, scored, self.config.aggregation)
        return WeighedInputs(**vars(part), share_B=share_B.to(part.weight_BDC.dtype))


def response(scored: ScoredRollouts, policy: DiffusionLM, config: BgpoConfig) -> Tensor:
    """The tokens that are masked, scored and seen, bool (B, C)."""
    ids_BC = scored.rollout.completion_ids_BC
    is_whole = config.response == "all"
    return torch.ones_like(ids_BC, dtype=torch.bool) if is_whole else until_first_end(policy.is_end(ids_BC))


def advantages(reward_B: Tensor, group_size: int, config: BgpoConfig) -> Tensor:
    """Reward minus the group's mean (B,)."""
    advantage_B = centre_in_group(reward_B[:, None], group_size)[:, 0]
    return advantage_B / (group_std(reward_B, group_size) + STD_FLOOR) if config.scale_rewards else advantage_B


def row_shares(response_BC: Tensor, scored: ScoredRollouts, aggregation: str) -> Tensor:
    """The weight of a row's term, which stands on each of its tokens (B,), float64; each micro-batch is normalised by
    its own tokens."""
    length_B = response_BC.sum(1).double()
    if aggregation == "token-mean":
        count_X = token_counts(response_BC, scored)
        return length_B * row_weights(count_X, scored) / count_X.sum()
    return (length_B if aggregation == "seq-mean-token-sum" else torch.ones_like(length_B)) / scored.global_rows


def clipped_bound(new_BM: Tensor, part: ScoredInputs, config: BgpoConfig) -> tuple[Tensor, dict[str, Tensor]]:
    """max(-A rho, -A clip(rho)), rho = 1 + D for A > 0 and exp(D) for others; for A < 0 at most -A clip_dual (B, M)."""
    moved_BM, advantage_B1 = new_BM - old_score(new_BM, part), part.advantage_B[:, None]
    is_gain_B1 = advantage_B1 > 0
    ratio_BM = torch.where(is_gain_B1, 1 + moved_BM, moved_BM.masked_fill(is_gain_B1, 0.0).exp())
    clipped_BM = ratio_BM.clamp(1 - config.clip_low, 1 + config.clip_high)
    term_BM = torch.maximum(-advantage_B1 * ratio_BM, -advantage_B1 * clipped_BM)
    is_loss_B1, most_B1 = advantage_B1 < 0, -advantage_B1 * config.clip_dual
    values = {
        "ratio": ratio_BM,
        "clip_low": is_loss_B1 & (ratio_BM < 1 - config.clip_low),
        "clip_high": is_gain_B1 & (ratio_BM > 1 + config.clip_high),
        "clip_dual": is_loss_B1 & (term_BM > most_B1),
    }
    return torch.where(is_loss_B1, torch.minimum(term_BM, most_B1), term_BM), values


def every_draw(run_length: int, scored: ScoredRollouts, policy: DiffusionLM) -> list[Outcome]:
    """Every place of a run, start and mask (B, 1, 1, C), one draw at a time: terms are averaged over draws, and linear
    in them at ratio 1. For rows without end token."""
    rows, length = scored.rollout.completion_ids_BC.shape
    start_C1 = (torch.arange(length).double()[:, None] + 0.5) / length
    counts = elbo.wrapped_counts(torch.full((length,), length), start_C1, run_length).flatten().tolist()
    return [
        Outcome(draws=mask_C.expand(rows, 1, 1, -1), probability=1 / len(counts) / math.comb(length, count))
        for count in counts
        for mask_C in masks_of_count(length, count)
    ]
