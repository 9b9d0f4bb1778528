"""Learning curves as points: the headline metric against FLOPs, samples, updates and seconds, averaged over seeds."""

from __future__ import annotations

import re
from collections import Counter, defaultdict
from collections.abc import Sequence
from dataclasses import dataclass, replace

from harness.records.schema import EvalRecord
from harness.report.groups import Group, Protocol
from harness.report.labels import exact, headline_metric
from harness.report.statistics import mean, seed_interval
from harness.report.summary import csv_text

AXES = ("flops", "samples", "updates", "seconds")
AXIS_COLUMNS = {"flops": "flops_total", "samples": "samples", "updates": "update", "seconds": "seconds"}


@dataclass(frozen=True, kw_only=True)
class Point:
    """One evaluated checkpoint of all seeds: means over seeds; low and high are None with a single seed."""

    checkpoint: str
    flops: float
    samples: float
    updates: float
    seconds: float
    value: float
    low: float | None
    high: float | None


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
    together: dict[tuple[str, str, Protocol], list[Group]] = defaultdict(list)
    for group in groups:
        together[(group.task, group.model, group.protocol)].append(group)
    panels = [panel for key in sorted(together) if (panel := _panel(together[key], headline)) is not None]
    return _with_stems(panels)


def _panel(groups: Sequence[Group], headline: str | None) -> Panel | None:
    records = [record for group in groups for member in group.members for record in member.records]
    metric = headline_metric({name for record in records for name in record.metrics}, headline)
    lines = tuple(Line(group=group, points=make_points(group, metric)) for group in groups)
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


def make_points(group: Group, metric: str) -> tuple[Point, ...]:
    """The checkpoints that every seed of the group evaluated, by rising update.

    Seeds are matched by update, their last checkpoints with each other (under a budget of minutes or FLOPs
    those differ in their updates). A checkpoint that some seed lacks is left out: a mean over fewer seeds
    would jump.
    """
    matched: dict[tuple[str, int], list[EvalRecord]] = defaultdict(list)
    for member in group.members:
        own = [record for record in member.records if metric in record.metrics and record.metrics[metric].whole]
        ends = {record.update for record in own if record.checkpoint == "last"}
        for record in own:
            if record.checkpoint == "last" and record.update == max(ends):
                matched[("last", 0)].append(record)
            elif record.update not in ends:
                matched[(record.checkpoint, record.update)].append(record)
    points = [_point(records, metric) for records in matched.values() if len(records) == len(group.members)]
    return tuple(sorted(points, key=lambda point: (point.updates, point.flops)))


def _point(records: Sequence[EvalRecord], metric: str) -> Point:
    values = [record.metrics[metric].value for record in records]
    interval = seed_interval(values)
    band = interval.clipped(0.0, 1.0) if interval else None
    return Point(
        checkpoint=records[0].checkpoint,
        flops=mean([record.flops_total for record in records]),
        samples=mean([record.samples for record in records]),
        updates=mean([record.update for record in records]),
        seconds=mean([record.seconds for record in records]),
        value=mean(values),
        low=band.low if band else None,
        high=band.high if band else None,
    )


def _with_stems(panels: Sequence[Panel]) -> list[Panel]:
    per_task = Counter(panel.task for panel in panels)
    named = [_stem(panel, alone=per_task[panel.task] == 1) for panel in panels]
    seen: Counter[str] = Counter()
    stems = []
    for name in named:
        seen[name] += 1
        stems.append(name if seen[name] == 1 else f"{name}-{seen[name]}")
    return [replace(panel, stem=stem) for panel, stem in zip(panels, stems, strict=True)]


def _stem(panel: Panel, *, alone: bool) -> str:
    where = () if alone else (panel.model, panel.protocol.data, panel.protocol.split)
    return "-".join(re.sub(r"[^A-Za-z0-9_]+", "-", part).strip("-") for part in (panel.task, *where, panel.metric))


def points_csv(panel: Panel, axis: str) -> str:
    """The plotted points: values as fractions of 1, the axis in base units (FLOPs, samples, updates, seconds)."""
    columns = ("label", "method", "reward", "model", "recipe", "data", "metric", "seeds", "checkpoint")
    return csv_text((*columns, AXIS_COLUMNS[axis], "mean", "low", "high"), _csv_rows(panel, axis))


def _csv_rows(panel: Panel, axis: str) -> list[list[str]]:
    rows = []
    for line in panel.lines:
        group = line.group
        head = [
            group.label,
            group.method,
            group.reward,
            group.model,
            group.recipe,
            panel.protocol.data,
            panel.metric,
        ]
        seeds = " ".join(str(seed) for seed in group.seeds)
        for point in line.points:
            values = (getattr(point, axis), point.value, point.low, point.high)
            rows.append([*head, seeds, point.checkpoint, *(exact(value) for value in values)])
    return rows
