"""One row per group: the value at the last checkpoint with its interval, the gain, and what it cost.

The value is the mean over seeds. Its interval is over seeds (Student t); with a single seed it is over the items.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from harness.records.schema import EvalRecord, MetricTotals
from harness.records.values import is_count
from harness.report.analysis.curves import mean_forward
from harness.report.analysis.groups import Group, Member, evaluations, metrics_of, overrides
from harness.report.analysis.points import Points, bounds, identity, listing, make_points
from harness.report.analysis.statistics import (
    Interval,
    bootstrap_interval,
    items_interval,
    mean,
    seed_interval,
    wilson_interval,
)
from harness.report.labels import headline_metric
from harness.report.read.runs import Run

BOOTSTRAP_SEED = 0
COLUMNS = (
    "task metric method reward model recipe data split items_sha256 decoding variant overrides labels checkpoint "
    "value low high interval bootstrap_low bootstrap_high base gain gain_low gain_high ceiling n seeds "
    "updates samples flops_total flops_forward seconds"
)
SUMMARY_COLUMNS = (
    "run task method model data recipe reward seed update checkpoint metric value low high n "
    + "flops_total flops_forward samples seconds split completion_length num_steps batch_size dtype"
)


@dataclass(frozen=True, kw_only=True)
class Row:
    """The numbers of one group for one metric; fractions of 1, costs as means over seeds.

    interval: over seeds, or over items with a single seed (`over` says which). base and gain are None where
    the base was not evaluated under the same protocol with every seed. ceiling: what a perfect solver is
    expected to get, None where 1. flops_forward: None where a seed has none.
    """

    group: Group
    metric: str
    seeds: tuple[int, ...]
    value: float
    interval: Interval | None
    over: str
    bootstrap: Interval | None
    base: float | None
    gain: float | None
    gain_interval: Interval | None
    n: int
    updates: float
    samples: float
    flops_total: float
    flops_forward: float | None
    seconds: float
    ceiling: float | None

    @property
    def overrides(self) -> str:
        """The settings that the command line changed: `key=value; key=value`."""
        return "; ".join(f"{key}={value}" for key, value in overrides(self.group.members[0].run).items())

    @property
    def record(self) -> dict[str, Any]:
        """As a record of a CSV file."""
        return {
            **identity(self.group),
            **vars(self),
            **bounds(self.interval),
            **bounds(self.bootstrap, "bootstrap_"),
            **bounds(self.gain_interval, "gain_"),
            "mean": self.value,
            "interval": self.over,
            "overrides": self.overrides,
            "labels": "; ".join(self.group.toy_reasons),
            "checkpoint": "last",
            "seeds": listing(self.seeds),
        }


@dataclass(frozen=True, kw_only=True)
class MetricRows:
    """The rows of one task and metric. also: other metrics that have the same numbers in every row."""

    task: str
    metric: str
    rows: tuple[Row, ...]
    also: tuple[str, ...] = ()


def all_rows(groups: Sequence[Group], *, headline: str | None = None) -> list[MetricRows]:
    """The rows of every task and metric of the last checkpoints; a task's headline metric comes first."""
    tables = []
    for task in sorted({group.task for group in groups}):
        own = [group for group in groups if group.task == task]
        metrics = metrics_of(own)
        first = headline_metric(metrics, headline)
        for metric in sorted(metrics, key=lambda name: (name != first, name)):
            rows = tuple(row for group in own if (row := make_row(group, metric)) is not None)
            tables.append(MetricRows(task=task, metric=metric, rows=rows))
    return tables


def together(tables: Iterable[MetricRows]) -> list[MetricRows]:
    """The tables without those that agree in every row with an earlier one of their task, which names their metrics."""
    kept: list[MetricRows] = []
    for found in tables:
        same = next((place for place, other in enumerate(kept) if _agree(found, other)), None)
        if same is None:
            kept.append(found)
        else:
            kept[same] = replace(kept[same], also=(*kept[same].also, found.metric))
    return kept


