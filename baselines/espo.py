"""ESPO: the whole completion as one action, its log-likelihood replaced by a Monte-Carlo ELBO (arXiv 2512.03759).

This is EGSPO with: one ratio per completion instead of one per step; an ELBO from randomly masked completions instead
of the states that it went through; a baseline that leaves the completion itself out. The same masks serve the new, the
old and the reference policy; each of the mu inner updates draws its own.

Axes: B rows, prompt-major in groups of G; P prompt, C completion, L = P + C; U inner updates; M draws per row; D inputs
per row: M, or 2 M with each mask's complement; V vocabulary.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import ClassVar

import torch
from torch import Tensor

from harness.config.decoding import Decoding
from harness.diffusion import elbo
from harness.diffusion.logprob import chosen_logprob, without_gradient
from harness.errors import UserError
from harness.models import flops
from harness.models.diffusion_lm import DiffusionLM
from harness.randomness import row_seeds, uniforms
from harness.registry import method
from harness.rl.advantages import group_std, leave_one_out_mean
from harness.rl.method import LossOutput, LossPart, Method, Prepared, ScoreFunction, UpdateBatch
from harness.rl.policy_loss import ClippedObjective, clipped_objective, k2
from harness.rollout import Rollout, ScoredRollouts

ORDER_DRAW = 0
STD_FLOOR = 1e-4


@dataclass(frozen=True, kw_only=True)
class EspoConfig:
    """Options of ESPO; the published values stand in the `paper` recipes.

    inner_updates: mu, optimiser updates per rollout. mc_samples: M. coupled: a second input masks each mask's
    complement (the official code always does it). clip_low, clip_high: the ratio stays within 1 - clip_low and
    1 + clip_high. beta: weight of the KL term, 0 for none. scale_rewards: divide advantages by the group's standard
    deviation.
    """

    inner_updates: int = 8
    mc_samples: int = 2
    coupled: bool = True
    clip_low: float = 0.2
    clip_high: float = 0.2
    beta: float = 0.01
    scale_rewards: bool = False


@dataclass(frozen=True, kw_only=True)
class Bound(LossPart):
    """One inner update. tokens_BDL: D masked inputs per row; weight_BDC: what each token's log-probability counts in
    the row's ELBO, 0 where it is not masked; normaliser: rows of the global batch."""

    tokens_BDL: Tensor
    mask_BL: Tensor | None
    target_BC: Tensor
    weight_BDC: Tensor
    old_elbo_B: Tensor
    advantage_B: Tensor
    normaliser: float


@method("espo", title="ESPO", colour="#E69F00", ablations=("coupled", "mc_samples"))
@dataclass(frozen=True, kw_only=True)
class Espo(Method):
    """ESPO."""

    Config: ClassVar[type] = EspoConfig
    config: EspoConfig = field(default_factory=EspoConfig)

    def check(self, decoding: Decoding) -> None:
        """Raises UserError for numbers of updates or draws below 1."""
        for name in ("inner_updates", "mc_samples"):
            if getattr(self.config, name) < 1:
                raise UserError(f"method.{name}={getattr(self.config, name)} must be 1 or more.")

    def updates_per_rollout(self) -> int:
        """mu."""
        return self.config.inner_updates

    def prepare(
        self, scored: ScoredRollouts, policy: DiffusionLM, score: ScoreFunction, generator: torch.Generator
    ) -> Prepared:
        """Draws the masks over the global batch and computes the old ELBOs."""
        shape = (self.config.inner_updates, self.config.mc_samples)
        masks = [
            [draw_masks(scored, update, draw, generator) for draw in range(shape[1])] for update in range(shape[0])
        ]
        is_masked_BUMC = torch.stack([torch.stack(draws, 1) for draws in masks], 1)
        return self.prepare_masked(scored, policy, is_masked_BUMC.to(policy.device))

    def prepare_masked(self, scored: ScoredRollouts, policy: DiffusionLM, is_masked_BUMC: Tensor) -> Prepared:
        """The updates under given masks of the completion. Raises UserError for groups of one."""
        if scored.group_size < 2:
            raise UserError("train.group_size=1: ESPO compares with the other completions of a prompt; set 2 or more.")
        advantage_B = scored.shard.mine(
            advantages(scored.shard.gather(scored.rewards.total_B), scored.group_size, self.config)
        )
        parts = [self._part(scored, policy, is_masked_BMC, advantage_B) for is_masked_BMC in is_masked_BUMC.unbind(1)]
        rows, inputs, length = parts[0].tokens_BDL.shape
        passes = inputs * len(parts)
        head_positions = rows * passes * scored.rollout.completion_length
        return Prepared(
            updates=[UpdateBatch(parts=[part]) for part in parts],
            advantages=advantage_B,
            forwards=rows * passes,
            flops=flops.forward(policy.shape, rows=rows * passes, length=length, head_positions=head_positions),
        )

    def loss(self, policy: DiffusionLM, part: Bound) -> LossOutput:
        """The clipped objective and KL of every completion."""
        inputs = (part.tokens_BDL, part.mask_BL, part.target_BC, part.weight_BDC)
        new_B = row_elbo(policy, *inputs)
        kl_B = torch.zeros_like(new_B)
        if self.config.beta:
            with torch.no_grad(), policy.reference_policy():
                reference_B = row_elbo(policy, *inputs)
            kl_B = k2(new_B, reference_B)
        loss, clipped = sequence_loss(new_B, kl_B, part, self.config)
        rows, passes, length = part.tokens_BDL.shape
        has_reference = self.config.beta > 0
        return LossOutput(
            loss=loss,
            ratio_N=clipped.ratio,
            kl_N=kl_B.detach(),
            clipped_low_N=clipped.low,
            clipped_high_N=clipped.high,
            forwards=rows * passes * (2 if has_reference else 1),
            flops=flops.update(
                policy.shape,
                rows=rows * passes,
                length=length,
                head_positions=part.weight_BDC.numel(),
                reference=has_reference,
            ),
        )

    def _part(self, scored: ScoredRollouts, policy: DiffusionLM, is_masked_BMC: Tensor, advantage_B: Tensor) -> Bound:
        """One inner update, with the old ELBOs under its masks."""
        rollout = scored.rollout
        is_masked_BDC = elbo.coupled_inputs(is_masked_BMC) if self.config.coupled else is_masked_BMC
        weight_BDC = (elbo.elbo_weights(is_masked_BDC) / is_masked_BDC.shape[1]).to(rollout.logprob_BC.dtype)
        tokens_BDL = masked_inputs(rollout, is_masked_BDC)
        mask_BL = rollout.prompts.with_completion(rollout.completion_ids_BC)[1]
        old_elbo_B = without_gradient(
            lambda *inputs: row_elbo(policy, *inputs),
            tokens_BDL,
            mask_BL,
            rollout.completion_ids_BC,
            weight_BDC,
            positions=weight_BDC[0].numel(),
        )
        return Bound(
            tokens_BDL=tokens_BDL,
            mask_BL=mask_BL,
            target_BC=rollout.completion_ids_BC,
            weight_BDC=weight_BDC,
            old_elbo_B=old_elbo_B,
            advantage_B=advantage_B.to(old_elbo_B.dtype),
            normaliser=scored.global_rows,
        )


