"""Pairs of methods on the same items: who is above whom, and how sure that is.

Two questions, two answers. Do these trained models differ on items of this kind? McNemar's exact test on the
verdicts of the shared items (with several seeds: items as the unit, verdicts summed over seeds), adjusted after
Holm for the number of pairs. Do the methods differ over seeds? Student's t of the difference paired by seed, adjusted
in the same way. A difference is called one only where both say so.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import combinations
from pathlib import Path
from typing import Any

from harness.records.jsonl import RecordError, read_samples
from harness.records.schema import EvalRecord
from harness.report.collect import Run
from harness.report.groups import Group, Member
from harness.report.labels import DASH, data_name, headline_metric, metric_name, points, task_name
from harness.report.statistics import Interval, holm, mean, paired_t_test, seed_interval, sign_flip_test
from harness.report.tables import Column, Table

LEVEL = 0.05
ALL_PAIRS_UP_TO = 8
WITHIN = "within noise"
NOTE_ITEMS = (
    "p: exact, on the verdicts of the shared items; with one seed McNemar's test, with several the item is the unit. "
    "It is about these trained models and says nothing about other seeds. Holm: adjusted for the number of pairs."
)
NOTE_SEEDS = (
    "Difference: first less second, paired by seed; its interval (Student t) is over seeds, needs two, and is that of "
    "the pair alone. A difference counts where both adjusted p-values are below 0.05; as a single pair where that over "
    "items is and the interval leaves out 0; else it is within noise."
)


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
    adjusted: float | None
    seed_p: float | None
    seed_adjusted: float | None
    reason: str

    @property
    def verdict(self) -> str:
        """Which group is above, or why that is not said."""
        if self.adjusted is None:
            return self.reason
        if self.adjusted >= LEVEL:
            return WITHIN
        if self.interval is None:
            return f"{self._above.label} above with this seed; other seeds unknown"
        if self.is_clear:
            return f"{self._above.label} above"
        return f"{self._above.label} above as a single pair" if self.is_clear_alone else f"{WITHIN} of the seeds"

    @property
    def is_clear(self) -> bool:
        """Whether items and seeds both tell the groups apart, each adjusted for the number of pairs."""
        chances = (self.adjusted, self.seed_adjusted)
        return all(chance is not None and chance < LEVEL for chance in chances)

    @property
    def is_clear_alone(self) -> bool:
        """Whether the items do, adjusted, and the seeds would if this were the only pair."""
        chances = (self.adjusted, self.seed_p)
        return all(chance is not None and chance < LEVEL for chance in chances)

    @property
    def sentence(self) -> str:
        """`EGSPO-SA above ESPO by 28.5 points`."""
        below = self.second if self.difference > 0 else self.first
        return f"{self._above.label} above {below.label} by {points(abs(self.difference)).removeprefix('+')} points"

    @property
    def _above(self) -> Group:
        return self.first if self.difference > 0 else self.second


@dataclass(frozen=True, kw_only=True)
class Comparisons:
    """All pairs of one task, model and protocol, for one metric."""

    task: str
    model: str
    metric: str
    protocol: str
    data: str
    pairs: tuple[Comparison, ...]
    best_only: bool


def compare(groups: Sequence[Group], *, headline: str | None = None) -> list[Comparisons]:
    """The pairs of every task, model and protocol with two groups, by the headline metric at the last checkpoint."""
    together: dict[Any, list[Group]] = defaultdict(list)
    for group in groups:
        if group.lasts:
            together[(group.task, group.model, group.protocol)].append(group)
    verdicts = Verdicts()
    return [_compare(own, headline, verdicts) for _, own in sorted(together.items()) if len(own) > 1]


class Verdicts:
    """Reads each samples file once."""

    def __init__(self) -> None:
        self._read: dict[tuple[Path, str], Mapping[str, bool] | str] = {}

    def of(self, run: Run, record: EvalRecord, metric: str) -> Mapping[str, bool] | str:
        """Item id to right or wrong; a sentence where there are none."""
        if record.samples_file is None or Path(record.samples_file).name != record.samples_file:
            return "no samples kept"
        key = (run.folder / record.samples_file, metric)
        if key not in self._read:
            self._read[key] = read_verdicts(*key)
        return self._read[key]


def read_verdicts(path: Path, metric: str) -> Mapping[str, bool] | str:
    """Item id to verdict of a samples file; a sentence where it cannot be read or `metric` is no verdict."""
    if not path.is_file():
        return "no samples kept"
    found: dict[str, bool] = {}
    try:
        for row in read_samples(path):
            ratio = row["metrics"][metric]
            if ratio["whole"] != 1 or ratio["part"] not in (0, 1) or row["id"] in found:
                return f"{metric_name(metric)} is no verdict per item"
            found[row["id"]] = ratio["part"] == 1
    except (RecordError, KeyError, TypeError):
        return "samples cannot be read"
    return found


def _compare(groups: Sequence[Group], headline: str | None, verdicts: Verdicts) -> Comparisons:
    metric = headline_metric({name for group in groups for record in group.lasts for name in record.metrics}, headline)
    measured = [group for group in groups if any(_last(member, metric) for member in group.members)]
    best_only = len(measured) > ALL_PAIRS_UP_TO
    pairs = [_pair(first, second, metric, verdicts) for first, second in _pairs(measured, metric, best_only=best_only)]
    items = iter(holm([pair.p for pair in pairs if pair.p is not None]))
    seeds = iter(holm([pair.seed_p for pair in pairs if pair.seed_p is not None]))
    return Comparisons(
        task=groups[0].task,
        model=groups[0].model,
        metric=metric,
        protocol=groups[0].protocol.text,
        data=groups[0].protocol.data,
        pairs=tuple(
            replace(
                pair,
                adjusted=None if pair.p is None else next(items),
                seed_adjusted=None if pair.seed_p is None else next(seeds),
            )
            for pair in pairs
        ),
        best_only=best_only,
    )


def _pairs(groups: Sequence[Group], metric: str, *, best_only: bool) -> Iterable[tuple[Group, Group]]:
    if not best_only:
        return combinations(groups, 2)
    best = max(groups, key=lambda group: _mean_last(group, metric))
    return ((best, group) for group in groups if group is not best)


def _mean_last(group: Group, metric: str) -> float:
    return mean([record.metrics[metric].value for member in group.members if (record := _last(member, metric))])


def _last(member: Member, metric: str) -> EvalRecord | None:
    record = member.at("last")
    return record if record is not None and metric in record.metrics and record.metrics[metric].whole else None


@dataclass(frozen=True, kw_only=True)
class _SeedPair:
    """Two runs of one seed. gap: first less second. ours, theirs: verdicts, or why there are none."""

    seed: int
    gap: float
    ours: Mapping[str, bool] | str
    theirs: Mapping[str, bool] | str

    @property
    def differences(self) -> Mapping[str, int] | str:
        """Item id to 1 where the first alone is right, -1 where the second alone is, else 0; or why there are none."""
        if isinstance(self.ours, str) or isinstance(self.theirs, str):
            return self.ours if isinstance(self.ours, str) else str(self.theirs)
        if self.ours.keys() != self.theirs.keys():
            return "items differ"
        return {item: right - self.theirs[item] for item, right in self.ours.items()}


def _seed_pairs(first: Group, second: Group, metric: str, verdicts: Verdicts) -> list[_SeedPair]:
    others = {member.run.identity.seed: member for member in second.members}
    found = []
    for member in first.members:
        other = others.get(member.run.identity.seed)
        ours, theirs = _last(member, metric), _last(other, metric) if other else None
        if other and ours and theirs:
            pair = _SeedPair(
                seed=member.run.identity.seed,
                gap=ours.metrics[metric].value - theirs.metrics[metric].value,
                ours=verdicts.of(member.run, ours, metric),
                theirs=verdicts.of(other.run, theirs, metric),
            )
            found.append(pair)
    return found


def _pair(first: Group, second: Group, metric: str, verdicts: Verdicts) -> Comparison:
    shared = _seed_pairs(first, second, metric, verdicts)
    reasons = [pair.differences for pair in shared if isinstance(pair.differences, str)]
    per_seed = [pair.differences for pair in shared if not isinstance(pair.differences, str)]
    per_item: dict[str, int] = defaultdict(int)
    for own in per_seed:
        for item, difference in own.items():
            per_item[item] += difference
    reason = reasons[0] if reasons else "" if shared else "no shared seed"
    signs = [difference for own in per_seed for difference in own.values()]
    gaps = [pair.gap for pair in shared]
    return Comparison(
        first=first,
        second=second,
        seeds=tuple(pair.seed for pair in shared),
        items=len(per_item),
        difference=mean(gaps) if gaps else float("nan"),
        interval=seed_interval(gaps),
        only_first=signs.count(1),
        only_second=signs.count(-1),
        p=None if reason else sign_flip_test(list(per_item.values())),
        adjusted=None,
        seed_p=paired_t_test(gaps),
        seed_adjusted=None,
        reason=reason,
    )


def comparison_table(found: Comparisons) -> Table:
    """The pairs as a table."""
    titles = ("First", "Second", "Difference, points", "Seeds", "Items", "Only first right", "Only second right")
    columns = (*titles, "p, items", "p, items (Holm)", "p, seeds (Holm)", "Verdict")
    texts = {"First", "Second", "Verdict"}
    where = f"{found.model} model, {data_name(found.data)}"
    best = (
        ["Many groups: each is compared with the highest alone, chosen on the same items."] if found.best_only else []
    )
    return Table(
        title=f"{task_name(found.task)}, {metric_name(found.metric)}: pairs of methods, {where}",
        columns=tuple(Column(title=title, numeric=title not in texts) for title in columns),
        cells=tuple(_cells(pair) for pair in found.pairs),
        notes=(f"Evaluated on: {found.protocol}.", NOTE_SEEDS, NOTE_ITEMS, *best),
        supports=tuple(_supports(found.pairs)),
    )


def _cells(pair: Comparison) -> tuple[str, ...]:
    span = f" [{points(pair.interval.low)}, {points(pair.interval.high)}]" if pair.interval else ""
    counts = (str(pair.only_first), str(pair.only_second)) if pair.p is not None else (DASH, DASH)
    return (
        pair.first.label,
        pair.second.label,
        f"{points(pair.difference)}{span}",
        str(len(pair.seeds)),
        f"{pair.items:,}" if pair.items else DASH,
        *counts,
        _chance(pair.p),
        _chance(pair.adjusted),
        _chance(pair.seed_adjusted),
        pair.verdict,
    )


def _chance(p: float | None) -> str:
    if p is None:
        return DASH
    return "<0.001" if p < 0.001 else f"{p:.3f}"


def _supports(pairs: Sequence[Comparison]) -> list[str]:
    """One sentence for each strength of evidence that occurs."""
    clear = [pair for pair in pairs if pair.is_clear]
    alone = [pair for pair in pairs if pair.is_clear_alone and not pair.is_clear]
    other = [f"{pair.first.label} and {pair.second.label}" for pair in pairs if pair not in clear and pair not in alone]
    found = {
        "Told apart on the items and over seeds, adjusted for the number of pairs": [pair.sentence for pair in clear],
        "Told apart over seeds only as a single pair": [pair.sentence for pair in alone],
        "Not told apart by items and seeds together": other,
    }
    return [f"{start}: {'; '.join(texts)}." for start, texts in found.items() if texts]
