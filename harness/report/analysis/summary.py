"""Every run, evaluated checkpoint and metric as points."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

from harness.records.schema import EvalRecord
from harness.report.analysis.groups import latest
from harness.report.analysis.points import Points, bounds, make_points
from harness.report.analysis.statistics import items_interval
from harness.report.read.runs import Run

COLUMNS = "run task method model data recipe reward seed update checkpoint metric value low high n"
COSTS = "flops_total samples seconds"


def summary_points(runs: Sequence[Run]) -> Points:
    """Values and bounds are fractions of 1; low and high: 95 % interval over the items of this one run.

    A checkpoint evaluated on several item lists or with several decodings has a record for each.
    """
    records = (found for run in runs for record in latest(run) for found in _records(run, record))
    return make_points(f"{COLUMNS} {COSTS}", records)


def _records(run: Run, record: EvalRecord) -> Iterator[dict[str, Any]]:
    for metric in sorted(record.metrics):
        totals = record.metrics[metric]
        value = {"run": run.name, "metric": metric, "value": totals.value, "n": totals.n}
        yield {**vars(run.identity), **vars(record), **bounds(items_interval(totals)), **value}
