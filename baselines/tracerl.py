"""TraceRL: the states that a completion went through, several steps at a time (arXiv 2509.06949, no value model).

This is EGSPO with: all states of the trajectory in place of the K of highest entropy, `shrink` neighbouring steps
merged into one; a ratio for every token; end tokens after the text never asked for; a KL term to the old policy, not to
a reference; advantages divided by the group's deviation. States of a rollout are shared among the updates in order, so
that each is used once. States masked at random, or in complementary pairs, are the paper's rivals.

Axes: B rows, prompt-major in groups of G; C completion; T steps; M draws per row; R runs of merged steps, or draws with
their complements; N states; n tokens asked of a state.
"""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass, field
from typing import ClassVar

import torch
from torch import Tensor

from harness.config.decoding import Decoding
from harness.diffusion.elbo import coupled_inputs
from harness.errors import UserError, require_choices, require_positive
from harness.models.diffusion_lm import DiffusionLM
from harness.randomness import row_seeds
from harness.registry import method
from harness.rl.advantages import kept, z_scores
from harness.rl.estimator import Estimator, Setting
from harness.rl.masked import masks_at_drawn_rates
from harness.rl.method import Loss, Method, Prepared, ScoreFunction, UpdateBatch
from harness.rl.policy_loss import clipped_objective, k3
from harness.rl.states import (
    States,
    as_many_everywhere,
    make_states,
    sequences_of,
    shares,
    state_logprob,
    with_old_logprob,
)
from harness.rollout import ScoredRollouts

RATE_DRAW = 0  # and the next
CHOICES = {"states": ("trajectory", "random", "coupled"), "kl": ("k3", "k1")}
ALL_ENDS = -1


@dataclass(frozen=True, kw_only=True)
class TraceRlConfig:
    """Options of TraceRL; the published values stand in the `paper` recipes.

    states: those of the trajectory, masked at random, or at random each with its complement. shrink: how many steps of
    a trajectory are merged into one. draws: random states per row. min_rate, max_rate: between which their rate of
    masking is uniform. post_num: so many end tokens of a row may be asked for, -1 for all. updates: optimiser updates
    that share the states of a rollout. clip: the ratio stays within 1 - clip and 1 + clip. kl: estimator of the KL
    term; beta: its weight, 0 for none. keep_share: groups whose mean reward is below this or above 1 less this are left
    out; for rewards of 0 and 1, as with reward=correctness. length_margin: a completion within so many tokens of the
    longest earns 0.
    """

    states: str = "trajectory"
    shrink: int = 1
    draws: int = 35
    min_rate: float = 0.1
    max_rate: float = 0.9
    post_num: int = 0
    updates: int = 1
    clip: float = 0.2
    kl: str = "k3"
    beta: float = 0.01
    keep_share: float = 0.0
    length_margin: int = 0


