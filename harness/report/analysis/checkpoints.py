"""Which checkpoint of a run is reported: the last one, or what other published choices make of the same run.

Every choice is made for each seed among the checkpoints that were evaluated, and stands for their value on the test
items. One that is made on these same items is optimistic: it takes luck with the items for a better checkpoint.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

from harness.records.schema import EvalRecord
from harness.records.values import is_count
from harness.report.analysis.groups import VALIDATION, Group, Member, group_by, latest, measures, protocol_of
from harness.report.analysis.points import listing
from harness.report.analysis.statistics import Interval, mean, seed_interval
from harness.report.read.runs import Run

Curve = Mapping[int, float]
"""Update to value, of the trained checkpoints of one seed."""


class NoChoiceError(Exception):
    """Why a seed has no checkpoint of a kind."""


@dataclass(frozen=True, kw_only=True)
class Chosen:
    """What a choice comes to. updates: of the chosen checkpoints, by seed. value: mean over the seeds, a fraction of 1;
    interval: over them. why: there is no value; empty where there is one."""

    updates: tuple[int, ...] = ()
    value: float | None = None
    interval: Interval | None = None
    why: str = ""


@dataclass(frozen=True, kw_only=True)
class Choices:
    """The published choices for the runs of a group. checkpoints: how many each seed has, trained ones alone.

    validation: the highest on the validation items, which `--keep best=validation` keeps. best: the highest on the test
    items, by the mean over the lengths where several were evaluated. best_per_length: at the group's own length.
    """

    group: Group
    checkpoints: tuple[int, ...]
    last: Chosen
    validation: Chosen
    best: Chosen
    best_per_length: Chosen


def make_choices(groups: Sequence[Group], metric: str) -> list[Choices]:
    """The choices for groups of one task; none where no run has two trained checkpoints."""
    trained = [group for group in groups if _members(group, metric)]
    families = group_by(trained, _apart_from_length).values()
    found = [_choices(group, family, metric) for family in families for group in family]
    return found if any(max(choices.checkpoints) > 1 for choices in found) else []


def chosen_on_validation(group: Group, metric: str) -> dict[int, float]:
    """Seed to the value of the checkpoint that is the highest on the validation items; seeds without one are left
    out."""
    found = {}
    for member in _members(group, metric):
        one = _chosen([member], metric, _on_validation(metric))
        if one.value is not None:
            found[member.run.identity.seed] = one.value
    return found


def _on_validation(metric: str) -> Callable[[Member], int]:
    return lambda member: _highest(_validation_curve(member.run, metric), "the validation items")


def _members(group: Group, metric: str) -> list[Member]:
    """Those whose last checkpoint is a trained one and was evaluated."""
    return [member for member in group.members if (last := member.at("last", metric)) and last.update]


def _apart_from_length(group: Group) -> tuple[object, ...]:
    """What the evaluations of the same runs at several lengths share: items, decoding and tokens per step."""
    protocol, decoding = group.protocol, json.loads(group.protocol.decoding)
    length, steps, _ = [decoding.pop(name, None) for name in ("completion_length", "num_steps", "block_length")]
    per_step = length / steps if is_count(length) and is_count(steps) and steps else f"{length} in {steps}"
    rest = json.dumps(decoding, sort_keys=True)
    return (group.name, group.config_hash, protocol.data, protocol.split, protocol.items_sha256, per_step, rest)


def _choices(group: Group, family: Sequence[Group], metric: str) -> Choices:
    """family: the group's runs at all lengths."""
    members = _members(group, metric)
    lengths = group_by((one for other in family for one in other.members), lambda one: one.run.folder)
    ways: dict[str, Callable[[Member], int]] = {
        "last": lambda member: max(_curve(member.records, metric)),
        "validation": _on_validation(metric),
        "best": lambda member: _best([_curve(one.records, metric) for one in lengths[member.run.folder]]),
        "best_per_length": lambda member: _best_at_length(_curve(member.records, metric), len(family)),
    }
    return Choices(
        group=group,
        checkpoints=tuple(len(_curve(member.records, metric)) for member in members),
        **{name: _chosen(members, metric, way) for name, way in ways.items()},
    )


def _chosen(members: Sequence[Member], metric: str, way: Callable[[Member], int]) -> Chosen:
    updates, values, reasons = [], [], dict[str, list[int]]()
    for member in members:
        curve = _curve(member.records, metric)
        try:
            update = way(member)
            if update not in curve:
                raise NoChoiceError(f"checkpoint {update} was not evaluated on these items")
        except NoChoiceError as error:
            reasons.setdefault(str(error), []).append(member.run.identity.seed)
        else:
            updates.append(update)
            values.append(curve[update])
    if reasons:
        told = [
            why if len(seeds) == len(members) else f"{why} (seed {listing(seeds)})" for why, seeds in reasons.items()
        ]
        return Chosen(why="; ".join(told))
    interval = seed_interval(values, lowest=0.0, highest=1.0)
    return Chosen(updates=tuple(updates), value=mean(values), interval=interval)


def _curve(records: Sequence[EvalRecord], metric: str) -> Curve:
    return {one.update: one.metrics[metric].value for one in records if one.update and measures(one, metric)}


def _validation_curve(run: Run, metric: str) -> Curve:
    """On the items and with the decoding that come first, as the run itself chooses what to keep."""
    records = [record for record in latest(run) if record.split == VALIDATION]
    return _curve(next(iter(group_by(records, protocol_of).values()), []), metric)


def _best(curves: Sequence[Curve]) -> int:
    shared = set.intersection(*map(set, curves))
    means = {update: mean([curve[update] for curve in curves]) for update in shared}
    return _highest(means, "the test items" if len(curves) == 1 else f"all {len(curves)} lengths")


def _best_at_length(curve: Curve, lengths: int) -> int:
    if lengths == 1:
        raise NoChoiceError("one length alone was evaluated")
    return _highest(curve, "the test items")


def _highest(curve: Curve, items: str) -> int:
    """The earliest of several."""
    if len(curve) < 2:
        raise NoChoiceError(f"{'one checkpoint alone' if curve else 'no checkpoint'} was evaluated on {items}")
    return max(sorted(curve), key=curve.__getitem__)
