"""Pairs of methods on the same items: who is above whom, and how sure that is.

Two questions, two answers. Do these trained models differ on items of this kind? McNemar's exact test on the
verdicts of the shared items (with several seeds: items as the unit, verdicts summed over seeds), adjusted after
Holm for the number of pairs. Do the methods differ over seeds? Student's t of the difference paired by seed, adjusted
in the same way. A difference is called one only where both say so.
"""

from __future__ import annotations

import enum
import functools
from collections import Counter
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, replace
from itertools import combinations
from pathlib import Path

from harness.records.schema import EvalRecord
from harness.report.analysis.groups import Group, Protocol, group_by, metrics_of
from harness.report.analysis.statistics import Interval, holm, mean, paired_t_test, seed_interval, sign_flip_test
from harness.report.labels import headline_metric
from harness.report.read.records import Verdicts, read_verdicts

LEVEL = 0.05
ALL_PAIRS_UP_TO = 8

_Read = Callable[[Path, str | None, str], Verdicts]


class Outcome(enum.Enum):
    """What the tests of a pair say. Every table and every sentence about a pair takes it from here."""

    CLEAR = "items and seeds tell the groups apart, each adjusted for the number of pairs"
    ALONE = "the items do, adjusted, and the seeds would if this were the only pair"
    ONE_SEED = "the items do, adjusted; there is one seed"
    SEEDS_DISAGREE = "the items do, adjusted, and the seeds do not"
    WITHIN_NOISE = "the items do not"
    NOT_TESTED = "the verdicts cannot be compared"


@dataclass(frozen=True, kw_only=True)
class Comparison:
    """Two groups at their last checkpoints. difference: mean over the shared seeds, a fraction of 1.

    only_first, only_second: verdicts, summed over seeds, that one group alone got right. p and adjusted are over the
    items and None where the verdicts cannot be compared; `reason` tells why. seed_p and seed_adjusted are over the
    seeds and None below two.
    """

    first: Group
    second: Group
    seeds: tuple[int, ...]
    items: int
    difference: float
    interval: Interval | None
    only_first: int
    only_second: int
    p: float | None
    seed_p: float | None
    reason: str
    adjusted: float | None = None
    seed_adjusted: float | None = None

    @property
    def above(self) -> Group:
        """The group with the higher value."""
        return self.first if self.difference > 0 else self.second

    @property
    def below(self) -> Group:
        """The other one."""
        return self.second if self.difference > 0 else self.first

    @property
    def outcome(self) -> Outcome:
        """What the two tests say together."""
        if self.adjusted is None:
            return Outcome.NOT_TESTED
        if self.adjusted >= LEVEL:
            return Outcome.WITHIN_NOISE
        if self.seed_p is None or self.seed_adjusted is None:
            return Outcome.ONE_SEED
        if self.seed_adjusted < LEVEL:
            return Outcome.CLEAR
        return Outcome.ALONE if self.seed_p < LEVEL else Outcome.SEEDS_DISAGREE

    @property
    def tells_apart(self) -> bool:
        """Whether one group is called above the other, in whatever strength."""
        return self.outcome in (Outcome.CLEAR, Outcome.ALONE, Outcome.ONE_SEED)

    def seen_from(self, group: Group) -> Comparison:
        """The same comparison with `group`, one of the two, as the first."""
        if self.first.key == group.key:
            return self
        turned = Interval(low=-self.interval.high, high=-self.interval.low) if self.interval else None
        return replace(
            self,
            first=self.second,
            second=self.first,
            difference=-self.difference,
            interval=turned,
            only_first=self.only_second,
            only_second=self.only_first,
        )


@dataclass(frozen=True, kw_only=True)
class Comparisons:
    """All pairs of one task, model and protocol, for one metric. best_only: each group is compared with the highest."""

    task: str
    model: str
    protocol: Protocol
    metric: str
    pairs: tuple[Comparison, ...]
    best_only: bool


def compare(groups: Sequence[Group], *, headline: str | None = None) -> list[Comparisons]:
    """The pairs of every task, model and protocol with two groups, by the headline metric at the last checkpoint."""
    together = group_by((group for group in groups if group.lasts), lambda group: group.conditions)
    read = functools.cache(read_verdicts)
    return [_compare(own, headline, read) for _, own in sorted(together.items()) if len(own) > 1]


def _compare(groups: Sequence[Group], headline: str | None, read: _Read) -> Comparisons:
    metric = headline_metric(metrics_of(groups), headline)
    measured = [group for group in groups if _lasts(group, metric)]
    best_only = len(measured) > ALL_PAIRS_UP_TO
    pairs = [_pair(first, second, metric, read) for first, second in _pairs(measured, metric, best_only=best_only)]
    adjusted = holm([pair.p for pair in pairs])
    seed_adjusted = holm([pair.seed_p for pair in pairs])
    task, model, protocol = groups[0].conditions
    return Comparisons(
        task=task,
        model=model,
        protocol=protocol,
        metric=metric,
        pairs=tuple(
            replace(pair, adjusted=items, seed_adjusted=seeds)
            for pair, items, seeds in zip(pairs, adjusted, seed_adjusted, strict=True)
        ),
        best_only=best_only,
    )


def _pairs(groups: Sequence[Group], metric: str, *, best_only: bool) -> Iterable[tuple[Group, Group]]:
    if not best_only:
        return combinations(groups, 2)
    best = max(groups, key=lambda group: _mean_last(group, metric))
    return ((best, group) for group in groups if group is not best)


def _mean_last(group: Group, metric: str) -> float:
    return mean([record.metrics[metric].value for _, record in _lasts(group, metric).values()])


def _lasts(group: Group, metric: str) -> dict[int, tuple[Path, EvalRecord]]:
    """Seed to run folder and evaluation of the last checkpoint."""
    return {
        member.run.identity.seed: (member.run.folder, record)
        for member in group.members
        if (record := member.at("last", metric))
    }


def _pair(first: Group, second: Group, metric: str, read: _Read) -> Comparison:
    ours, theirs = _lasts(first, metric), _lasts(second, metric)
    seeds = tuple(seed for seed in ours if seed in theirs)
    values = [[lasts[seed][1].metrics[metric].value for seed in seeds] for lasts in (ours, theirs)]
    gaps = [our - their for our, their in zip(*values, strict=True)]
    verdicts = [
        [read(folder, record.samples_file, metric) for folder, record in (lasts[seed] for seed in seeds)]
        for lasts in (ours, theirs)
    ]
    differences = [_differences(our, their) for our, their in zip(*verdicts, strict=True)]
    reason = next((found for found in differences if isinstance(found, str)), "" if seeds else "no shared seed")
    per_item: Counter[str] = Counter()
    signs: Counter[int] = Counter()
    for found in differences:
        if not isinstance(found, str):
            per_item.update(found)
            signs.update(found.values())
    return Comparison(
        first=first,
        second=second,
        seeds=seeds,
        items=len(per_item),
        difference=mean(gaps) if gaps else float("nan"),
        interval=seed_interval(gaps),
        only_first=signs[1],
        only_second=signs[-1],
        p=None if reason else sign_flip_test(list(per_item.values())),
        seed_p=paired_t_test(gaps),
        reason=reason,
    )


def _differences(ours: Verdicts, theirs: Verdicts) -> dict[str, int] | str:
    """Item id to 1 where the first alone is right, -1 where the second alone is, else 0; or why there are none."""
    if isinstance(ours, str):
        return ours
    if isinstance(theirs, str):
        return theirs
    if ours.keys() != theirs.keys():
        return "items differ"
    return {item: right - theirs[item] for item, right in ours.items()}
