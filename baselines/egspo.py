"""EGSPO and EGSPO-SA: entropy-guided stepwise policy optimisation with stepwise advantages (arXiv 2603.12554).

Denoising is a finite-horizon MDP with a reward at its end; the policy gradient is a sum over unmasking steps (Theorem
1). EGSPO uses, per completion, the K steps of highest step entropy alone (Proposition 5 bounds what the others would
add). EGSPO-SA is EGSPO with: a return per step that subtracts lambda times the reward of the greedy one-step completion
from it.

Axes: B rows, prompt-major in groups of G; P prompt, C completion, L = P + C; T steps; K chosen steps; n positions
revealed by one step; V vocabulary. A slot k holds the k-th chosen step of every row, in falling order of entropy.
"""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import ClassVar

import torch
from torch import Tensor

from harness.config.decoding import Decoding
from harness.diffusion.greedy import cheaper_while_sampling, greedy_completions
from harness.diffusion.logprob import chosen_logprob
from harness.distributed.shard import ALONE, Shard
from harness.errors import UserError, unknown_choice
from harness.models import flops
from harness.models.diffusion_lm import DiffusionLM
from harness.registry import method
from harness.rl import step_selection
from harness.rl.advantages import centre_in_group, leave_one_out_mean, stepwise_returns
from harness.rl.method import (
    GreedyScores,
    LossOutput,
    LossPart,
    Method,
    Prepared,
    ScoreFunction,
    UpdateBatch,
    score_rows,
)
from harness.rl.policy_loss import ClippedObjective, clipped_objective, exact_kl, k3
from harness.rollout import Rewards, Rollout, RolloutNeeds, ScoredRollouts

CHOICES = {
    "selection": ("entropy", "uniform", "random", "random-official"),
    "aggregation": ("sum", "mean"),
    "kl": ("k3", "exact"),
    "baseline": ("rank", "step", "none"),
    "greedy": ("auto", "sampling", "lazy"),
}


@dataclass(frozen=True, kw_only=True)
class EgspoConfig:
    """Options of EGSPO; the published values stand in the `paper` recipes.

    num_selected: K. selection: which steps. until_last_non_eos: steps after the last real token are not eligible.
    aggregation: of the log-probabilities of the tokens that a step reveals. clip_low, clip_high: the ratio stays within
    1 - clip_low and 1 + clip_high. beta: weight of the KL term, 0 for none. slots_per_update: slots averaged into one
    update.
    stepwise_lambda: weight of the greedy completion's reward. normalize_returns: divide by 1 + lambda.
    correctness_only: score greedy completions by the correctness part alone, and all parts with weight 1.
    stepwise_after_baseline: add the stepwise part after the group baseline. baseline: mean over the group at equal
    rank, leave-one-out at the same step, or none.
    greedy: how greedy completions are taken; auto is the cheaper one by FLOPs.
    """

    num_selected: int = 8
    selection: str = "entropy"
    until_last_non_eos: bool = False
    aggregation: str = "sum"
    clip_low: float = 0.2
    clip_high: float = 0.5
    beta: float = 0.0
    kl: str = "k3"
    slots_per_update: int = 1
    stepwise_lambda: float = 0.0
    normalize_returns: bool = True
    correctness_only: bool = False
    stepwise_after_baseline: bool = False
    baseline: str = "rank"
    greedy: str = "auto"


@dataclass(frozen=True, kw_only=True)
class EgspoSAConfig(EgspoConfig):
    """Options of EGSPO-SA: EGSPO's, with stepwise advantages."""

    stepwise_lambda: float = 0.5


@dataclass(frozen=True, kw_only=True)
class Slot(LossPart):
    """The k-th chosen step of every row. tokens_BL: the state before it; position_Bn: what it revealed, in the
    sequence.

    weight_B is 0 where a row has fewer steps; normaliser is the constant that the sum over rows is divided by.
    """

    tokens_BL: Tensor
    mask_BL: Tensor | None
    position_Bn: Tensor
    target_Bn: Tensor
    is_revealed_Bn: Tensor
    old_logprob_B: Tensor
    advantage_B: Tensor
    weight_B: Tensor
    normaliser: float


