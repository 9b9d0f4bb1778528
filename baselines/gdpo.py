"""GDPO: the whole completion as one action, its ELBO integrated by a quadrature rule (arXiv 2510.08554; not the method
of the same name for several rewards).

This is ESPO with: masked shares at the few fixed nodes of a quadrature rule instead of an even grid over the batch, so
that only the places are random; a ratio over the tokens up to and including the first end token, which alone are masked
and scored; the group's mean as baseline; no KL term. The authors' repository was not available: the estimator and the
`length` ratio are those of NeMo-RL, the `sum` ratio is the paper's formula.

Axes: B rows, prompt-major in groups of G; P prompt, C completion; U inner updates; D inputs per row: a node's draws one
after the other.
"""

from __future__ import annotations

import functools
import itertools
import warnings
from dataclasses import dataclass, field
from typing import ClassVar

import numpy as np
import torch
from torch import Tensor

from harness.config.decoding import Decoding
from harness.diffusion import elbo
from harness.errors import require_choices, require_positive, require_shares
from harness.models.diffusion_lm import DiffusionLM
from harness.randomness import row_seeds, uniforms
from harness.registry import method
from harness.rl.advantages import centred_rewards
from harness.rl.estimator import Estimator, Outcome, Setting
from harness.rl.masked import masked_inputs, prompt_mask, until_first_end
from harness.rl.method import Loss, Method, Prepared, ScoreFunction, UpdateBatch
from harness.rl.outcomes import masks_of_count
from harness.rl.policy_loss import ClippedObjective
from harness.rl.sequence_level import ScoredInputs, clipped_ratio, new_score, scored_inputs
from harness.rollout import ScoredRollouts

GAUSS = {f"gauss-{size}": size for size in range(1, 6)}
SIMPSON = ((0.1, 0.5, 1.0), (1 / 6, 4 / 6, 1 / 6))
CHOICES = {"quadrature": (*GAUSS, "simpson", "mc"), "ratio": ("length", "sum")}
ORDER_DRAW, TAIL_DRAW = 1, 2
"""Beside masked.PROMPT_DRAW."""


@dataclass(frozen=True, kw_only=True)
class GdpoConfig:
    """Options of GDPO; the published values stand in the `paper` recipes.

    inner_updates: mu, optimiser updates per rollout, each with its own draws. quadrature: Gauss-Legendre rules,
    Simpson's with its left end at 0.1, or mc, uniform times. mc_samples: draws per node; under mc the number of times.
    ratio: exp of the difference of ELBOs over the row's length, or of the sums, as in the paper, each row's term then
    over its length. clip_low, clip_high: the ratio stays within 1 - clip_low and 1 + clip_high. p_mask_prompt:
    probability that a prompt token is masked. mask_after_end: so is, as likely, a token behind the first end token.
    """

    inner_updates: int = 12
    quadrature: str = "gauss-3"
    mc_samples: int = 1
    ratio: str = "length"
    clip_low: float = 0.2
    clip_high: float = 0.2
    p_mask_prompt: float = 0.0
    mask_after_end: bool = True


@dataclass(frozen=True, kw_only=True)
class Draws:
    """Masked tokens is_masked_BUDC and, of the prompt, is_masked_BUDP, None for none; time_UD: float64."""

    is_masked_BUDC: Tensor
    is_masked_BUDP: Tensor | None
    time_UD: Tensor


