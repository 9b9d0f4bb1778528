"""JustGRPO: the completion as an autoregressive model would have written it, token after token (arXiv 2601.15165).

This is EGSPO with: left to right in place of the steps of a trajectory. Every token is scored in the state that has all
before it and none after, so that the likelihood of a completion written in this order is exact; each token is a term of
its own. That takes C passes for a completion, which micro-batches may cut apart. By default the old policy is the new
one, without gradient, and a rollout makes one update. Rollouts from left to right have blocks of one token.

Axes: B rows, prompt-major in groups of G; C completion; X micro-batches; N states, one for each counted token of the
rows whose advantage is not 0.
"""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass, field
from typing import ClassVar

import torch
from torch import Tensor

from harness.config.decoding import Decoding
from harness.errors import UserError, require_choices, require_positive
from harness.models.diffusion_lm import DiffusionLM
from harness.registry import method
from harness.rl.advantages import centre_in_group, group_std
from harness.rl.estimator import Estimator, Setting
from harness.rl.masked import until_first_end
from harness.rl.method import Loss, Method, Prepared, ScoreFunction, UpdateBatch
from harness.rl.states import States, as_many_everywhere, make_states, sequences_of, state_logprob, with_old_logprob
from harness.rl.token_level import token_loss
from harness.rollout import ScoredRollouts

CHOICES = {"positions": ("all", "until_end"), "old": ("detached", "recorded", "recomputed")}
STD_FLOOR = 1e-4
VALID_FLOOR = 1e-5


@dataclass(frozen=True, kw_only=True)
class JustGrpoConfig:
    """Options of JustGRPO; the defaults are the published values.

    clip: the ratio stays within 1 - clip and 1 + clip. gain: factor of the loss. temperature: that logits are divided
    by. positions: all of the completion, or those up to and including the first end token. old: where old
    log-probabilities come from: the new ones, so that every ratio is 1; the record of the rollout; or passes of their
    own. inner_updates: mu, optimiser updates per rollout.
    """

    clip: float = 0.2
    gain: float = 1.0
    temperature: float = 1.0
    positions: str = "all"
    old: str = "detached"
    inner_updates: int = 1


