"""`harness list`: what stands in the results folder."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from harness.cli.report import existing, no_runs
from harness.cli.tables import show_table
from harness.records.run_folder import DEFAULT_RUNS

if TYPE_CHECKING:
    from harness.report.read.runs import Run, Skipped

COLUMNS = ("Run", "State", "Updates", "Metric", "Latest, %", "At")


def list_runs(
    runs: Annotated[
        list[Path] | None,
        typer.Argument(help="Run folders, or folders above some.", show_default=str(DEFAULT_RUNS)),
    ] = None,
) -> None:
    """List runs with their state and latest evaluation."""
    from harness.report.read.runs import scan

    paths = existing(runs)
    found = scan(paths)
    if not found:
        raise no_runs(paths)
    rows = [_row(item) for item in found]
    show_table("Runs", COLUMNS, rows, numeric=[title in ("Updates", "Latest, %") for title in COLUMNS])


def _row(item: Run | Skipped) -> list[str]:
    from harness.report.analysis.groups import latest
    from harness.report.labels import DASH, headline_metric, metric_name, percent
    from harness.report.read.runs import Skipped

    if isinstance(item, Skipped):
        return [item.path, item.reason, DASH, DASH, DASH, DASH]
    status = item.status
    state = f"{status.state}: {status.reason}" if status.reason else status.state
    head = [item.name, state, str(status.updates)]
    records = latest(item)
    metric = headline_metric({name for record in records for name in record.metrics})
    measured = [record for record in records if metric in record.metrics]
    if not measured:
        return [*head, DASH, DASH, DASH]
    last = measured[-1]
    place = last.checkpoint if last.checkpoint != "step" else f"update {last.update}"
    return [*head, metric_name(metric), percent(last.metrics[metric].value), place]
