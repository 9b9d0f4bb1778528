"""Compute and time of a whole run: its rollouts by the budget, the FLOPs of each phase, hours at a rate."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass

from harness.config.tree import RunConfig
from harness.planning.memory import Footprint

TRAINING = ("rollout", "prepare", "update")


@dataclass(frozen=True, kw_only=True)
class Rate:
    """FLOP/s of one device by phase, and where they come from."""

    by_phase: Mapping[str, float]
    source: str


@dataclass(frozen=True, kw_only=True)
class PhaseCost:
    """Of a whole run: FLOPs over all devices, and hours."""

    name: str
    flops: float
    hours: float


@dataclass(frozen=True, kw_only=True)
class RunCost:
    """rollouts: how many the budget is for; updates: optimiser updates made from them."""

    rollouts: int
    updates: int
    phases: tuple[PhaseCost, ...]


def run_cost(config: RunConfig, footprint: Footprint, rate: Rate, *, updates_per_step: int, devices: int) -> RunCost:
    """What the run costs if no completion ends early. Activations that are computed again are not counted."""
    seconds = sum(footprint.phases[name].flops / rate.by_phase[name] for name in TRAINING)
    steps = footprint.updates / updates_per_step
    budget, flops = config.budget, sum(footprint.phases[name].flops for name in TRAINING) * devices
    limits = (
        (budget.updates, steps),
        (budget.samples, config.train.batch_size),
        (budget.flops, flops),
        (budget.minutes, seconds / 60),
    )
    rollouts = min(math.ceil(limit / per_rollout) for limit, per_rollout in limits if limit)
    every = config.evaluation.every
    evaluations = 1 + (max(1, math.ceil(rollouts * steps / every)) if every else 1)
    spent = {name: rollouts * footprint.phases[name].flops for name in TRAINING}
    spent["evaluation"] = evaluations * footprint.evaluation_flops / devices
    return RunCost(
        rollouts=rollouts,
        updates=rollouts * footprint.updates,
        phases=tuple(
            PhaseCost(name=name, flops=each * devices, hours=each / rate.by_phase[name] / 3600)
            for name, each in spent.items()
        ),
    )