@method("egspo", title="EGSPO", colour="#0072B2", ablations=("selection", "num_selected", "stepwise_lambda"))
@dataclass(frozen=True, kw_only=True)
class Egspo(Method):
    """EGSPO."""

    Config: ClassVar[type] = EgspoConfig
    config: EgspoConfig = field(default_factory=EgspoConfig)

    def check(self, decoding: Decoding) -> None:
        """Raises UserError for unknown options, for K above T, for sizes below 1 and for guided rollouts."""
        for name, choices in CHOICES.items():
            if getattr(self.config, name) not in choices:
                raise unknown_choice(f"method.{name}", getattr(self.config, name), choices)
        if not 1 <= self.config.num_selected <= decoding.num_steps:
            raise UserError(
                f"method.num_selected={self.config.num_selected} must lie between 1 and rollout.num_steps="
                f"{decoding.num_steps}: a completion has no more steps to choose from."
            )
        if decoding.guidance_scale:
            raise UserError(
                f"rollout.guidance_scale={decoding.guidance_scale}: EGSPO's log-probabilities are unguided, so its "
                "importance ratios would be wrong; set it to 0."
            )
        if self.config.slots_per_update < 1:
            raise UserError(f"method.slots_per_update={self.config.slots_per_update} must be 1 or more.")

    def needs(self, shape: flops.ModelShape, decoding: Decoding, prompt_length: int) -> RolloutNeeds:
        """Greedy completions are recorded while sampling where that is the cheaper way."""
        if not self.config.stepwise_lambda or self.config.greedy == "lazy":
            return RolloutNeeds()
        states = decoding.num_steps if self.config.baseline == "step" else self.config.num_selected
        auto = cheaper_while_sampling(shape, decoding, prompt_length=prompt_length, num_states=states)
        return RolloutNeeds(argmax=self.config.greedy == "sampling" or auto)

    def updates_per_rollout(self) -> int:
        """K slots, slots_per_update at a time."""
        return math.ceil(self.config.num_selected / self.config.slots_per_update)

    def prepare(
        self, scored: ScoredRollouts, policy: DiffusionLM, score: ScoreFunction, generator: torch.Generator
    ) -> Prepared:
        """Chooses the steps, computes their advantages, and cuts the rollout into slots."""
        rollout = scored.rollout
        step_BK = select_steps(rollout, policy.is_end(rollout.completion_ids_BC), self.config, generator, scored.shard)
        return self.prepare_chosen(scored, policy, score, step_BK)

    def prepare_chosen(
        self, scored: ScoredRollouts, policy: DiffusionLM, score: ScoreFunction, step_BK: Tensor
    ) -> Prepared:
        """The updates from given steps (B, K) in slot order, -1 where a row has fewer."""
        greedy = self._score_greedy(scored, policy, score, step_BK) if self.config.stepwise_lambda else None
        advantage_BK = self._advantages(scored, greedy, step_BK)
        columns = zip(step_BK.unbind(1), advantage_BK.unbind(1), strict=True)
        slots = [self._slot(scored, step_B, advantage_B) for step_B, advantage_B in columns]
        official_order = [*slots[1:], slots[0]]
        size = self.config.slots_per_update
        groups = [official_order[start : start + size] for start in range(0, len(slots), size)]
        return Prepared(
            updates=[average(group) for group in groups],
            advantages=advantage_BK[step_BK >= 0],
            forwards=greedy.forwards if greedy else 0,
            flops=greedy.flops if greedy else 0.0,
            reward_calls=greedy.step_BM.numel() if greedy else 0,
            chosen_steps_BK=step_BK,
            greedy=greedy,
        )

    def loss(self, policy: DiffusionLM, part: Slot) -> LossOutput:
        """The clipped objective and KL of one slot."""
        logits_BnV = policy.logits(part.tokens_BL, part.mask_BL, part.position_Bn)
        new_B = aggregate(chosen_logprob(logits_BnV, part.target_Bn), part.is_revealed_Bn, self.config.aggregation)
        kl_B = self._kl(policy, part, logits_BnV, new_B)
        loss, clipped = slot_loss(new_B, part.old_logprob_B, part.advantage_B, kl_B, part, self.config)
        valid_B = part.weight_B > 0
        rows, length = part.tokens_BL.shape
        has_reference = self.config.beta > 0
        return LossOutput(
            loss=loss,
            ratio_N=clipped.ratio[valid_B],
            kl_N=kl_B.detach()[valid_B],
            clipped_low_N=clipped.low[valid_B],
            clipped_high_N=clipped.high[valid_B],
            forwards=rows * (2 if has_reference else 1),
            flops=flops.update(
                policy.shape, rows=rows, length=length, head_positions=part.position_Bn.numel(), reference=has_reference
            ),
        )

    def _score_greedy(
        self, scored: ScoredRollouts, policy: DiffusionLM, score: ScoreFunction, step_BK: Tensor
    ) -> GreedyScores:
        """Greedy completions at the chosen steps; for the baseline at the same step, at all steps of the group."""
        config, shard = self.config, scored.shard
        wanted_BM = step_BK
        if config.baseline == "step":
            wanted_BM = shard.mine(group_steps(shard.gather(step_BK), scored.group_size))
        greedy = greedy_completions(policy, scored.rollout, wanted_BM.clamp_min(0))
        return GreedyScores(
            step_BM=wanted_BM,
            ids_BMC=greedy.ids_BKC,
            reward_BM=greedy_reward(score_rows(score, greedy.ids_BKC), config),
            forwards=greedy.forwards,
            flops=greedy.flops,
        )

    def _advantages(self, scored: ScoredRollouts, greedy: GreedyScores | None, step_BK: Tensor) -> Tensor:
        """Advantages (B, K); stepwise ones where greedy completions were scored."""
        config, shard, size = self.config, scored.shard, scored.group_size
        final_B, all_step_BK = shard.gather(final_reward(scored.rewards, config)), shard.gather(step_BK)
        if greedy is None:
            return shard.mine(plain_advantages(final_B, all_step_BK, size, config.baseline))
        reward_BM = shard.gather(greedy.reward_BM)
        if config.baseline == "step":
            return shard.mine(same_step_advantages(final_B, reward_BM, size, config))
        return shard.mine(stepwise_advantages(final_B, reward_BM, all_step_BK >= 0, size, config))

    def _slot(self, scored: ScoredRollouts, step_B: Tensor, advantage_B: Tensor) -> Slot:
        """Gathers what the loss needs of the states step_B; rows without a k-th step have weight 0."""
        rollout = scored.rollout
        revealed = step_selection.revealed_positions(rollout, step_B)
        position_Bn, is_revealed_Bn = revealed.position_Bn, revealed.is_revealed_Bn
        tokens_BL, mask_BL = rollout.state_at(step_B.clamp_min(0))
        prompt_length = tokens_BL.shape[1] - rollout.completion_length
        tokens_per_step = rollout.completion_length / rollout.num_steps if self.config.aggregation == "sum" else 1.0
        return Slot(
            tokens_BL=tokens_BL,
            mask_BL=mask_BL,
            position_Bn=position_Bn + prompt_length,
            target_Bn=revealed.target_Bn,
            is_revealed_Bn=is_revealed_Bn,
            old_logprob_B=aggregate(rollout.logprob_BC.gather(1, position_Bn), is_revealed_Bn, self.config.aggregation),
            advantage_B=advantage_B.to(rollout.logprob_BC.dtype),
            weight_B=(step_B >= 0).to(rollout.logprob_BC.dtype),
            normaliser=scored.global_rows * tokens_per_step,
        )

    def _kl(self, policy: DiffusionLM, part: Slot, logits_BnV: Tensor, new_B: Tensor) -> Tensor:
        """KL of the chosen step against the reference policy (B,), by one forward pass; zeros without a KL term."""
        if not self.config.beta:
            return torch.zeros_like(new_B)
        with torch.no_grad(), policy.reference_policy():
            reference_BnV = policy.logits(part.tokens_BL, part.mask_BL, part.position_Bn)
        if self.config.kl == "k3":
            reference_Bn = chosen_logprob(reference_BnV, part.target_Bn)
            return k3(new_B, aggregate(reference_Bn, part.is_revealed_Bn, self.config.aggregation))
        kl_B = aggregate(exact_kl(logits_BnV, reference_BnV), part.is_revealed_Bn, self.config.aggregation)
        # The official mean averages over the vocabulary as well as over tokens.
        return kl_B / logits_BnV.shape[-1] if self.config.aggregation == "mean" else kl_B


