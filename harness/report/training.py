"""What happened during training, from metrics.jsonl: curves averaged over seeds, and which steps were chosen when."""

from __future__ import annotations

import math
from collections import defaultdict
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from harness.records.jsonl import read_lines
from harness.records.run_folder import METRICS_FILE
from harness.report.collect import Run
from harness.report.groups import Group
from harness.report.labels import exact
from harness.report.statistics import mean
from harness.report.summary import csv_text

MOST_POINTS = 120
MOST_COLUMNS = 48
MOST_STEPS = 64

Line = Mapping[str, Any]


@dataclass(frozen=True, kw_only=True)
class History:
    """The updates of a group, seed by seed."""

    group: Group
    seeds: tuple[Sequence[Line], ...]


@dataclass(frozen=True, kw_only=True)
class Channel:
    """A number of every update. label: with its unit, for an axis."""

    name: str
    label: str
    value: Callable[[Line], float]


@dataclass(frozen=True, kw_only=True)
class TrainingPoint:
    """Mean over the seeds at an update (or over a few updates next to each other), and the seeds' range."""

    update: float
    value: float
    low: float
    high: float


@dataclass(frozen=True, kw_only=True)
class TrainingCurve:
    """One channel of one group."""

    group: Group
    channel: Channel
    points: tuple[TrainingPoint, ...]


@dataclass(frozen=True, kw_only=True)
class StepCounts:
    """How often a group chose each step, all seeds together.

    share_XT: per stretch of training the share of each (stretch of) step(s), rows adding up to 1. edges: X + 1 updates
    between the stretches. num_steps: T of the rollout. steps_per_cell: above 1 where T is large.
    """

    group: Group
    share_XT: tuple[tuple[float, ...], ...]
    total_T: tuple[float, ...]
    edges: tuple[float, ...]
    num_steps: int
    steps_per_cell: int


def number(line: Line, key: str) -> float:
    """The value as a float; NaN where it is missing or no number."""
    value = line.get(key)
    return float(value) if isinstance(value, int | float) and not isinstance(value, bool) else math.nan


def numbers(line: Line, key: str) -> list[float]:
    """The list as floats; empty where it is missing or no list of numbers."""
    values = line.get(key)
    if not isinstance(values, list):
        return []
    found = [float(value) for value in values if isinstance(value, int | float) and math.isfinite(value)]
    return found if len(found) == len(values) else []


def _mean_entropy(line: Line) -> float:
    values = numbers(line, "step_entropy")
    return mean(values) if values else math.nan


CHANNELS = (
    Channel(name="reward", label="Reward", value=lambda line: number(line, "reward_mean")),
    Channel(name="kl", label="KL to reference (nats)", value=lambda line: number(line, "kl")),
    Channel(
        name="clip_fraction",
        label="Clipped ratios (%)",
        value=lambda line: 100 * (number(line, "clip_low") + number(line, "clip_high")),
    ),
    Channel(name="entropy", label="Step entropy (nats)", value=_mean_entropy),
    Channel(
        name="completion_length",
        label="Completion length (tokens)",
        value=lambda line: number(line, "completion_length"),
    ),
    Channel(name="gradient_norm", label="Gradient norm", value=lambda line: number(line, "gradient_norm")),
)


def read_history(group: Group) -> History:
    """Reads metrics.jsonl of every run of the group."""
    return History(group=group, seeds=tuple(updates(member.run) for member in group.members))


def training_curves(histories: Sequence[History]) -> list[TrainingCurve]:
    """Every channel of every group; a channel that is missing or zero throughout in all groups is left out."""
    curves = []
    for channel in CHANNELS:
        own = [
            TrainingCurve(group=history.group, channel=channel, points=_points(history.seeds, channel))
            for history in histories
        ]
        if any(point.value or point.high for curve in own for point in curve.points):
            curves += [curve for curve in own if curve.points]
    return curves


def updates(run: Run) -> list[Line]:
    """The lines of metrics.jsonl that have an update number, in their order."""
    return [line for line in read_lines(run.folder / METRICS_FILE) if math.isfinite(number(line, "update"))]


