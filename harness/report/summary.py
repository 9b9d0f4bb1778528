"""summary.csv: one row per run, evaluated checkpoint and metric. Values and bounds are fractions of 1."""

from __future__ import annotations

import csv
import io
from collections.abc import Iterable, Iterator, Sequence

from harness.records.schema import EvalRecord
from harness.report.collect import Run
from harness.report.groups import latest
from harness.report.labels import exact
from harness.report.statistics import items_interval

COLUMNS = (
    "run",
    "task",
    "method",
    "model",
    "data",
    "recipe",
    "reward",
    "seed",
    "update",
    "checkpoint",
    "metric",
    "value",
    "low",
    "high",
    "n",
    "flops_total",
    "samples",
    "seconds",
)


def summary_csv(runs: Sequence[Run]) -> str:
    """The text of summary.csv. low and high: 95 % interval over the items of this one run.

    A checkpoint evaluated on several item lists or with several decodings has a row for each.
    """
    return csv_text(COLUMNS, (row for run in runs for record in latest(run) for row in _rows(run, record)))


def _rows(run: Run, record: EvalRecord) -> Iterator[list[str]]:
    identity = run.identity
    head = [
        run.name,
        identity.task,
        identity.method,
        identity.model,
        record.data,
        identity.recipe,
        identity.reward,
    ]
    for metric in sorted(record.metrics):
        totals = record.metrics[metric]
        interval = items_interval(totals)
        bounds = [exact(interval.low), exact(interval.high)] if interval else ["", ""]
        cost = [exact(record.flops_total), str(record.samples), exact(record.seconds)]
        place = [str(identity.seed), str(record.update), record.checkpoint]
        yield [*head, *place, metric, exact(totals.value), *bounds, str(totals.n), *cost]


def csv_text(columns: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    """A CSV file with `columns` as its first line and line feeds at line ends."""
    stream = io.StringIO()
    writer = csv.writer(stream, lineterminator="\n")
    writer.writerow(columns)
    writer.writerows(rows)
    return stream.getvalue()
