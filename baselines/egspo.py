"""EGSPO and EGSPO-SA: entropy-guided stepwise policy optimisation with stepwise advantages (arXiv 2603.12554).

Denoising is a finite-horizon MDP with a reward at its end; the policy gradient is a sum over unmasking steps (Theorem
1). EGSPO uses, per completion, the K steps of highest step entropy alone (Proposition 5 bounds what the others would
add). In EGSPO-SA the return of a step is less lambda times the reward of its greedy one-step completion.

Axes: B rows, prompt-major in groups of G; P prompt, C completion, L = P + C; T steps; K chosen steps; n positions
revealed by one step; V vocabulary. A slot k holds the k-th chosen step of every row, in falling order of entropy.
"""

from __future__ import annotations

import dataclasses
import functools
import itertools
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import ClassVar

import torch
from torch import Tensor

from harness.config.decoding import Decoding
from harness.config.tree import RunConfig
from harness.diffusion.exact_record import exact_at
from harness.diffusion.greedy import cheaper_while_sampling, greedy_completions
from harness.diffusion.logprob import chosen_logprob
from harness.diffusion.schedule import most_steps
from harness.errors import UserError, require_choices, require_positive
from harness.models.diffusion_lm import DiffusionLM
from harness.models.flops import ModelShape
from harness.registry import method
from harness.rl import step_selection
from harness.rl.advantages import (
    centre_at_same_step,
    centre_in_group,
    group_steps,
    leave_one_out_mean,
    stepwise_returns,
)
from harness.rl.estimator import Estimator, Outcome, Setting
from harness.rl.method import ChosenSteps, Loss, LossPart, Method, Prepared, ScoreFunction, UpdateBatch, score_rows
from harness.rl.policy_loss import ClippedObjective, clipped_objective, exact_kl, k3
from harness.rollout import RolloutNeeds, ScoredRollouts

CHOICES = {
    "selection": step_selection.SELECTIONS,
    "aggregation": ("sum", "mean"),
    "kl": ("k3", "exact"),
    "baseline": ("rank", "step", "none"),
    "greedy": ("auto", "sampling", "lazy"),
}


