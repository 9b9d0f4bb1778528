"""`harness list`: runs, and what a run can be made of."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from harness.cli.options import IncludePath
from harness.cli.report import existing, no_runs
from harness.cli.tables import show_table
from harness.records.run_folder import DEFAULT_RUNS

if TYPE_CHECKING:
    from harness.report.read.runs import Run, Skipped

NO_RECIPE = "those of the tasks' protocols"
COLUMNS = ("Run", "State", "Updates", "Metric", "Latest, %", "At")


def list_runs(
    what: Annotated[
        list[Path] | None,
        typer.Argument(
            help="methods, tasks, or run folders and folders above some.",
            metavar="methods|tasks|RUNS",
            show_default=str(DEFAULT_RUNS),
        ),
    ] = None,
    include_path: IncludePath = None,
) -> None:
    """List runs with their state and latest evaluation, or the methods and tasks with their recipes."""
    if what == [Path("methods")]:
        _list_methods(include_path or [])
    elif what == [Path("tasks")]:
        _list_tasks(include_path or [])
    else:
        _list_runs(existing(what))


def _list_methods(own: list[Path]) -> None:
    from harness import registry
    from harness.config import recipes
    from harness.report.labels import method_name

    for folder in own:
        registry.add_include_path(folder)
    names = registry.names("method")
    sections = [", ".join(recipes.recipes_of(name, recipes.built_in_folder())) or NO_RECIPE for name in names]
    rows = list(zip(names, map(method_name, names), sections, strict=True))
    show_table("Methods", ("Method", "Title", "Recipes"), rows, numeric=(False, False, False))


def _list_tasks(own: list[Path]) -> None:
    from harness import registry

    for folder in own:
        registry.add_include_path(folder)
    rows = [row for name in registry.names("task") for row in _task_rows(name)]
    columns = ("Task", "Protocol", "Tokens", "Block", "Steps", "Items")
    show_table("Tasks, and how their protocols evaluate", columns, rows, numeric=(False, False, True, True, True, True))


def _task_rows(name: str) -> list[list[str]]:
    from harness.config import recipes

    rows = []
    for section, values in recipes.protocol_of(name, recipes.built_in_folder()).items():
        decoding = recipes.evaluation_decoding(name, tiny=section == recipes.TINY)
        sizes = (decoding.completion_length, decoding.block_length, decoding.num_steps, values["evaluation"]["items"])
        rows.append([name, section, *map(str, sizes)])
    return rows or [[name, "none", *[""] * 4]]


def _list_runs(paths: list[Path]) -> None:
    from harness.report.read.runs import scan

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