@method("gdpo", title="GDPO", colour="#332288", ablations=("quadrature", "mc_samples", "ratio"))
@dataclass(frozen=True, kw_only=True)
class Gdpo(Method):
    """GDPO."""

    Config: ClassVar[type] = GdpoConfig
    takes_cached: ClassVar[bool] = True
    takes_adaptive: ClassVar[bool] = True
    takes_blocks: ClassVar[bool] = True
    compares: ClassVar[bool] = True
    config: GdpoConfig = field(default_factory=GdpoConfig)

    def check(self, decoding: Decoding) -> None:
        """Raises UserError for unknown options, numbers below 1 and a probability outside 0..1; warns of `sum`."""
        require_choices("method", self.config, CHOICES)
        require_positive("method", inner_updates=self.config.inner_updates, mc_samples=self.config.mc_samples)
        require_shares("method", p_mask_prompt=self.config.p_mask_prompt)
        if self.config.ratio == "sum":
            warnings.warn(
                "method.ratio=sum takes the exponential of a sum over all tokens: on 16 tokens it reached 176 where "
                "weights had moved by a few per cent. length divides the sum by the row's length.",
                stacklevel=2,
            )

    def check_model(self, model: DiffusionLM) -> None:
        """Raises UserError for masked prompt tokens before a model that attends by blocks."""
        if self.config.p_mask_prompt:
            model.require_full_attention(f"method.p_mask_prompt={self.config.p_mask_prompt}")

    def draw(self, scored: ScoredRollouts, policy: DiffusionLM, generator: torch.Generator) -> Draws:
        """Places for every node's draws in every inner update, and the times of `mc`, which all rows share."""
        config, completion_BC = self.config, scored.rollout.completion_ids_BC
        counted_BC = until_first_end(policy.is_end(completion_BC))
        seed_B = scored.shard.mine(row_seeds(scored.global_rows, generator)).to(completion_BC.device)
        time_UD = nodes(config)[0].repeat(config.inner_updates, 1)
        if config.quadrature == "mc":
            longest = int(scored.shard.gather(counted_BC.sum(1)).max())
            time_UD = torch.rand(time_UD.shape, generator=generator, dtype=torch.float64).clamp_min(1 / longest)
        masks = [draw_mask(counted_BC, time, seed_B, step) for step, time in enumerate(time_UD.flatten().tolist())]
        prompts, p = [], config.p_mask_prompt
        for step, is_masked_BC in enumerate(masks) if p else ():
            prompts.append(prompt_mask(scored.rollout, seed_B, step, p))
            if config.mask_after_end:
                place_BC = torch.arange(counted_BC.shape[1], device=counted_BC.device).expand_as(counted_BC)
                is_masked_BC |= ~counted_BC & (uniforms(seed_B, step, place_BC, TAIL_DRAW) < p)
        return Draws(
            is_masked_BUDC=torch.stack(masks, 1).unflatten(1, time_UD.shape),
            is_masked_BUDP=torch.stack(prompts, 1).unflatten(1, time_UD.shape) if p else None,
            time_UD=time_UD,
        )

    def prepare(self, scored: ScoredRollouts, policy: DiffusionLM, score: ScoreFunction, draws: Draws) -> Prepared:
        """One update per inner update's draws, with the old ELBOs under them."""
        advantage_B = centred_rewards(scored)
        parts = [self._part(scored, policy, draws, u, advantage_B) for u in range(len(draws.time_UD))]
        return Prepared(updates=[UpdateBatch(parts=[part]) for part in parts], advantages=advantage_B)

    def loss(self, policy: DiffusionLM, part: ScoredInputs) -> Loss:
        """The clipped objective of every completion."""
        loss, clipped = sequence_loss(new_score(policy, part), part, self.config)
        named = {"ratio": clipped.ratio, "clip_low": clipped.low, "clip_high": clipped.high}
        return loss, {name: value.flatten() for name, value in named.items()}

    @classmethod
    def estimators(cls, setting: Setting) -> list[Estimator]:
        """The first inner update: Gauss rules of one node and more, and Simpson's. At ratio 1 both ratios agree."""
        rules = [(f"gauss-{size}", "gauss", size) for size in (1, 2, 3)] + [("simpson", "simpson", 3)]
        methods = [cls(config=GdpoConfig(inner_updates=1, quadrature=rule)) for rule, _, _ in rules]
        return [
            Estimator(
                method=one,
                options=options,
                baseline="group mean",
                size=size,
                scale=setting.num_steps * setting.with_itself,
                outcomes=functools.partial(every_draw, one.config),
                sampled=one.draw,
                ends_early=(options, size) == ("gauss", 3),
            )
            for one, (_, options, size) in zip(methods, rules, strict=True)
        ]

    def _part(
        self, scored: ScoredRollouts, policy: DiffusionLM, draws: Draws, update: int, advantage_B: Tensor
    ) -> ScoredInputs:
        """One inner update, with the old ELBOs under its draws."""
        is_masked_BDC = draws.is_masked_BUDC[:, update]
        is_masked_BDP = None if draws.is_masked_BUDP is None else draws.is_masked_BUDP[:, update]
        counted_BC = until_first_end(policy.is_end(scored.rollout.completion_ids_BC))
        factor_D = coefficients(draws.time_UD[update], self.config).to(counted_BC.device)
        weight_BDC = (is_masked_BDC & counted_BC[:, None]) * factor_D[:, None]
        tokens_BDL = masked_inputs(scored.rollout, is_masked_BDC, is_masked_BDP)
        return scored_inputs(scored, policy, tokens_BDL, weight_BDC, advantage_B, length_B=counted_BC.sum(1))


