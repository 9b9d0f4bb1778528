"""The line of metrics.jsonl that an optimiser update leaves."""

from __future__ import annotations

from collections.abc import Mapping

import torch
from torch import Tensor

from harness.distributed.shard import Shard
from harness.models.diffusion_lm import DiffusionLM
from harness.records.update import UpdateRecord
from harness.rl.advantages import zero_variance_groups
from harness.rl.ledger import Progress
from harness.rl.method import ChosenSteps, Prepared
from harness.rl.step_selection import step_entropy
from harness.rl.update import UpdateLog
from harness.rollout import ScoredRollouts

OWN_COLUMNS = ("ratio", "kl", "clip_low", "clip_high")


def update_record(
    progress: Progress,
    scored: ScoredRollouts,
    prepared: Prepared,
    log: UpdateLog,
    model: DiffusionLM,
    *,
    learning_rate: float,
    first: bool,
    reward_calls: int,
    merging: Mapping[str, float],
) -> UpdateRecord:
    """The record of the update that was just made. merging: as in Collector. All processes call this together."""
    rollout, rewards, shard = scored.rollout, scored.rewards, scored.shard
    reward_B = shard.gather(rewards.total_B).double()
    advantage = shard.gather_values(prepared.advantages.double())
    values = {name: shard.gather_values(torch.cat(parts).double()) for name, parts in log.values.items()}
    ratio = values.get("ratio", advantage[:0])
    length_B = shard.gather(model.completion_lengths(rollout.completion_ids_BC))
    return UpdateRecord(
        update=progress.update,
        iteration=progress.iteration,
        first_of_rollout=first,
        samples=progress.samples,
        forwards=progress.forwards,
        flops_rollout=progress.flops_rollout,
        flops_update=progress.flops_update,
        flops_backward=progress.flops_backward,
        flops_total=progress.flops_total,
        skipped_updates=progress.skipped_updates,
        seconds={**progress.seconds, "total": progress.training_seconds},
        reward_mean=reward_B.mean().item(),
        reward_std=reward_B.std().item(),
        reward_parts={name: shard.gather(part).double().mean().item() for name, part in rewards.parts.items()},
        zero_variance_groups=zero_variance_groups(reward_B, scored.group_size).item(),
        advantage_mean=_mean(advantage),
        advantage_std=advantage.std().item() if len(advantage) > 1 else None,
        advantage_abs_max=advantage.abs().max().item() if len(advantage) else None,
        loss=shard.total(log.loss),
        terms=max(map(len, values.values())) if values else None,
        kl=_mean(values.get("kl")),
        ratio_min=ratio.min().item() if len(ratio) else None,
        ratio_mean=_mean(ratio),
        ratio_max=ratio.max().item() if len(ratio) else None,
        clip_low=_mean(values.get("clip_low")),
        clip_high=_mean(values.get("clip_high")),
        gradient_norm=log.gradient_norm,
        learning_rate=learning_rate,
        step_entropy=_mean_step_entropy(shard.gather(step_entropy(rollout))),
        chosen_steps=_histogram(prepared.chosen, rollout.num_steps, shard),
        completion_length=length_B.double().mean().item(),
        tokens_generated=int(length_B.sum()),
        reward_calls=int(shard.total(reward_calls)),
        text_past_end=_text_past_end(scored, prepared.chosen, model),
        values={
            **{name: value.mean().item() for name, value in values.items() if name not in OWN_COLUMNS and len(value)},
            **merging,
        },
    )


def _mean(values: Tensor | None) -> float | None:
    return None if values is None or not len(values) else values.mean().item()


def _text_past_end(scored: ScoredRollouts, chosen: ChosenSteps | None, model: DiffusionLM) -> float:
    completions = [scored.rollout.completion_ids_BC]
    if chosen is not None and chosen.greedy_ids_BKC is not None:
        completions.append(chosen.greedy_ids_BKC.flatten(0, 1))
    past_end_N = torch.cat([model.has_text_past_end(ids_NC) for ids_NC in completions])
    return scored.shard.gather_values(past_end_N.double()).mean().item()


def _mean_step_entropy(entropy_BT: Tensor) -> list[float]:
    """Mean entropy of each step over the rows that reached it, nats."""
    reached_BT = entropy_BT > -torch.inf
    total_T = torch.where(reached_BT, entropy_BT, 0.0).double().sum(0)
    return (total_T / reached_BT.sum(0).clamp_min(1)).tolist()


def _histogram(chosen: ChosenSteps | None, num_steps: int, shard: Shard) -> list[int]:
    """How often each step was chosen; empty for methods that choose none."""
    if chosen is None:
        return []
    step_BK = shard.gather(chosen.step_BK)
    return torch.bincount(step_BK[step_BK >= 0], minlength=num_steps).tolist()