def _agree(first: MetricRows, second: MetricRows) -> bool:
    if first.task != second.task or not first.rows:
        return False
    return [replace(row, metric="") for row in first.rows] == [replace(row, metric="") for row in second.rows]


def headline_rows(tables: Iterable[MetricRows]) -> dict[str, MetricRows]:
    """By task the rows of its headline metric, which come first among its tables."""
    first: dict[str, MetricRows] = {}
    for found in tables:
        first.setdefault(found.task, found)
    return first


def make_row(group: Group, metric: str) -> Row | None:
    """The numbers of `group` for `metric`; None where no last checkpoint has it."""
    measured = [(member, record) for member in group.members if (record := member.at("last", metric)) is not None]
    if not measured:
        return None
    records = [record for _, record in measured]
    lasts = [record.metrics[metric] for record in records]
    values = [totals.value for totals in lasts]
    bases = [totals.value for member, _ in measured if (totals := _base(member, metric)) is not None]
    gains = [last - base for last, base in zip(values, bases, strict=True)] if len(bases) == len(values) else []
    over_seeds = seed_interval(values, lowest=0.0, highest=1.0)
    return Row(
        group=group,
        metric=metric,
        seeds=tuple(member.run.identity.seed for member, _ in measured),
        value=mean(values),
        interval=over_seeds or items_interval(lasts[0]),
        over="seeds" if over_seeds else "items",
        bootstrap=bootstrap_interval(values, np.random.default_rng(BOOTSTRAP_SEED)),
        base=mean(bases) if gains else None,
        gain=mean(gains) if gains else None,
        gain_interval=seed_interval(gains, lowest=-1.0, highest=1.0),
        n=lasts[0].n,
        updates=mean([record.update for record in records]),
        samples=mean([record.samples for record in records]),
        flops_total=mean([record.flops_total for record in records]),
        flops_forward=mean_forward(records),
        seconds=mean([record.seconds for record in records]),
        ceiling=records[0].ceiling.get(metric),
    )


def _base(member: Member, metric: str) -> MetricTotals | None:
    record = member.at("base", metric)
    return record.metrics[metric] if record is not None else None


def overlapping(best: Row, other: Row) -> bool:
    """Whether the intervals of two rows overlap, or one has none; then intervals alone cannot tell them apart."""
    if best.interval is None or other.interval is None:
        return True
    return best.interval.low <= other.interval.high


def is_solved(row: Row) -> bool:
    """The row's interval and that of a perfect solver on as many items both leave room for the ceiling.

    A wide interval over few seeds alone would call anything solved.
    """
    if row.ceiling is None:
        return False
    reaches = row.interval is None or row.interval.high >= row.ceiling
    return reaches and row.value >= wilson_interval(row.ceiling * row.n, row.n).low


def row_points(tables: Sequence[MetricRows]) -> Points:
    """All rows of all tables; fractions of 1."""
    return make_points(COLUMNS, (row.record for found in tables for row in found.rows))


def summary_points(runs: Sequence[Run]) -> Points:
    """Values and bounds are fractions of 1; low and high: 95 % interval over the items of this one run.

    A checkpoint evaluated on several item lists, with several decodings, at several batch sizes or in several dtypes
    has a record for each; what older runs did not record stays empty.
    """
    records = (found for run in runs for record in evaluations(run) for found in _run_records(run, record))
    return make_points(SUMMARY_COLUMNS, records)


def _run_records(run: Run, record: EvalRecord) -> Iterator[dict[str, Any]]:
    for metric in sorted(record.metrics):
        totals = record.metrics[metric]
        value = {"run": run.name, "metric": metric, "value": totals.value, "n": totals.n}
        yield {**vars(record), **vars(run.identity), **bounds(items_interval(totals)), **_settings(record), **value}


def _settings(record: EvalRecord) -> dict[str, Any]:
    """What evaluations of one checkpoint may differ in; decodings are anybody's, so what is no number is left out."""
    numbers = {**record.decoding, "batch_size": record.batch_size}
    found = {name: numbers.get(name) for name in ("completion_length", "num_steps", "batch_size")}
    return {name: value if is_count(value) and value else None for name, value in found.items()}