@method("tracerl", title="TraceRL", colour="#117733", ablations=("states", "shrink"))
@dataclass(frozen=True, kw_only=True)
class TraceRl(Method):
    """TraceRL."""

    Config: ClassVar[type] = TraceRlConfig
    takes_cached: ClassVar[bool] = True
    takes_adaptive: ClassVar[bool] = True
    takes_blocks: ClassVar[bool] = True
    compares: ClassVar[bool] = True
    config: TraceRlConfig = field(default_factory=TraceRlConfig)

    def check(self, decoding: Decoding) -> None:
        """Raises UserError for unknown choices and numbers outside their range."""
        config = self.config
        require_choices("method", config, CHOICES)
        require_positive("method", shrink=config.shrink, draws=config.draws, updates=config.updates)
        if not 0 <= config.min_rate <= config.max_rate <= 1:
            raise UserError(
                f"method.min_rate={config.min_rate}, method.max_rate={config.max_rate} must rise within 0..1."
            )
        if config.post_num < ALL_ENDS:
            raise UserError(f"method.post_num={config.post_num} must be 0 or more, or -1 for all end tokens.")
        if not 0 <= config.keep_share < 0.5:
            raise UserError(f"method.keep_share={config.keep_share} must be 0, which keeps all groups, or below 0.5.")
        if not 0 <= config.length_margin < decoding.completion_length:
            most = f"less than rollout.completion_length={decoding.completion_length}"
            raise UserError(
                f"method.length_margin={config.length_margin} must be 0, which changes no reward, or {most}."
            )

    @property
    def needs_reference(self) -> bool:
        """Never: the KL term is to the old policy."""
        return False

    def draw(self, scored: ScoredRollouts, policy: DiffusionLM, generator: torch.Generator) -> Tensor | None:
        """M masks of every completion (B, M, C), each at a rate of its own; none for the trajectory's states."""
        config, rollout = self.config, scored.rollout
        if config.states == "trajectory":
            return None
        seed_B = scored.shard.mine(row_seeds(scored.global_rows, generator))
        is_masked_BMC = masks_at_drawn_rates(
            seed_B,
            range(config.draws),
            rollout.completion_length,
            least=config.min_rate,
            most=config.max_rate,
            kind=RATE_DRAW,
        )
        return is_masked_BMC.to(policy.device)

    def prepare(
        self, scored: ScoredRollouts, policy: DiffusionLM, score: ScoreFunction, draws: Tensor | None
    ) -> Prepared:
        """The states of all rows, shared among the updates, with their old log-probabilities; draws: bool (B, M, C)."""
        config, rollout, shard = self.config, scored.rollout, scored.shard
        length_B = policy.completion_lengths(rollout.completion_ids_BC)
        longest, own_B = rollout.completion_length, scored.rewards.total_B
        reward_B = shard.gather(earned(own_B, length_B, longest, config.length_margin))
        advantage_B = shard.mine(z_scores(reward_B, scored.group_size))
        asked_BC = askable(policy.is_end(rollout.completion_ids_BC), config.post_num)
        if draws is None:
            asked_BC = asked_BC & (rollout.unmask_step_BC < rollout.num_steps)
            is_masked_BRC, is_target_BRC = trajectory_states(rollout.unmask_step_BC, config.shrink, rollout.num_steps)
        else:
            is_target_BRC = coupled_inputs(draws) if config.states == "coupled" else draws
            is_masked_BRC = is_target_BRC | ~asked_BC[:, None]
        keep_B = shard.mine(kept(reward_B, scored.group_size, config.keep_share))
        is_target_BRC = is_target_BRC & asked_BC[:, None] & keep_B[:, None, None]
        row_N, run_N = is_target_BRC.any(2).nonzero(as_tuple=True)
        number_B = shard.gather(is_target_BRC.any(2).sum(1))
        states = make_states(
            sequences_of(rollout),
            row_N,
            is_masked_BRC[row_N, run_N],
            is_target_BRC[row_N, run_N],
            advantage_B,
            normaliser=1.0,
        )
        states = dataclasses.replace(states, weight_N=1 / states.counted_Nn.sum(1).double())
        states = with_old_logprob(policy, states)
        update_N, sizes = shares(row_N, shard.mine(number_B.cumsum(0) - number_B), int(number_B.sum()), config.updates)
        parts = [
            as_many_everywhere(
                dataclasses.replace(states.rows(update_N == update), normaliser=float(max(1, size))), scored
            )
            for update, size in enumerate(sizes)
        ]
        return Prepared(updates=[UpdateBatch(parts=[part]) for part in parts], advantages=advantage_B)

    def loss(self, policy: DiffusionLM, part: States) -> Loss:
        """The mean clipped objective of a state's tokens and the sum of their KL, over the number of states."""
        return trace_loss(state_logprob(policy, part), part, self.config)

    @classmethod
    def estimators(cls, setting: Setting) -> list[Estimator]:
        """1, 2, .. T steps merged. Advantages are divided by the group's deviation, so the scale is fitted. Random
        states are left out: how many a batch has, and so what it is divided by, is drawn too."""
        return [
            Estimator(
                method=cls(config=TraceRlConfig(shrink=shrink, post_num=ALL_ENDS, beta=0.0)),
                options="trajectory",
                baseline="z-score",
                size=shrink,
                ends_early=shrink == 1,
            )
            for shrink in range(1, setting.num_steps + 1)
        ]


def earned(reward_B: Tensor, length_B: Tensor, longest: int, margin: int) -> Tensor:
    """The rewards (B,), 0 for completions within `margin` tokens of the longest; margin 0 changes none."""
    return torch.where(length_B >= longest - margin, 0.0, reward_B) if margin else reward_B


def askable(is_end_BC: Tensor, post_num: int) -> Tensor:
    """False for the end tokens after the first post_num of a row (B, C); -1 asks for all."""
    return ~is_end_BC | (is_end_BC.cumsum(1) <= post_num) if post_num != ALL_ENDS else torch.ones_like(is_end_BC)


def runs(unmask_step_BC: Tensor, shrink: int, num_steps: int) -> Tensor:
    """The run that each token's step belongs to (B, C): the distinct steps of a row in order, `shrink` to a run."""
    taken_BT = torch.zeros(len(unmask_step_BC), num_steps + 1, dtype=torch.long, device=unmask_step_BC.device)
    taken_BT.scatter_(1, unmask_step_BC.long(), 1)
    return (taken_BT.cumsum(1).gather(1, unmask_step_BC.long()) - 1) // shrink


def trajectory_states(unmask_step_BC: Tensor, shrink: int, num_steps: int) -> tuple[Tensor, Tensor]:
    """What is masked before each run, and the tokens that it reveals, bool (B, R, C) both."""
    run_B1C = runs(unmask_step_BC, shrink, num_steps)[:, None]
    run_R1 = torch.arange(int(run_B1C.max()) + 1, device=run_B1C.device)[:, None]
    return run_B1C >= run_R1, run_B1C == run_R1


def trace_loss(new_Nn: Tensor, part: States, config: TraceRlConfig) -> Loss:
    """Mean over states of [mean over tokens of -min(rho A, clip(rho) A) + beta times the SUM over tokens of the KL]."""
    old_Nn = part.old_logprob_Nn
    advantage_N1 = part.advantage_N[:, None]
    clipped = clipped_objective(new_Nn, old_Nn, advantage_N1, clip_low=config.clip, clip_high=config.clip)
    kl_Nn = k3(new_Nn, old_Nn) if config.kl == "k3" else new_Nn - old_Nn
    term_Nn = config.beta * kl_Nn - part.weight_N[:, None] * clipped.objective
    return torch.where(part.counted_Nn, term_Nn, 0.0).sum() / part.normaliser, clipped.values(part.counted_Nn, kl=kl_Nn)
