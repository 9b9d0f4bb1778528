"""Ablations: groups whose settings differ in one key alone, found among the runs that happen to be there."""

from __future__ import annotations

import json
from collections.abc import Container, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from harness.report.analysis.groups import DECODING, OUTSIDE_HASH, Group, group_by, overrides
from harness.report.analysis.points import Points, make_points
from harness.report.analysis.rows import MetricRows, Row, make_row
from harness.report.analysis.statistics import mean
from harness.report.labels import ablation_keys, method_name

NUM_STEPS = f"{DECODING}num_steps"
COLUMNS = "task method reward model metric key value x mean low high interval n"


@dataclass(frozen=True, kw_only=True)
class SweepPoint:
    """One value of the key. x: its place on the axis: the value itself, forward passes for the steps."""

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
    """The lines over one key that share task, model, items and metric. on: which items, where they are not the test
    items."""

    key: str
    task: str
    model: str
    metric: str
    lines: tuple[SweepLine, ...]
    on: str = ""

    @property
    def points(self) -> list[SweepPoint]:
        """The points of all lines."""
        return [point for line in self.lines for point in line.points]

    @property
    def is_choice(self) -> bool:
        """Whether the values are names, which have no place on an axis."""
        return all(isinstance(point.setting, str) for point in self.points)

    @property
    def rows(self) -> MetricRows:
        """The rows of all points, for a table."""
        return MetricRows(task=self.task, metric=self.metric, rows=tuple(point.row for point in self.points))

    @property
    def title(self) -> str:
        """`method.num_selected`."""
        key = "accuracy against forward passes" if self.key == NUM_STEPS else self.key
        return f"{key}, {self.on}" if self.on else key


def find_sweeps(groups: Sequence[Group], metrics: dict[str, str]) -> list[Sweep]:
    """Every key of which several values were run, all else equal. metrics: headline metric by task.

    The keys are those that a method names as its ablations, and the number of steps of the evaluation.
    """
    sweeps = []
    for key in dict.fromkeys([*(key for group in groups for key in ablation_keys(group.method)), NUM_STEPS]):
        lines = [line for alike in _alike(groups, key) if (line := _line(alike, key, metrics[alike[0].task]))]
        for (task, model, *_), own in sorted(group_by(lines, _items).items()):
            sweeps.append(Sweep(key=key, task=task, model=model, metric=metrics[task], lines=tuple(own)))
    return sweeps


def _items(line: SweepLine) -> tuple[str, ...]:
    group, protocol = line.reference, line.reference.protocol
    return (group.task, group.model, protocol.data, protocol.split, protocol.items_sha256)


def without_variants(
    groups: Sequence[Group], sweeps: Sequence[Sweep], passed_over: Container[Path] = frozenset()
) -> list[Group]:
    """The groups that stand for their method: variants that a sweep shows next to its reference are left out, and so
    are those of the run folders `passed_over`, which a search did not choose.

    One that is then alone of its name needs no variant behind it.
    """
    lines = [line for sweep in sweeps for line in sweep.lines]
    shown = {point.group.key for line in lines for point in line.points if point.group.key != line.reference.key}
    standing = [
        group
        for group in groups
        if group.key not in shown and not any(member.run.folder in passed_over for member in group.members)
    ]
    hashes = {
        name: {group.config_hash for group in own} for name, own in group_by(standing, lambda group: group.name).items()
    }
    decodings = {
        runs: {group.protocol.decoding for group in own}
        for runs, own in group_by(standing, lambda group: (*group.name, group.config_hash)).items()
    }
    return [
        replace(
            group,
            variant=group.variant if len(hashes[group.name]) > 1 else "",
            decoded=group.decoded if len(decodings[*group.name, group.config_hash]) > 1 else "",
        )
        for group in standing
    ]


def briefly_named(groups: Sequence[Group], standing: Sequence[Group], sweeps: Sequence[Sweep]) -> list[Group]:
    """All groups, those that stand for their method first, named as in their sweep where that is unambiguous."""
    brief = {point.group.key: point.group for sweep in sweeps for point in sweep.points}
    brief |= {group.key: group for group in standing}
    first = {group.key for group in standing}
    ordered = [*standing, *(group for group in groups if group.key not in first)]
    renamed = [brief.get(group.key, group) for group in ordered]
    called = group_by(renamed, lambda group: (group.task, group.model, group.label))
    unique = [len({other.made_by for other in called[group.task, group.model, group.label]}) == 1 for group in renamed]
    return [new if alone else old for new, old, alone in zip(renamed, ordered, unique, strict=True)]


def _alike(groups: Sequence[Group], key: str) -> list[list[Group]]:
    """Groups that differ in `key` alone, where it has several values among them."""
    having = [
        group
        for group in groups
        if key in group.settings and group.lasts and key in (*ablation_keys(group.method), NUM_STEPS)
    ]
    buckets = group_by(having, lambda group: _all_but(group, key))
    return [bucket for bucket in buckets.values() if len({_text(group.settings[key]) for group in bucket}) > 1]


def _all_but(group: Group, key: str) -> tuple[object, ...]:
    rest = {name: value for name, value in group.settings.items() if name not in (key, *OUTSIDE_HASH)}
    decoding = json.loads(group.protocol.decoding)
    if key == NUM_STEPS:
        decoding.pop("num_steps", None)
    return (*group.name, replace(group.protocol, decoding=_text(decoding)), _text(rest))


def _text(value: Any) -> str:
    return json.dumps(value, sort_keys=True, default=str)


def _line(groups: Sequence[Group], key: str, metric: str) -> SweepLine | None:
    """A line whose groups are named by the key alone; None below two points."""
    ordered = sorted(groups, key=lambda group: _text(group.settings[key]))
    named = [replace(group, variant=f"{key.rpartition('.')[2]}={group.settings[key]}", decoded="") for group in ordered]
    points = [
        SweepPoint(group=group, setting=group.settings[key], x=_x(group, key, place), row=row)
        for place, group in enumerate(named)
        if (row := make_row(group, metric)) is not None
    ]
    if len(points) < 2:
        return None
    reference = min(
        (point.group for point in points),
        key=lambda group: (len(overrides(group.members[0].run)), not group.is_decoded_as_configured),
    )
    return SweepLine(points=tuple(sorted(points, key=lambda point: point.x)), reference=reference)


def _x(group: Group, key: str, place: int) -> float:
    setting = group.settings[key]
    if key == NUM_STEPS:
        return mean([record.nfe for record in group.lasts if record.nfe is not None])
    is_number = isinstance(setting, int | float) and not isinstance(setting, bool)
    return float(setting) if is_number else float(place)


def sweep_points(sweep: Sweep) -> Points:
    """What is plotted; values as fractions of 1."""
    return make_points(COLUMNS, (_record(sweep, point) for point in sweep.points))


def _record(sweep: Sweep, point: SweepPoint) -> dict[str, Any]:
    own = {"method": method_name(point.group.method), "key": sweep.key, "value": str(point.setting), "x": point.x}
    return {**point.row.record, **own}
