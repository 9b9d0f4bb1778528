"""How one completion came about: the entropy of its steps, and its positions as points."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

from harness.records.schema import TraceRecord
from harness.report.analysis.groups import Group
from harness.report.analysis.points import Points, make_points


@dataclass(frozen=True, kw_only=True)
class GroupTraces:
    """The traces of the first seed of a group, first rollout first."""

    group: Group
    traces: tuple[TraceRecord, ...]


def step_entropies(trace: TraceRecord) -> list[float]:
    """Mean entropy of the positions that each step revealed, nats; NaN where it revealed none."""
    revealed: list[list[float]] = [[] for _ in range(trace.num_steps + 1)]
    for step, entropy in zip(trace.unmask_step, trace.entropy, strict=True):
        revealed[step].append(entropy)
    return [math.fsum(values) / len(values) if values else math.nan for values in revealed[: trace.num_steps]]


def trace_points(traces: Sequence[TraceRecord]) -> Points:
    """One line per position, and per position of every greedy completion (greedy_step: the step it was asked at)."""
    columns = "iteration update position greedy_step token unmask_step entropy chosen reward"
    return make_points(columns, (record for trace in traces for record in _records(trace)))


def _records(trace: TraceRecord) -> Iterator[dict[str, Any]]:
    places = [
        {"iteration": trace.iteration, "update": trace.update, "position": place, "unmask_step": step}
        for place, step in enumerate(trace.unmask_step)
    ]
    for place, token, entropy in zip(places, trace.tokens, trace.entropy, strict=True):
        chosen = int(place["unmask_step"] in trace.chosen_steps)
        yield {**place, "token": token, "entropy": entropy, "chosen": chosen, "reward": trace.reward}
    for greedy in trace.greedy:
        for place, token in zip(places, greedy.tokens, strict=False):
            yield {**place, "token": token, "greedy_step": greedy.step, "reward": greedy.reward}
