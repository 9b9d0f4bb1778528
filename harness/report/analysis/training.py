"""What happened during training, from metrics.jsonl: curves averaged over seeds, and which steps were chosen when."""

from __future__ import annotations

import math
from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass

from harness.report.analysis.groups import Group
from harness.report.analysis.points import Points, identity, make_points
from harness.report.analysis.statistics import mean
from harness.report.read.records import Update, read_updates

MOST_POINTS = 120
SMOOTH_SHARE = 0.08
"""Half the width of the smoothing, as a share of a curve's points."""
MOST_COLUMNS = 48
MOST_STEPS = 64


@dataclass(frozen=True, kw_only=True)
class History:
    """The updates of a group, seed by seed."""

    group: Group
    seeds: tuple[Sequence[Update], ...]


@dataclass(frozen=True, kw_only=True)
class Channel:
    """A number of every update: a field of Update, times `scale`. label: with its unit, for an axis."""

    name: str
    label: str
    scale: float = 1.0

    def value(self, update: Update) -> float:
        """NaN where the update has none."""
        return self.scale * float(getattr(update, self.name))


@dataclass(frozen=True, kw_only=True)
class TrainingPoint:
    """Mean over the seeds at an update (or over a few updates next to each other), and the seeds' range.

    smooth: the mean of `value` over the points around this one.
    """

    update: float
    value: float
    low: float
    high: float
    smooth: float


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


REWARD = Channel(name="reward", label="Reward")
CHANNELS = (
    REWARD,
    Channel(name="kl", label="KL to reference (nats)"),
    Channel(name="clip_fraction", label="Clipped ratios (%)", scale=100.0),
    Channel(name="entropy", label="Step entropy (nats)"),
    Channel(name="completion_length", label="Completion length (tokens)"),
    Channel(name="gradient_norm", label="Gradient norm"),
)


def read_history(group: Group) -> History:
    """Reads metrics.jsonl of every run of the group."""
    return History(group=group, seeds=tuple(read_updates(member.run) for member in group.members))


def training_curves(histories: Sequence[History]) -> list[TrainingCurve]:
    """Every channel of every group; a channel that has one value throughout, or none, is left out.

    A control has no reward: its are random numbers.
    """
    curves = []
    for channel in CHANNELS:
        shown = [history for history in histories if channel is not REWARD or not history.group.is_control]
        own = [
            TrainingCurve(group=history.group, channel=channel, points=_points(history.seeds, channel))
            for history in shown
        ]
        if len({value for curve in own for point in curve.points for value in (point.low, point.high)}) > 1:
            curves += [curve for curve in own if curve.points]
    return curves


def _points(seeds: Sequence[Sequence[Update]], channel: Channel) -> tuple[TrainingPoint, ...]:
    """At the updates that every seed made."""
    values: dict[float, list[float]] = defaultdict(list)
    for update in (update for updates in seeds for update in updates):
        if math.isfinite(value := channel.value(update)):
            values[update.update].append(value)
    shared = [(update, found) for update, found in sorted(values.items()) if len(found) == len(seeds)]
    size = max(1, math.ceil(len(shared) / MOST_POINTS))
    merged = [_merged(shared[start : start + size]) for start in range(0, len(shared), size)]
    smooth = smoothed([value for _, value, _, _ in merged])
    return tuple(
        TrainingPoint(update=update, value=value, low=low, high=high, smooth=near)
        for (update, value, low, high), near in zip(merged, smooth, strict=True)
    )


def _merged(stretch: Sequence[tuple[float, Sequence[float]]]) -> tuple[float, float, float, float]:
    """Update, mean over the seeds, smallest and largest seed."""
    per_seed = [mean(values) for values in zip(*(found for _, found in stretch), strict=True)]
    return mean([update for update, _ in stretch]), mean(per_seed), min(per_seed), max(per_seed)


def smoothed(values: Sequence[float]) -> list[float]:
    """Means over the values up to SMOOTH_SHARE of the curve before and after each; fewer at the ends."""
    reach = math.ceil(SMOOTH_SHARE * len(values))
    return [mean(values[max(0, place - reach) : place + reach + 1]) for place in range(len(values))]


def training_points(curves: Sequence[TrainingCurve]) -> Points:
    """What is plotted. low and high: the smallest and the largest seed."""
    return make_points(
        "label method reward channel seeds update mean smooth low high",
        (
            {**identity(curve.group), **vars(point), "channel": curve.channel.name, "mean": point.value}
            for curve in curves
            for point in curve.points
        ),
    )


def step_counts(history: History) -> StepCounts | None:
    """The chosen steps of a group; None where its method chooses none."""
    rollouts: dict[float, list[float]] = {}
    for update in (update for updates in history.seeds for update in updates):
        counts = update.chosen_steps
        before = rollouts.get(update.update, [0.0] * len(counts))
        if counts and update.first_of_rollout and len(before) == len(counts):
            rollouts[update.update] = [a + b for a, b in zip(before, counts, strict=True)]
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


def step_points(counted: Sequence[StepCounts]) -> Points:
    """Shares of 1 per stretch of training (update after from_update up to to_update) and step, counted from 0."""
    return make_points(
        "label method reward from_update to_update step share",
        (
            {
                **identity(counts.group),
                "from_update": start,
                "to_update": end,
                "step": place * counts.steps_per_cell,
                "share": share,
            }
            for counts in counted
            for start, end, share_T in zip(counts.edges, counts.edges[1:], counts.share_XT, strict=False)
            for place, share in enumerate(share_T)
        ),
    )