@method("egspo-sa", title="EGSPO-SA", colour="#D55E00", ablations=("selection", "num_selected", "stepwise_lambda"))
@dataclass(frozen=True, kw_only=True)
class EgspoSA(Egspo):
    """EGSPO-SA."""

    Config: ClassVar[type] = EgspoSAConfig
    config: EgspoConfig = field(default_factory=EgspoSAConfig)


def average(slots: Sequence[Slot]) -> UpdateBatch:
    """One update whose loss is the mean of the slots' losses."""
    return UpdateBatch(parts=[dataclasses.replace(slot, normaliser=slot.normaliser * len(slots)) for slot in slots])


def select_steps(
    rollout: Rollout, is_end_BC: Tensor, config: EgspoConfig, generator: torch.Generator, shard: Shard = ALONE
) -> Tensor:
    """The chosen steps (B, K) in slot order, -1 where a row has fewer eligible ones."""
    num_rows, num_steps, k = rollout.num_rows, rollout.num_steps, config.num_selected
    entropy_BT = step_selection.step_entropy(rollout)
    last_B = torch.full((num_rows,), num_steps - 1, device=is_end_BC.device)
    if config.until_last_non_eos:
        last_B = step_selection.last_real_step(rollout.unmask_step_BC, is_end_BC, num_steps)
    last_B = torch.minimum(last_B, rollout.num_steps_B.long() - 1)
    eligible_BT = torch.arange(num_steps, device=last_B.device) <= last_B[:, None]
    match config.selection:
        case "entropy":
            return step_selection.highest_entropy(entropy_BT, eligible_BT, k)
        case "random":
            all_eligible_BT = shard.gather(eligible_BT.to(torch.uint8)).bool()
            return shard.mine(step_selection.random_without_replacement(all_eligible_BT, k, generator))
        case "uniform" if config.until_last_non_eos:
            return step_selection.uniform_until(last_B, k)
        case "uniform":
            step_BK = step_selection.uniform_with_last(num_rows, num_steps, k)
        case "random-official":
            step_BK = step_selection.random_shared(num_rows, num_steps, k, generator)
    step_BK = step_BK.to(last_B.device)
    return torch.where(step_BK <= last_B[:, None], step_BK, -1)