def draw_masks(scored: ScoredRollouts, update: int, draw: int, generator: torch.Generator) -> Tensor:
    """One mask per row (B, C): counts evenly spaced over the global batch from a random start, places at random."""
    length, rows = scored.rollout.completion_length, scored.global_rows
    start = int(torch.randint(0, length + 1, (1,), generator=generator))
    count_B = elbo.evenly_spaced_counts(rows, length, start)
    seed_B = row_seeds(rows, generator)
    uniform_BC = uniforms(seed_B, update, torch.arange(length).expand(rows, -1), ORDER_DRAW)
    return scored.shard.mine(elbo.masks_of_counts(count_B, uniform_BC))


def advantages(reward_B: Tensor, group_size: int, config: EspoConfig) -> Tensor:
    """Reward minus the mean of the other completions of the prompt (B,)."""
    advantage_B = reward_B - leave_one_out_mean(reward_B, group_size)
    return advantage_B / (group_std(reward_B, group_size) + STD_FLOOR) if config.scale_rewards else advantage_B


def masked_inputs(rollout: Rollout, is_masked_BDC: Tensor) -> Tensor:
    """The prompt with every masked copy of the completion (B, D, L)."""
    copies = is_masked_BDC.shape[1]
    completion_BDC = torch.where(is_masked_BDC, rollout.mask_id, rollout.completion_ids_BC[:, None])
    return torch.cat([rollout.prompts.ids_BP[:, None].expand(-1, copies, -1), completion_BDC], 2)


def row_elbo(
    policy: DiffusionLM, tokens_BDL: Tensor, mask_BL: Tensor | None, target_BC: Tensor, weight_BDC: Tensor
) -> Tensor:
    """ELBO (B,), nats: one forward pass over all inputs of all rows."""
    rows, copies, length = tokens_BDL.shape
    completion_length = target_BC.shape[1]
    tokens_NL = tokens_BDL.flatten(0, 1)
    mask_NL = None if mask_BL is None else mask_BL.repeat_interleave(copies, 0)
    target_NC = target_BC.repeat_interleave(copies, 0)
    place_C = torch.arange(length - completion_length, length, device=tokens_BDL.device)
    logits_NCV = policy.logits(tokens_NL, mask_NL, place_C.expand_as(target_NC))
    logprob_BDC = chosen_logprob(logits_NCV, target_NC).view(rows, copies, completion_length)
    return elbo.elbo(logprob_BDC, weight_BDC)


def sequence_loss(new_B: Tensor, kl_B: Tensor, part: Bound, config: EspoConfig) -> tuple[Tensor, ClippedObjective]:
    """-min(rho A, clip(rho) A) + beta KL / C with rho = exp((ELBO_new - ELBO_old) / C); mean over the global batch."""
    length = part.target_BC.shape[1]
    clipped = clipped_objective(
        new_B / length,
        part.old_elbo_B / length,
        part.advantage_B,
        clip_low=config.clip_low,
        clip_high=config.clip_high,
    )
    return (config.beta * kl_B / length - clipped.objective).sum() / part.normaliser, clipped
