"""The line of metrics.jsonl that an optimiser update leaves."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor

from harness.distributed.shard import Shard
from harness.models.diffusion_lm import DiffusionLM
from harness.rl.advantages import zero_variance_groups
from harness.rl.checkpoint import Progress
from harness.rl.method import LossOutput, Prepared
from harness.rl.step_selection import step_entropy
from harness.rollout import ScoredRollouts

LOGGED = ("ratio", "kl", "clipped_low", "clipped_high")


@dataclass(kw_only=True)
class UpdateLog:
    """Adds up the outputs of an update's micro-batches."""

    loss: float = 0.0
    forwards: int = 0
    flops: float = 0.0
    values: dict[str, list[Tensor]] = field(default_factory=dict)

    def add(self, output: LossOutput) -> None:
        """Takes in one micro-batch."""
        self.loss += output.loss.item()
        self.forwards += output.forwards
        self.flops += output.flops
        for name in LOGGED:
            self.values.setdefault(name, []).append(getattr(output, f"{name}_N"))

    def all(self, name: str) -> Tensor:
        """All values of that name, float64."""
        return torch.cat(self.values[name]).double()


def update_metrics(
    progress: Progress,
    scored: ScoredRollouts,
    prepared: Prepared,
    log: UpdateLog,
    model: DiffusionLM,
    *,
    gradient_norm: float,
    learning_rate: float,
    first: bool,
) -> dict[str, Any]:
    """Counters are cumulative; rewards, advantages and steps are those of the rollout that the update was made from."""
    rollout, rewards, shard = scored.rollout, scored.rewards, scored.shard
    reward_B = shard.gather(rewards.total_B).double()
    advantage = shard.gather_values(prepared.advantages.double())
    ratio, kl, low, high = (shard.gather_values(log.all(name)) for name in LOGGED)
    length_B = shard.gather(model.completion_lengths(rollout.completion_ids_BC))
    return {
        "update": progress.update,
        "iteration": progress.iteration,
        "first_of_rollout": first,
        "samples": progress.samples,
        "forwards": progress.forwards,
        "flops_rollout": progress.flops_rollout,
        "flops_update": progress.flops_update,
        "flops_total": progress.flops_total,
        "skipped_updates": progress.skipped_updates,
        "seconds": {**progress.seconds, "total": progress.training_seconds},
        "reward_mean": reward_B.mean().item(),
        "reward_std": reward_B.std().item(),
        "reward_parts": {name: shard.gather(part).double().mean().item() for name, part in rewards.parts.items()},
        "zero_variance_groups": zero_variance_groups(reward_B, scored.group_size).item(),
        "advantage_mean": advantage.mean().item(),
        "advantage_std": advantage.std().item(),
        "advantage_abs_max": advantage.abs().max().item(),
        "loss": shard.total(log.loss),
        "kl": kl.mean().item(),
        "ratio_min": ratio.min().item(),
        "ratio_mean": ratio.mean().item(),
        "ratio_max": ratio.max().item(),
        "clip_low": low.mean().item(),
        "clip_high": high.mean().item(),
        "gradient_norm": gradient_norm,
        "learning_rate": learning_rate,
        "step_entropy": _mean_step_entropy(shard.gather(step_entropy(rollout))),
        "chosen_steps": _histogram(prepared.chosen_steps_BK, rollout.num_steps, shard),
        "completion_length": length_B.double().mean().item(),
        "tokens_generated": int(length_B.sum()),
        "reward_calls": int(shard.total(prepared.reward_calls)),
    }


def _mean_step_entropy(entropy_BT: Tensor) -> list[float]:
    """Mean entropy of each step over the rows that reached it, nats."""
    reached_BT = entropy_BT > -torch.inf
    total_T = torch.where(reached_BT, entropy_BT, 0.0).double().sum(0)
    return (total_T / reached_BT.sum(0).clamp_min(1)).tolist()


def _histogram(chosen_BK: Tensor | None, num_steps: int, shard: Shard) -> list[int]:
    """How often each step was chosen; empty for methods that choose none."""
    if chosen_BK is None:
        return []
    step_BK = shard.gather(chosen_BK)
    return torch.bincount(step_BK[step_BK >= 0], minlength=num_steps).tolist()