def final_reward(rewards: Rewards, config: EgspoConfig) -> Tensor:
    """r(x_0) (B,); with correctness_only every part has weight 1, as the official code has it."""
    return rewards.unweighted_total_B if config.correctness_only else rewards.total_B


def greedy_reward(rewards: Rewards, config: EgspoConfig) -> Tensor:
    """r(xhat^s); with correctness_only the part called `correctness` alone."""
    return rewards.parts["correctness"] if config.correctness_only else rewards.total_B


def plain_advantages(final_B: Tensor, step_BK: Tensor, group_size: int, baseline: str) -> Tensor:
    """EGSPO: the same reward at every chosen step, minus the baseline; (B, K)."""
    final_BK = final_B[:, None].expand_as(step_BK)
    match baseline:
        case "rank":
            return centre_in_group(final_BK, group_size, step_BK >= 0)
        case "step":
            return final_BK - leave_one_out_mean(final_B, group_size)[:, None]
        case _:
            return final_BK.clone()


def stepwise_advantages(
    final_B: Tensor, greedy_BK: Tensor, valid_BK: Tensor, group_size: int, config: EgspoConfig
) -> Tensor:
    """EGSPO-SA with the baseline at equal rank, or none; (B, K)."""
    lambda_ = config.stepwise_lambda
    if config.stepwise_after_baseline:
        centred_B1 = centre_in_group(final_B[:, None], group_size)
        advantage_BK = centred_B1 + lambda_ * (final_B[:, None] - greedy_BK)
        return advantage_BK / (1 + lambda_) if config.normalize_returns else advantage_BK
    returns_BK = stepwise_returns(final_B, greedy_BK, lambda_, normalize=config.normalize_returns)
    if config.baseline == "none":
        return returns_BK
    return centre_in_group(returns_BK, group_size, valid_BK)


def group_steps(step_BK: Tensor, group_size: int) -> Tensor:
    """For every row the steps that any row of its group chose (B, G * K): what the same-step baseline needs."""
    return step_BK.unflatten(0, (-1, group_size)).flatten(1).repeat_interleave(group_size, 0)


def same_step_advantages(final_B: Tensor, greedy_BM: Tensor, group_size: int, config: EgspoConfig) -> Tensor:
    """EGSPO-SA with the leave-one-out baseline over the others' returns at the SAME step; greedy_BM: (B, G * K) ->
    (B, K)."""
    returns_BM = stepwise_returns(final_B, greedy_BM, config.stepwise_lambda, normalize=config.normalize_returns)
    returns_NOGK = returns_BM.unflatten(0, (-1, group_size)).unflatten(2, (group_size, -1))
    own_NGK = torch.diagonal(returns_NOGK, dim1=1, dim2=2).movedim(-1, 1)
    others_NGK = (returns_NOGK.sum(1) - own_NGK) / (group_size - 1)
    return (own_NGK - others_NGK).flatten(0, 1)


def aggregate(value_Bn: Tensor, is_revealed_Bn: Tensor, aggregation: str) -> Tensor:
    """Sum or mean over the positions that the step revealed (B,)."""
    total_B = torch.where(is_revealed_Bn, value_Bn, 0.0).sum(1)
    return total_B / is_revealed_Bn.sum(1).clamp_min(1) if aggregation == "mean" else total_B


def slot_loss(
    new_B: Tensor, old_B: Tensor, advantage_B: Tensor, kl_B: Tensor, slot: Slot, config: EgspoConfig
) -> tuple[Tensor, ClippedObjective]:
    """-min(rho A, clip(rho) A) + beta KL, summed over the rows and divided by the slot's normaliser."""
    clipped = clipped_objective(new_B, old_B, advantage_B, clip_low=config.clip_low, clip_high=config.clip_high)
    term_B = config.beta * kl_B - clipped.objective
    return (term_B * slot.weight_B).sum() / slot.normaliser, clipped
