"""What claims are about: a number of each seed of a group, or of two groups together."""

from __future__ import annotations

import json
import math
from collections.abc import Callable, Mapping, Sequence

from harness.report.analysis.budget import SHARES, SMALLEST_RISE, reach, spots
from harness.report.analysis.checkpoints import chosen_on_validation
from harness.report.analysis.curves import CURVE_AXES, UPDATES, Axis
from harness.report.analysis.effects import BySeed, Costs
from harness.report.analysis.groups import Group, Member, measures
from harness.report.analysis.statistics import mean
from harness.report.read.records import read_updates

SHARE = SHARES[1]
"""Where a level lies between the base and the last value of the side that a claim compares with."""
STEPS = "num_steps"

AXES: Mapping[str, Axis] = {axis.column: axis for axis in CURVE_AXES}


def last(group: Group, metric: str) -> dict[int, float]:
    """At the last checkpoint."""
    found = {member.run.identity.seed: member.at("last", metric) for member in group.members}
    return {seed: record.metrics[metric].value for seed, record in found.items() if record is not None}


def drop(group: Group, metric: str) -> dict[int, float]:
    """How far the last checkpoint lies below the highest of all that were evaluated, the base among them."""
    ends = last(group, metric)
    tops = {member.run.identity.seed: max(_values(member, metric), default=math.nan) for member in group.members}
    return {seed: tops[seed] - end for seed, end in ends.items()}


def _values(member: Member, metric: str) -> list[float]:
    return [record.metrics[metric].value for record in member.records if measures(record, metric)]


def position(group: Group) -> dict[int, float]:
    """The mean place of the chosen steps, all rollouts together, from 0, the first, to 1: steps that are chosen evenly
    come to 0.5. Seeds whose method chooses none are left out."""
    found = {}
    for member in group.members:
        rollouts = [one.chosen_steps for one in read_updates(member.run) if one.first_of_rollout and one.chosen_steps]
        weights = [(count, (step + 0.5) / len(counts)) for counts in rollouts for step, count in enumerate(counts)]
        total = math.fsum(count for count, _ in weights)
        if total > 0:
            found[member.run.identity.seed] = math.fsum(count * place for count, place in weights) / total
    return found


def fewest_steps(group: Group, groups: Sequence[Group], metric: str) -> Group | None:
    """The same runs decoded with the fewest steps that they were evaluated at; None where these are not fewer."""
    decoding = json.loads(group.protocol.decoding)
    alike = [
        other
        for other in groups
        if (other.name, other.config_hash) == (group.name, group.config_hash)
        and (other.protocol.data, other.protocol.split, other.protocol.items_sha256)
        == (group.protocol.data, group.protocol.split, group.protocol.items_sha256)
        and json.loads(other.protocol.decoding) == {**decoding, STEPS: json.loads(other.protocol.decoding).get(STEPS)}
        and last(other, metric)
    ]
    fewest = min(alike, key=lambda other: json.loads(other.protocol.decoding).get(STEPS) or math.inf, default=group)
    return fewest if fewest.protocol != group.protocol else None


def level(reference: Group, metric: str, seeds: Sequence[int]) -> float | None:
    """Three quarters of the way from the base to the last value of the reference, means over `seeds`; None where it
    does not rise by two points."""
    curves = [spots(member, metric, UPDATES) for member in reference.members if member.run.identity.seed in seeds]
    whole = [curve for curve in curves if len(curve) > 1]
    if not whole:
        return None
    start, end = mean([curve[0].value for curve in whole]), mean([curve[-1].value for curve in whole])
    return start + SHARE * (end - start) if end - start >= SMALLEST_RISE else None


def costs(group: Group, metric: str, axis: Axis, height: float) -> Costs:
    """What each seed pays along `axis` to come to `height`. Seeds whose costs were not recorded, or that were evaluated
    once alone, are left out."""
    found = {}
    for member in group.members:
        recorded = [getattr(record, axis.column) is not None for record in member.records if measures(record, metric)]
        if len(recorded) > 1 and all(recorded):
            found[member.run.identity.seed] = reach(spots(member, metric, axis), height)
    return found


def lost(full: Group, fewer: Group, metric: str) -> dict[int, float]:
    """What fewer steps take from the last checkpoint's value."""
    whole, part = last(full, metric), last(fewer, metric)
    return {seed: whole[seed] - part[seed] for seed in whole if seed in part}


PER_SEED: Mapping[str, Callable[[Group, str], BySeed]] = {"last": last, "chosen": chosen_on_validation, "drop": drop}
"""Measures whose difference between two groups is an effect."""
