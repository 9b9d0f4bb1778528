"""The record of one optimiser update: a line of metrics.jsonl. No torch."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from typing import Any


@dataclass(frozen=True, kw_only=True)
class UpdateRecord:
    """Counters are cumulative; rewards, advantages and steps are those of the rollout that the update was made from.

    forwards: rows times forward passes. flops_rollout: of rollouts and preparation, flops_update: of forward and
    backward passes of updates, flops_backward: of the backward passes among them (NaN in a run begun before they were
    counted apart). seconds: by phase.
    terms: how many values the loss reported, 0 where no row was eligible, None for a method that reports none. ratio,
    kl (nats), clip: None where the method reports no such values, or none of this update.
    step_entropy: nats, by unmasking step. chosen_steps: how often each was chosen. values: means of whatever else the
    method reports and, of a rollout with merged adapters, merged_logprob_mean and merged_logprob_max: by how much the
    merged weights' log-probabilities differ, nats. reward_calls: completions scored beyond the rollout's own.
    text_past_end: the fraction of final and greedy completions with tokens after their first end token, which
    conventions.reward_text decides about.
    """

    update: int
    iteration: int
    first_of_rollout: bool
    samples: int
    forwards: int
    flops_rollout: float
    flops_update: float
    flops_backward: float
    flops_total: float
    skipped_updates: int
    seconds: Mapping[str, float]
    reward_mean: float
    reward_std: float
    reward_parts: Mapping[str, float]
    zero_variance_groups: float
    advantage_mean: float | None
    advantage_std: float | None
    advantage_abs_max: float | None
    loss: float
    terms: int | None
    kl: float | None
    ratio_min: float | None
    ratio_mean: float | None
    ratio_max: float | None
    clip_low: float | None
    clip_high: float | None
    gradient_norm: float
    learning_rate: float
    step_entropy: list[float]
    chosen_steps: list[int]
    completion_length: float
    tokens_generated: int
    reward_calls: int
    text_past_end: float
    values: Mapping[str, float] = field(default_factory=dict)

    def to_json(self) -> dict[str, Any]:
        """As a plain dictionary, one line of metrics.jsonl."""
        return asdict(self)