@method("justgrpo", title="JustGRPO", colour="#999933", ablations=("positions", "inner_updates"))
@dataclass(frozen=True, kw_only=True)
class JustGrpo(Method):
    """JustGRPO."""

    Config: ClassVar[type] = JustGrpoConfig
    takes_cached: ClassVar[bool] = True
    takes_adaptive: ClassVar[bool] = True
    takes_blocks: ClassVar[bool] = True
    compares: ClassVar[bool] = True
    config: JustGrpoConfig = field(default_factory=JustGrpoConfig)

    def check(self, decoding: Decoding) -> None:
        """Raises UserError for options outside their range, for several updates without old log-probabilities, and for
        rollouts whose record cannot give them."""
        config = self.config
        require_choices("method", config, CHOICES)
        require_positive("method", inner_updates=config.inner_updates, gain=config.gain, temperature=config.temperature)
        if config.inner_updates > 1 and config.old == "detached":
            raise UserError(
                f"method.inner_updates={config.inner_updates} needs old log-probabilities, and method.old=detached has "
                "none; set method.old to recorded or recomputed."
            )
        if config.old == "recorded":
            self._check_record(decoding)

    def _check_record(self, decoding: Decoding) -> None:
        """Raises UserError where the record is not of the states that the loss scores."""
        one_by_one = decoding.num_steps == decoding.completion_length and decoding.computes_all
        is_ordered = decoding.block_length == 1 or decoding.remasking == "sequential"
        wanted = {
            "rollout.block_length=1": is_ordered,
            f"rollout.num_steps={decoding.completion_length} without cache or threshold": one_by_one,
            "rollout.guidance_scale=0": not decoding.guidance_scale,
            "method.temperature=1": self.config.temperature == 1,
            "rollout.eos_policy=run or method.positions=until_end": (
                self.config.positions == "until_end" or not decoding.stops_early
            ),
        }
        if missing := [name for name, is_so in wanted.items() if not is_so]:
            raise UserError(
                "method.old=recorded takes log-probabilities from rollouts that go from left to right, token after "
                f"token; set {' and '.join(missing)}, or method.old=recomputed."
            )

    def prepare(self, scored: ScoredRollouts, policy: DiffusionLM, score: ScoreFunction, draws: None) -> Prepared:
        """One update, or mu of the same states: a state for every counted token of the rows that have a signal."""
        config, rollout, shard = self.config, scored.rollout, scored.shard
        reward_B = shard.gather(scored.rewards.total_B)
        all_advantages_B = advantages(reward_B, scored.group_size)
        advantage_B = shard.mine(all_advantages_B)
        counted_BC = torch.ones_like(rollout.completion_ids_BC, dtype=torch.bool)
        if config.positions == "until_end":
            counted_BC = until_first_end(policy.is_end(rollout.completion_ids_BC))
        row_N, place_N = (counted_BC & (advantage_B != 0)[:, None]).nonzero(as_tuple=True)
        column_C = torch.arange(rollout.completion_length, device=row_N.device)
        states = make_states(
            sequences_of(rollout),
            row_N,
            column_C >= place_N[:, None],
            column_C == place_N[:, None],
            advantage_B,
            normaliser=float(rollout.completion_length),
            temperature=config.temperature,
        )
        weight_B = shard.mine(config.gain * row_scales(all_advantages_B != 0, scored))
        states = dataclasses.replace(states, weight_N=weight_B[row_N])
        if config.old == "recorded":
            states = states.of_dtype(
                rollout.logprob_BC.dtype, old_logprob_Nn=rollout.logprob_BC[row_N, place_N][:, None]
            )
        elif config.old == "recomputed":
            states = with_old_logprob(policy, states)
        update = UpdateBatch(parts=[as_many_everywhere(states, scored)])
        return Prepared(updates=[update] * config.inner_updates, advantages=advantage_B)

    def loss(self, policy: DiffusionLM, part: States) -> Loss:
        """The clipped objective of every token."""
        new_Nn, clip = state_logprob(policy, part), self.config.clip
        if self.config.old == "detached":
            part = part.of_dtype(new_Nn.dtype, old_logprob_Nn=new_Nn.detach())
        return token_loss(new_Nn, new_Nn.detach, part, clip_low=clip, clip_high=clip, beta=0.0)

    @classmethod
    def estimators(cls, setting: Setting) -> list[Estimator]:
        """The only update. Advantages are divided by the group's deviation, so the scale is fitted."""
        return [
            Estimator(method=cls(config=JustGrpoConfig()), options="left to right", baseline="z-score", ends_early=True)
        ]


def advantages(reward_B: Tensor, group_size: int) -> Tensor:
    """Centred reward over the group's standard deviation plus 1e-4 (B,); exactly 0 where all are equal."""
    centred_B = centre_in_group(reward_B[:, None], group_size)[:, 0]
    return centred_B / (group_std(reward_B, group_size) + STD_FLOOR)


def row_scales(is_valid_B: Tensor, scored: ScoredRollouts) -> Tensor:
    """1 over the number of valid rows (B,), of all processes, float64: a mean over the global batch's valid rows. Where
    micro-batches are accumulated, each pass is a mean over its own, and the passes are added up."""
    valid_X = torch.stack([part_B.sum() for part_B in is_valid_B.split(scored.micro_batches)]).double()
    mean_A = valid_X.unflatten(0, (-1, scored.accumulated_batches)).mean(0)
    number = len(valid_X) // scored.accumulated_batches
    scale_X = 1 / (number * (mean_A + VALID_FLOOR)).repeat(number)
    return scale_X.repeat_interleave(torch.tensor(scored.micro_batches, device=scale_X.device))
