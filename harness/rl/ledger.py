"""How far a run is, what it has cost so far, and how much of its budget is left."""

from __future__ import annotations

import math
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

from harness.config.tree import BudgetConfig
from harness.distributed.shard import Shard
from harness.models.meter import Cost, Meter

UPDATE, EVALUATION = "update", "eval"


@dataclass(kw_only=True)
class Progress:
    """Counters over all processes. forwards: rows times passes, evaluation excluded. seconds: by phase.

    flops_backward: those of flops_update that are backward passes; NaN in runs begun before they were counted apart.
    spent_in_warmup: the fraction of the budget that was used when the learning rate's warm-up ended.
    unmade_updates: of the last rollout, where the budget ended among its updates. awaits_evaluation: whether the
    evaluation of these weights among the steps is still to be made.
    """

    iteration: int = 0
    update: int = 0
    samples: int = 0
    forwards: int = 0
    flops_rollout: float = 0.0
    flops_update: float = 0.0
    flops_backward: float = 0.0
    evaluations: int = 0
    traces: int = 0
    skipped_updates: int = 0
    unmade_updates: int = 0
    awaits_evaluation: bool = False
    spent_in_warmup: float = 0.0
    seconds: dict[str, float] = field(default_factory=dict)

    @classmethod
    def from_json(cls, values: dict[str, object]) -> Progress:
        """The counters of a checkpoint. Raises TypeError where they are others."""
        return cls(**{"flops_backward": math.nan, **values})  # type: ignore[arg-type]

    @property
    def flops_total(self) -> float:
        """FLOPs of rollouts, preparation and updates; evaluation excluded."""
        return self.flops_rollout + self.flops_update

    @property
    def flops_forward(self) -> float | None:
        """FLOPs of forward passes alone; None where they were not counted apart from the start."""
        return None if math.isnan(self.flops_backward) else self.flops_total - self.flops_backward

    @property
    def spent_so_far(self) -> dict[str, Any]:
        """What an EvalRecord says about the training before it."""
        return {
            "update": self.update,
            "samples": self.samples,
            "flops_total": self.flops_total,
            "flops_forward": self.flops_forward,
            "seconds": self.training_seconds,
        }

    @property
    def training_seconds(self) -> float:
        """Wall time of all phases but evaluation."""
        return sum(value for phase, value in self.seconds.items() if phase != EVALUATION)


class Ledger:
    """The account of one run. progress: replaced on resuming. updates_per_step: as Method.updates_per_step."""

    def __init__(self, budget: BudgetConfig, meter: Meter, shard: Shard, *, updates_per_step: int) -> None:
        self.progress = Progress()
        self._budget, self._meter, self._shard, self._updates_per_step = budget, meter, shard, updates_per_step

    @property
    def step(self) -> int:
        """Training steps that are finished."""
        return self.progress.update // self._updates_per_step

    @contextmanager
    def phase(self, name: str) -> Iterator[None]:
        """Books the time, and outside of evaluation the passes, that are spent inside. All processes enter together."""
        start = time.perf_counter()
        with self._meter.measure() as cost:
            yield
        seconds = self.progress.seconds
        seconds[name] = seconds.get(name, 0.0) + time.perf_counter() - start
        if name != EVALUATION:
            self._book(name, cost)

    def spent(self) -> float:
        """The used fraction of the budget: of the limit that is nearest to being reached."""
        progress, shard = self.progress, self._shard
        minutes = shard.total(progress.training_seconds) / shard.count / 60 if self._budget.minutes else 0.0
        return self._budget.spent(
            updates=self.step, samples=progress.samples, flops=progress.flops_total, minutes=minutes
        )

    def _book(self, phase: str, cost: Cost) -> None:
        self.progress.forwards += int(self._shard.total(cost.forwards))
        flops = self._shard.total(cost.flops)
        if phase == UPDATE:
            self.progress.flops_update += flops
            self.progress.flops_backward += self._shard.total(cost.backward_flops)
        else:
            self.progress.flops_rollout += flops
