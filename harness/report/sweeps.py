"""Ablations: groups whose settings differ in one key alone, found among the runs that happen to be there."""

from __future__ import annotations

import json
from collections import defaultdict
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import Any

from harness.report.groups import HEAD, OUTSIDE_HASH, Group, overrides
from harness.report.labels import exact, method_name
from harness.report.rows import Row
from harness.report.statistics import mean
from harness.report.summary import csv_text
from harness.report.tables import MetricRows, make_row

SELECTION = "method.selection"
NUM_STEPS = "evaluation.decoding.num_steps"
KEYS = (SELECTION, "method.num_selected", "method.stepwise_lambda", NUM_STEPS)
CSV_COLUMNS = (
    "task",
    "method",
    "reward",
    "model",
    "metric",
    "key",
    "value",
    "x",
    "mean",
    "low",
    "high",
    "interval",
    "n",
)


@dataclass(frozen=True, kw_only=True)
class SweepPoint:
    """One value of the key. x: where it stands on the axis: the value itself, forward passes for the steps."""

    group: Group
    setting: Any
    x: float
    row: Row


@dataclass(frozen=True, kw_only=True)
class SweepLine:
    """Groups that are the same but for the key, by rising x. reference: the one with the fewest changes."""

    points: tuple[SweepPoint, ...]
    reference: Group


@dataclass(frozen=True, kw_only=True)
class Sweep:
    """The lines over one key that share task, model, items and metric."""

    key: str
    task: str
    model: str
    metric: str
    lines: tuple[SweepLine, ...]

    @property
    def rows(self) -> MetricRows:
        """The rows of all points, for a table."""
        rows = tuple(point.row for line in self.lines for point in line.points)
        return MetricRows(task=self.task, metric=self.metric, rows=rows)

    @property
    def title(self) -> str:
        """`how steps are chosen`."""
        names = {
            SELECTION: "how steps are chosen",
            "method.num_selected": "how many steps are chosen",
            "method.stepwise_lambda": "weight of the greedy completion",
            NUM_STEPS: "accuracy against forward passes",
        }
        return names[self.key]


def group_key(group: Group) -> tuple[object, ...]:
    """What tells a group from every other."""
    return (*(getattr(group, name) for name in HEAD), group.protocol)


def find_sweeps(groups: Sequence[Group], metrics: dict[str, str]) -> list[Sweep]:
    """Every key of KEYS of which several values were run, all else equal. metrics: headline metric by task."""
    sweeps = []
    for key in KEYS:
        together: dict[tuple[str, ...], list[SweepLine]] = defaultdict(list)
        for alike in _alike(groups, key):
            line = _line(alike, key, metrics[alike[0].task])
            if line is not None:
                protocol = alike[0].protocol
                where = (alike[0].task, alike[0].model, protocol.data, protocol.split, protocol.items_sha256)
                together[where].append(line)
        for (task, model, *_), lines in sorted(together.items()):
            sweeps.append(Sweep(key=key, task=task, model=model, metric=metrics[task], lines=tuple(lines)))
    return sweeps


def without_variants(groups: Sequence[Group], sweeps: Sequence[Sweep]) -> list[Group]:
    """The groups that stand for their method: variants that a sweep shows beside its reference are left out.

    One that is then alone of its name needs no variant behind it.
    """
    variants = {
        group_key(point.group)
        for sweep in sweeps
        for line in sweep.lines
        for point in line.points
        if group_key(point.group) != group_key(line.reference)
    }
    standing = [group for group in groups if group_key(group) not in variants]
    names = [{group.config_hash for group in standing if _name(group) == _name(own)} for own in standing]
    return [
        replace(group, variant="") if len(hashes) == 1 else group for group, hashes in zip(standing, names, strict=True)
    ]


def briefly_named(groups: Sequence[Group], standing: Sequence[Group], sweeps: Sequence[Sweep]) -> list[Group]:
    """All groups, those that stand for their method first, named as in their sweep where that says which is meant."""
    brief = {group_key(point.group): point.group for sweep in sweeps for line in sweep.lines for point in line.points}
    brief |= {group_key(group): group for group in standing}
    ordered = [*standing, *(group for group in groups if group_key(group) not in set(map(group_key, standing)))]
    renamed = [brief.get(group_key(group), group) for group in ordered]
    hashes: dict[tuple[str, ...], set[str]] = defaultdict(set)
    for group in renamed:
        hashes[group.task, group.model, group.label].add(group.config_hash)
    return [
        new if len(hashes[new.task, new.model, new.label]) == 1 else old
        for new, old in zip(renamed, ordered, strict=True)
    ]


def _name(group: Group) -> tuple[str, ...]:
    return (group.task, group.method, group.reward, group.model, group.recipe)


def sweep_csv(sweep: Sweep) -> str:
    """The plotted points; values as fractions of 1."""
    return csv_text(CSV_COLUMNS, (_csv_cells(sweep, point) for line in sweep.lines for point in line.points))


def _csv_cells(sweep: Sweep, point: SweepPoint) -> list[str]:
    group, row = point.group, point.row
    head = [group.task, method_name(group.method), group.reward, group.model, sweep.metric, sweep.key]
    interval = (row.interval.low, row.interval.high) if row.interval else (None, None)
    values = (exact(value) for value in (point.x, row.value, *interval))
    return [*head, str(point.setting), *values, row.over, str(row.n)]


def _alike(groups: Sequence[Group], key: str) -> list[list[Group]]:
    """Groups that differ in `key` alone, where it has several values among them."""
    buckets: dict[str, list[Group]] = defaultdict(list)
    for group in groups:
        settings = group.members[0].run.settings
        if key in settings and group.lasts:
            rest = {name: value for name, value in settings.items() if name not in (key, *OUTSIDE_HASH)}
            protocol = group.protocol
            decoding = json.loads(protocol.decoding)
            if key == NUM_STEPS:
                decoding.pop("num_steps", None)
            same = [group.task, group.method, group.reward, group.model, group.recipe, protocol.data, protocol.split]
            buckets[json.dumps([*same, protocol.items_sha256, decoding, rest], sort_keys=True, default=str)].append(
                group
            )
    return [bucket for bucket in buckets.values() if len(set(map(_sortable_by(key), bucket))) > 1]


def _setting(group: Group, key: str) -> Any:
    return group.members[0].run.settings[key]


def _sortable_by(key: str) -> Callable[[Group], str]:
    return lambda group: json.dumps(_setting(group, key), default=str)


def _named(group: Group, key: str) -> Group:
    """The group, told from the others of its line by the key alone."""
    return replace(group, variant=f"{key.rpartition('.')[2]}={_setting(group, key)}")


def _line(groups: Sequence[Group], key: str, metric: str) -> SweepLine | None:
    points = [
        SweepPoint(group=group, setting=_setting(group, key), x=_x(group, key, place), row=row)
        for place, group in enumerate(_named(group, key) for group in sorted(groups, key=_sortable_by(key)))
        if (row := make_row(group, metric)) is not None
    ]
    if len(points) < 2:
        return None
    reference = min((point.group for point in points), key=lambda group: len(overrides(group.members[0].run)))
    return SweepLine(points=tuple(sorted(points, key=lambda point: point.x)), reference=reference)


def _x(group: Group, key: str, place: int) -> float:
    setting = _setting(group, key)
    if key == NUM_STEPS:
        return mean([record.nfe for record in group.lasts])
    is_number = isinstance(setting, int | float) and not isinstance(setting, bool)
    return float(setting) if is_number else float(place)