def nodes(config: GdpoConfig) -> tuple[Tensor, Tensor]:
    """Times and weights of the rule on 0..1, each as often as it is drawn (D,), float64; under mc the times are drawn
    and these are 0."""
    if config.quadrature == "mc":
        time, weight = np.zeros(1), np.ones(1)
    elif config.quadrature == "simpson":
        time, weight = (np.array(values) for values in SIMPSON)
    else:
        time, weight = np.polynomial.legendre.leggauss(GAUSS[config.quadrature])
        time, weight = (time + 1) / 2, weight / 2
    draws = config.mc_samples
    return torch.from_numpy(time.repeat(draws)), torch.from_numpy(weight.repeat(draws))


def coefficients(time_D: Tensor, config: GdpoConfig) -> Tensor:
    """What a masked token's log-probability counts in the ELBO: weight / (time x draws of a node) (D,)."""
    return nodes(config)[1] / (time_D * config.mc_samples)


def draw_mask(counted_BC: Tensor, time: float, seed_B: Tensor, step: int) -> Tensor:
    """A share `time` of each row's counted tokens at random places (B, C): in float32, halves to even, one at least."""
    length_B = counted_BC.sum(1)
    count_B = torch.minimum((length_B.float() * time).round().long().clamp_min(1), length_B)
    place_BC = torch.arange(counted_BC.shape[1], device=counted_BC.device).expand_as(counted_BC)
    uniform_BC = uniforms(seed_B, step, place_BC, ORDER_DRAW).masked_fill(~counted_BC, 1.0)
    return elbo.masks_of_counts(count_B, uniform_BC)


def sequence_loss(new_B1: Tensor, part: ScoredInputs, config: GdpoConfig) -> tuple[Tensor, ClippedObjective]:
    """-min(rho A, clip(rho) A), mean over the global batch; with the `sum` ratio each row's is over its length."""
    per_token = config.ratio == "length"
    clipped = clipped_ratio(new_B1, part, clip_low=config.clip_low, clip_high=config.clip_high, per_token=per_token)
    objective_B1 = clipped.objective if per_token else clipped.objective / part.length_B[:, None]
    return -objective_B1.sum() / part.normaliser, clipped


def every_draw(config: GdpoConfig, scored: ScoredRollouts, policy: DiffusionLM) -> list[Outcome]:
    """All places of all nodes' masks together; none for rows with an end token, which have numbers of their own."""
    rows, length = scored.rollout.completion_ids_BC.shape
    if policy.is_end(scored.rollout.completion_ids_BC).any():
        return []
    time_D = nodes(config)[0]
    counts = (length * time_D.float()).round().long().clamp(1, length).tolist()
    masks = [torch.stack(one) for one in itertools.product(*(masks_of_count(length, count) for count in counts))]
    drawn = [
        Draws(is_masked_BUDC=mask_DC.expand(rows, 1, -1, -1), is_masked_BUDP=None, time_UD=time_D[None])
        for mask_DC in masks
    ]
    return [Outcome(draws=one, probability=1 / len(masks)) for one in drawn]