def _points(seeds: Sequence[Sequence[Line]], channel: Channel) -> tuple[TrainingPoint, ...]:
    """At the updates that every seed made."""
    values: dict[float, list[float]] = defaultdict(list)
    for lines in seeds:
        for line in lines:
            if math.isfinite(value := channel.value(line)):
                values[number(line, "update")].append(value)
    shared = [(update, found) for update, found in sorted(values.items()) if len(found) == len(seeds)]
    size = max(1, math.ceil(len(shared) / MOST_POINTS))
    return tuple(_merged(shared[start : start + size]) for start in range(0, len(shared), size))


def _merged(stretch: Sequence[tuple[float, Sequence[float]]]) -> TrainingPoint:
    per_seed = [mean(values) for values in zip(*(found for _, found in stretch), strict=True)]
    return TrainingPoint(
        update=mean([update for update, _ in stretch]),
        value=mean(per_seed),
        low=min(per_seed),
        high=max(per_seed),
    )


def training_csv(curves: Sequence[TrainingCurve]) -> str:
    """The plotted points. low and high: the smallest and the largest seed."""
    columns = ("label", "method", "reward", "channel", "seeds", "update", "mean", "low", "high")
    return csv_text(
        columns,
        (
            [
                curve.group.label,
                curve.group.method,
                curve.group.reward,
                curve.channel.name,
                " ".join(str(seed) for seed in curve.group.seeds),
                *(exact(value) for value in (point.update, point.value, point.low, point.high)),
            ]
            for curve in curves
            for point in curve.points
        ),
    )


def step_counts(history: History) -> StepCounts | None:
    """The chosen steps of a group; None where its method chooses none."""
    rollouts: dict[float, list[float]] = {}
    for lines in history.seeds:
        for line in lines:
            counts = numbers(line, "chosen_steps")
            if counts and line.get("first_of_rollout", True):
                before = rollouts.get(number(line, "update"), [0.0] * len(counts))
                if len(before) == len(counts):
                    rollouts[number(line, "update")] = [a + b for a, b in zip(before, counts, strict=True)]
    widths = {len(counts) for counts in rollouts.values()}
    if len(widths) != 1:
        return None
    return _binned(history.group, sorted(rollouts.items()), widths.pop())


def _binned(group: Group, rollouts: Sequence[tuple[float, list[float]]], num_steps: int) -> StepCounts:
    columns, cell = math.ceil(len(rollouts) / MOST_COLUMNS), math.ceil(num_steps / MOST_STEPS)
    stretches = [rollouts[start : start + columns] for start in range(0, len(rollouts), columns)]
    counts_XT = [
        [math.fsum(sum(counts[start : start + cell]) for _, counts in stretch) for start in range(0, num_steps, cell)]
        for stretch in stretches
    ]
    spacing = rollouts[1][0] - rollouts[0][0] if len(rollouts) > 1 else 1.0
    return StepCounts(
        group=group,
        share_XT=tuple(_shares(counts_T) for counts_T in counts_XT),
        total_T=_shares([math.fsum(column) for column in zip(*counts_XT, strict=True)]),
        edges=(*(stretch[0][0] - 1 for stretch in stretches), rollouts[-1][0] - 1 + spacing),
        num_steps=num_steps,
        steps_per_cell=cell,
    )


def _shares(counts: Sequence[float]) -> tuple[float, ...]:
    total = math.fsum(counts)
    return tuple(count / total if total else 0.0 for count in counts)


def steps_csv(counted: Sequence[StepCounts]) -> str:
    """Shares of 1 per stretch of training (update after from_update up to to_update) and step, counted from 0."""
    columns = ("label", "method", "reward", "from_update", "to_update", "step", "share")
    return csv_text(columns, (row for counts in counted for row in _step_rows(counts)))


def _step_rows(counts: StepCounts) -> list[list[str]]:
    group = counts.group
    head = [group.label, group.method, group.reward]
    stretches = zip(counts.edges, counts.edges[1:], counts.share_XT, strict=False)
    return [
        [*head, exact(start), exact(end), str(place * counts.steps_per_cell), exact(share)]
        for start, end, share_T in stretches
        for place, share in enumerate(share_T)
    ]
