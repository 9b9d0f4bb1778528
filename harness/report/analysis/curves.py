"""Learning curves as points: the headline metric against FLOPs, samples, updates and seconds, averaged over seeds."""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

from harness.records.schema import EvalRecord
from harness.report.analysis.groups import Group, Protocol, group_by, measures
from harness.report.analysis.points import Points, bounds, identity, make_points
from harness.report.analysis.statistics import Interval, mean, seed_interval
from harness.report.labels import file_part, headline_metric, numbered


@dataclass(frozen=True, kw_only=True)
class Axis:
    """What a checkpoint has cost. column: of a record, base units. name: of files; the others are for a reader."""

    column: str
    name: str
    short: str
    title: str
    label: str


FLOPS = Axis(
    column="flops_total", name="flops", short="FLOPs", title="training FLOPs", label="Training compute ({unit})"
)
FORWARD_FLOPS = Axis(
    column="flops_forward",
    name="forward-flops",
    short="forward FLOPs",
    title="training FLOPs of forward passes alone, as papers count them",
    label="Training compute, forward passes alone ({unit})",
)
SAMPLES = Axis(
    column="samples", name="samples", short="samples", title="training samples", label="Training samples (completions)"
)
UPDATES = Axis(column="update", name="updates", short="updates", title="optimiser updates", label="Optimiser updates")
SECONDS = Axis(column="seconds", name="seconds", short="seconds", title="training time", label="Training time (s)")
AXES = (FLOPS, SAMPLES, UPDATES, SECONDS)
"""What every record has."""
CURVE_AXES = (FLOPS, FORWARD_FLOPS, SAMPLES, UPDATES, SECONDS)
STRETCH = 1.8
"""A line that is this many times as long as those of the majority stretches the axis."""


@dataclass(frozen=True, kw_only=True)
class Point:
    """One evaluated checkpoint of all seeds: means over seeds; interval: over seeds, None with a single one.

    flops_forward: None where a seed was recorded before forward passes were counted apart.
    """

    checkpoint: str
    flops_total: float
    flops_forward: float | None
    samples: float
    update: float
    seconds: float
    value: float
    interval: Interval | None


@dataclass(frozen=True, kw_only=True)
class Line:
    """The curve of one group."""

    group: Group
    points: tuple[Point, ...]


@dataclass(frozen=True, kw_only=True)
class Panel:
    """The curves that may be compared: same task, model and protocol. stem: start of its file names."""

    task: str
    model: str
    protocol: Protocol
    metric: str
    lines: tuple[Line, ...]
    n: int
    ceiling: float | None
    stem: str


def make_panels(groups: Sequence[Group], *, headline: str | None = None) -> list[Panel]:
    """A panel for every task, model and protocol under which some run was evaluated at two checkpoints."""
    together = sorted(group_by(groups, lambda group: group.conditions).items())
    panels = [panel for _, own in together if (panel := _panel(own, headline)) is not None]
    per_task = Counter(panel.task for panel in panels)
    stems = numbered(_stem(panel, alone=per_task[panel.task] == 1) for panel in panels)
    return [replace(panel, stem=stem) for panel, stem in zip(panels, stems, strict=True)]


def _panel(groups: Sequence[Group], headline: str | None) -> Panel | None:
    records = [record for group in groups for member in group.members for record in member.records]
    metric = headline_metric({name for record in records for name in record.metrics}, headline)
    lines = tuple(Line(group=group, points=curve(group, metric)) for group in groups)
    measured = [record for record in records if metric in record.metrics]
    if not any(len(line.points) > 1 for line in lines):
        return None
    return Panel(
        task=groups[0].task,
        model=groups[0].model,
        protocol=groups[0].protocol,
        metric=metric,
        lines=tuple(line for line in lines if line.points),
        n=measured[0].metrics[metric].n,
        ceiling=measured[0].ceiling.get(metric),
        stem="",
    )


def curve(group: Group, metric: str) -> tuple[Point, ...]:
    """The checkpoints that every seed of the group evaluated, by rising update.

    Seeds are matched by update, their last checkpoints with each other (under a budget of minutes or FLOPs
    those differ in their updates). A checkpoint that some seed lacks is left out: a mean over fewer seeds
    would jump.
    """
    matched: dict[tuple[str, int], list[EvalRecord]] = defaultdict(list)
    for member in group.members:
        own = [record for record in member.records if measures(record, metric)]
        ends = {record.update for record in own if record.checkpoint == "last"}
        for record in own:
            if record.checkpoint == "last" and record.update == max(ends):
                matched["last", 0].append(record)
            elif record.update not in ends:
                matched[record.checkpoint, record.update].append(record)
    points = [_point(records, metric) for records in matched.values() if len(records) == len(group.members)]
    return tuple(sorted(points, key=lambda point: (point.update, point.flops_total)))


def _point(records: Sequence[EvalRecord], metric: str) -> Point:
    values = [record.metrics[metric].value for record in records]
    costs = {axis.column: mean([getattr(record, axis.column) for record in records]) for axis in AXES}
    interval = seed_interval(values, lowest=0.0, highest=1.0)
    return Point(
        checkpoint=records[0].checkpoint,
        value=mean(values),
        interval=interval,
        flops_forward=mean_forward(records),
        **costs,
    )


def mean_forward(records: Sequence[EvalRecord]) -> float | None:
    """The mean FLOPs of the forward passes alone; None where one record does not have them apart."""
    counted = [record.flops_forward for record in records if record.flops_forward is not None]
    return mean(counted) if len(counted) == len(records) else None


def along(panel: Panel, axis: Axis) -> Panel:
    """The panel with the lines that have a place on `axis` for every point."""
    lines = [line for line in panel.lines if all(getattr(point, axis.column) is not None for point in line.points)]
    return replace(panel, lines=tuple(lines))


def axis_end(ends: Sequence[float]) -> float:
    """Where an axis ends on which lines end at `ends`: at the largest, or just behind those of a majority where the
    others are more than STRETCH times as long: else a few long lines would press all others together."""
    ordered = sorted(ends)
    for count in range(len(ordered) // 2 + 1, len(ordered)):
        last, following = ordered[count - 1], ordered[count]
        if 0 < STRETCH * last < following:
            return 1.05 * last
    return ordered[-1]


def _stem(panel: Panel, *, alone: bool) -> str:
    where = () if alone else (panel.model, panel.protocol.data, panel.protocol.split)
    return "-".join(file_part(part) for part in (panel.task, *where, panel.metric))


def curve_points(panel: Panel, axis: Axis) -> Points:
    """What is plotted against `axis`; values as fractions of 1."""
    cost = "flops_total flops_forward" if axis in (FLOPS, FORWARD_FLOPS) else axis.column
    columns = f"label method reward model recipe data metric seeds checkpoint {cost} mean low high"
    return make_points(columns, (_record(panel, line, point) for line in panel.lines for point in line.points))


def _record(panel: Panel, line: Line, point: Point) -> dict[str, Any]:
    own = {"metric": panel.metric, "mean": point.value}
    return {**identity(line.group), **vars(point), **bounds(point.interval), **own}
