"""Checkpoints evaluated on the same items: paired tests of their differences, and what the machine alone changes.

A test allows for verdicts that change either way, whatever changes them. It does not see that another batch size or
dtype shifts a checkpoint as a whole; for that a difference is held against the noise floor, the most that one
checkpoint moved between the settings it was evaluated at. The floor is what was seen, not a bound.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import combinations
from typing import Any, Self

from harness.records.schema import EvalRecord
from harness.report.analysis.comparisons import LEVEL
from harness.report.analysis.groups import group_by, protocol_of
from harness.report.analysis.statistics import Interval, holm, paired_interval, sign_flip_test

DECIMALS = 12
"""Of differences: equal ones must come out equal, and the last bits of fractions depend on what is subtracted."""


@dataclass(frozen=True, kw_only=True)
class Outcomes:
    """An evaluation, item by item. parts, wholes: of its items for `metric`, in their order; 0 or 1 of 1 for
    verdicts."""

    record: EvalRecord
    metric: str
    parts: tuple[float, ...]
    wholes: tuple[float, ...]

    @classmethod
    def of(cls, record: EvalRecord, samples: Sequence[Mapping[str, Any]]) -> Self:
        """By the headline metric: the first of the record."""
        metric = next(iter(record.metrics))
        ratios = [sample["metrics"][metric] for sample in samples]
        return cls(
            record=record,
            metric=metric,
            parts=tuple(ratio["part"] for ratio in ratios),
            wholes=tuple(ratio["whole"] for ratio in ratios),
        )

    @property
    def value(self) -> float:
        """The metric, a fraction of 1."""
        return self.record.metrics[self.metric].value


@dataclass(frozen=True, kw_only=True)
class Gap:
    """Two evaluations of the same items. difference: first minus second, a fraction of 1. only_first, only_second:
    items on which that one alone is right, or earns more. interval: of the difference, over items. p: exact and
    two-sided, by `sign_flip_test`. Both are None where items have another weight in the second, p also where an item's
    part is no whole number."""

    difference: float
    only_first: int
    only_second: int
    interval: Interval | None
    p: float | None

    @classmethod
    def between(cls, first: Outcomes, second: Outcomes) -> Self:
        """Raises ValueError for different numbers of items."""
        steps = [ours - theirs for ours, theirs in zip(first.parts, second.parts, strict=True)]
        is_paired = first.wholes == second.wholes
        is_whole = is_paired and all(float(step).is_integer() for step in steps)
        return cls(
            difference=round(first.value - second.value, DECIMALS),
            only_first=sum(step > 0 for step in steps),
            only_second=sum(step < 0 for step in steps),
            interval=paired_interval([*zip(steps, first.wholes, strict=True)])
            if is_paired and any(first.wholes)
            else None,
            p=sign_flip_test([int(step) for step in steps]) if is_whole else None,
        )

    @property
    def changed(self) -> int:
        """Items on which the two differ."""
        return self.only_first + self.only_second


@dataclass(frozen=True, kw_only=True)
class Noise:
    """What other settings change of one checkpoint: the most over pairs of settings. flipped: items. moved: the
    metric, a fraction of 1."""

    flipped: int
    moved: float

    @classmethod
    def largest(cls, found: Sequence[Noise]) -> Noise:
        """The most of each."""
        return cls(flipped=max(one.flipped for one in found), moved=max(one.moved for one in found))


@dataclass(frozen=True, kw_only=True)
class Measured:
    """A checkpoint on the items of a task. evaluations: the one that counts, then those at other batch sizes and
    dtypes, where noise was measured."""

    label: str
    task: str
    evaluations: tuple[Outcomes, ...]

    @property
    def main(self) -> Outcomes:
        """The evaluation that counts."""
        return self.evaluations[0]

    @property
    def completion_length(self) -> int:
        """Tokens."""
        return int(self.main.record.decoding["completion_length"])

    @property
    def noise(self) -> Noise | None:
        """None where it was evaluated at one setting alone."""
        gaps = [Gap.between(first, second) for first, second in combinations(self.evaluations, 2)]
        return Noise.largest([Noise(flipped=gap.changed, moved=abs(gap.difference)) for gap in gaps]) if gaps else None


@dataclass(frozen=True, kw_only=True)
class Pair:
    """Two checkpoints on the same items. adjusted: p after Holm for all tests of the comparison."""

    first: Measured
    second: Measured
    gap: Gap
    adjusted: float | None = None

    @property
    def noise(self) -> Noise | None:
        """The larger of the two; None where it was not measured."""
        found = [one.noise for one in (self.first, self.second) if one.noise]
        return Noise.largest(found) if found else None

    @property
    def is_noise(self) -> bool:
        """Whether there is a difference, and it is not above the noise floor."""
        return self.noise is not None and 0 < abs(self.gap.difference) <= self.noise.moved

    @property
    def is_clear(self) -> bool:
        """Whether it is above the noise floor, as far as that was measured, and the items tell the two apart."""
        return not self.is_noise and self.adjusted is not None and self.adjusted < LEVEL

    @property
    def above(self) -> Measured:
        """The checkpoint with the higher value."""
        return self.first if self.gap.difference > 0 else self.second


def pairs_of(measured: Sequence[Measured], *, against_first: bool) -> tuple[Pair, ...]:
    """All pairs on each task and decoding, or the first checkpoint with each other one; one family of tests."""
    pairs = [
        Pair(first=first, second=second, gap=Gap.between(first.main, second.main))
        for own in group_by(measured, lambda one: (one.task, protocol_of(one.main.record))).values()
        for first, second in combinations(own, 2)
        if first is own[0] or not against_first
    ]
    adjusted = holm([pair.gap.p for pair in pairs])
    return tuple(replace(pair, adjusted=p) for pair, p in zip(pairs, adjusted, strict=True))