@dataclass(frozen=True, kw_only=True)
class EgspoConfig:
    """Options of EGSPO; the published values stand in the `paper` recipes.

    num_selected: K, steps of a row that are trained. selection: which steps these are. until_last_non_eos: steps after
    the last real token are not eligible. aggregation: of the log-probabilities of the tokens that a step reveals.
    clip_low, clip_high: the ratio stays within 1 - clip_low and 1 + clip_high. beta: weight of the KL term, 0 for none;
    kl: its estimator. slots_per_update: slots averaged into one update. stepwise_lambda: weight of the greedy
    completion's reward. normalize_returns: divide by 1 + lambda. correctness_only: score greedy completions by the
    correctness part alone, and all parts with weight 1. stepwise_after_baseline: add the stepwise part after the group
    baseline. baseline: mean over the group at equal rank, leave-one-out at the same step, or none. greedy: how greedy
    completions are taken, auto the cheaper way.
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


@dataclass(frozen=True, kw_only=True)
class GreedyScores:
    """Scored greedy completions at M states per row. step_BM: int64, -1 where a row has fewer; reward_BM: float64."""

    step_BM: Tensor
    ids_BMC: Tensor
    reward_BM: Tensor


@method("egspo", title="EGSPO", colour="#0072B2", ablations=("selection", "num_selected", "stepwise_lambda"))
@dataclass(frozen=True, kw_only=True)
class Egspo(Method):
    """EGSPO."""

    Config: ClassVar[type] = EgspoConfig
    takes_cached: ClassVar[bool] = True
    takes_blocks: ClassVar[bool] = True
    compares: ClassVar[bool] = True
    config: EgspoConfig = field(default_factory=EgspoConfig)

    def check(self, decoding: Decoding) -> None:
        """Raises UserError for unknown options, for K above T, for sizes below 1 and for guided rollouts."""
        require_choices("method", self.config, CHOICES)
        steps = most_steps(decoding)
        if not 1 <= self.config.num_selected <= steps:
            raise UserError(
                f"method.num_selected={self.config.num_selected} must lie between 1 and rollout.num_steps={steps}."
            )
        decoding.require_unguided("EGSPO")
        require_positive("method", slots_per_update=self.config.slots_per_update)

    def check_learning(self, config: RunConfig) -> None:
        """Without a baseline, or with a stepwise part that a group does not share, a completion teaches by itself."""
        own, is_group = self.config, config.train.group_size > 1
        apart = own.stepwise_after_baseline or (own.selection.startswith("random") and is_group)
        if own.baseline == "step" or (own.baseline == "rank" and not (own.stepwise_lambda and apart)):
            super().check_learning(config)

    def needs(self, shape: ModelShape, decoding: Decoding, prompt_length: int) -> RolloutNeeds:
        """Greedy completions are recorded while sampling where that is the cheaper way."""
        if not self.config.stepwise_lambda or self.config.greedy == "lazy":
            return RolloutNeeds()
        states = decoding.num_steps if self.config.baseline == "step" else self.config.num_selected
        auto = cheaper_while_sampling(shape, decoding, prompt_length=prompt_length, num_states=states)
        return RolloutNeeds(argmax=self.config.greedy == "sampling" or auto)

    def draw(self, scored: ScoredRollouts, policy: DiffusionLM, generator: torch.Generator) -> Tensor:
        """The chosen steps (B, K) in slot order, -1 where a row has fewer; only `random` selections draw."""
        rollout = scored.rollout
        return step_selection.select_steps(
            rollout,
            policy.is_end(rollout.completion_ids_BC),
            selection=self.config.selection,
            num_selected=self.config.num_selected,
            until_last_real=self.config.until_last_non_eos,
            generator=generator,
            shard=scored.shard,
        )

    def prepare(self, scored: ScoredRollouts, policy: DiffusionLM, score: ScoreFunction, draws: Tensor) -> Prepared:
        """Advantages at the chosen steps, and the rollout cut into slots; draws: the steps (B, K)."""
        greedy = self._score_greedy(scored, policy, score, draws) if self.config.stepwise_lambda else None
        advantage_BK = self._advantages(scored, greedy, draws)
        scored = dataclasses.replace(scored, rollout=exact_at(scored.rollout, policy, draws))
        columns = zip(draws.unbind(1), advantage_BK.unbind(1), strict=True)
        slots = [self._slot(scored, step_B, advantage_B) for step_B, advantage_B in columns]
        # The published trainer takes slots 1, 2, .., K - 1, 0: it counts a batch before it looks its slot up.
        in_order, size = [*slots[1:], slots[0]], self.config.slots_per_update
        groups = [in_order[start : start + size] for start in range(0, len(slots), size)]
        return Prepared(
            updates=[average(group) for group in groups],
            advantages=advantage_BK[draws >= 0],
            chosen=chosen_steps(draws, greedy),
        )

    def loss(self, policy: DiffusionLM, part: Slot) -> Loss:
        """The clipped objective and KL of one slot."""
        logits_BnV = policy.logits(part.tokens_BL, part.mask_BL, part.position_Bn)
        new_B = aggregate(chosen_logprob(logits_BnV, part.target_Bn), part.is_revealed_Bn, self.config.aggregation)
        kl_B = self._kl(policy, part, logits_BnV, new_B)
        loss, clipped = slot_loss(new_B, part.old_logprob_B, part.advantage_B, kl_B, part, self.config)
        return loss, clipped.values(part.weight_B > 0, kl=kl_B)

    @classmethod
    def estimators(cls, setting: Setting) -> list[Estimator]:
        """Every selection and baseline, K = 1 .. T; stepwise advantages where they depend on nothing drawn."""
        selections = ("entropy", "uniform") if cls.Config().stepwise_lambda else CHOICES["selection"]
        baselines = ("none", "rank", "step")
        return [
            cls._estimator(setting, selection, baseline, size)
            for selection, baseline, size in itertools.product(selections, baselines, range(1, setting.num_steps + 1))
        ]

    @classmethod
    def _estimator(cls, setting: Setting, selection: str, baseline: str, size: int) -> Estimator:
        options = {"selection": selection, "baseline": baseline, "num_selected": size, "slots_per_update": size}
        itself = cls(config=cls.Config(**options))
        last, steps = setting.num_steps - 1, range(setting.num_steps)
        every = {
            "random": list(itertools.combinations(steps, size)),
            "random-official": [(*drawn, last) for drawn in itertools.product(range(last), repeat=size - 1)],
        }.get(selection)
        return Estimator(
            method=itself,
            options=selection,
            baseline=baseline,
            size=size,
            scale=size * (setting.with_itself if baseline == "rank" else 1.0),
            outcomes=functools.partial(every_selection, every) if every else None,
            sampled=itself.draw if selection == "random" else None,
            ends_early=(selection, baseline, size) == ("entropy", "rank", setting.num_steps),
            is_drawn=baseline == "rank" and selection != "random-official",
        )

    def _score_greedy(
        self, scored: ScoredRollouts, policy: DiffusionLM, score: ScoreFunction, step_BK: Tensor
    ) -> GreedyScores:
        """Greedy completions at the chosen steps; for the baseline at the same step, at all steps of the group."""
        wanted_BM, shard = step_BK, scored.shard
        if self.config.baseline == "step":
            wanted_BM = shard.mine(group_steps(shard.gather(step_BK), scored.group_size))
        ids_BMC = greedy_completions(policy, scored.rollout, wanted_BM.clamp_min(0))
        rewards = score_rows(score, ids_BMC)
        reward_BM = rewards.parts["correctness"] if self.config.correctness_only else rewards.total_B
        return GreedyScores(step_BM=wanted_BM, ids_BMC=ids_BMC, reward_BM=reward_BM)

    def _advantages(self, scored: ScoredRollouts, greedy: GreedyScores | None, step_BK: Tensor) -> Tensor:
        """Advantages (B, K), with the baselines of the groups of the global batch."""
        shard, rewards = scored.shard, scored.rewards
        # With correctness_only every part of the final reward has weight 1, as the published code has it.
        final_B = shard.gather(rewards.unweighted_total_B if self.config.correctness_only else rewards.total_B)
        greedy_BM = None if greedy is None else shard.gather(greedy.reward_BM)
        valid_BK = shard.gather(step_BK) >= 0
        return shard.mine(advantages(final_B, greedy_BM, valid_BK, scored.group_size, self.config))

    def _slot(self, scored: ScoredRollouts, step_B: Tensor, advantage_B: Tensor) -> Slot:
        """Gathers what the loss needs of the states step_B; rows without a k-th step have weight 0."""
        rollout = scored.rollout
        revealed = rollout.revealed_positions(step_B)
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


def advantages(
    final_B: Tensor, greedy_BM: Tensor | None, valid_BK: Tensor, group_size: int, config: EgspoConfig
) -> Tensor:
    """Returns minus their baseline (B, K). greedy_BM: rewards of the greedy completions, None for EGSPO; M = K, or
    G * K for the baseline at the same step."""
    lambda_, final_B1 = config.stepwise_lambda, final_B[:, None]
    if greedy_BM is None:
        if config.baseline == "step":
            return (final_B - leave_one_out_mean(final_B, group_size))[:, None].expand_as(valid_BK)
        returns_BM = final_B1.expand_as(valid_BK).clone()
    elif config.stepwise_after_baseline and config.baseline != "step":
        advantage_BK = centre_in_group(final_B1, group_size) + lambda_ * (final_B1 - greedy_BM)
        return advantage_BK / (1 + lambda_) if config.normalize_returns else advantage_BK
    else:
        returns_BM = stepwise_returns(final_B, greedy_BM, lambda_, normalize=config.normalize_returns)
    match config.baseline:
        case "rank":
            return centre_in_group(returns_BM, group_size, valid_BK)
        case "step":
            return centre_at_same_step(returns_BM, group_size)
        case _:
            return returns_BM


def chosen_steps(step_BK: Tensor, greedy: GreedyScores | None) -> ChosenSteps:
    """For the record; of the greedy completions of a whole group those at the row's own steps."""
    if greedy is None:
        return ChosenSteps(step_BK=step_BK)
    column_BK = (greedy.step_BM[:, None] == step_BK[:, :, None]).to(torch.uint8).argmax(2)
    column_BKC = column_BK[:, :, None].expand(-1, -1, greedy.ids_BMC.shape[2])
    return ChosenSteps(
        step_BK=step_BK,
        greedy_ids_BKC=greedy.ids_BMC.gather(1, column_BKC),
        greedy_reward_BK=greedy.reward_BM.gather(1, column_BK),
    )


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


def every_selection(every: Sequence[Sequence[int]], scored: ScoredRollouts, policy: DiffusionLM) -> list[Outcome]:
    """Every selection in turn, the same for all rows: exact for returns that do not depend on the step."""
    rows = scored.rollout.num_rows
    return [Outcome(draws=torch.tensor(steps).expand(rows, -1), probability=1 / len(every)) for steps in every]
