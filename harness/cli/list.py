"""`harness list`: runs, and what a run can be made of."""

from __future__ import annotations

import time
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from harness import registry
from harness.cli.options import IncludePath
from harness.cli.report import existing, no_runs
from harness.cli.tables import show_table
from harness.records.run_folder import DEFAULT_RUNS

if TYPE_CHECKING:
    from harness.records.schema import RunStatus
    from harness.report.read.runs import Run, Skipped

NONE = "-"
WATCH_SECONDS = 5.0
NO_RECIPE = "those of the tasks' protocols"
COLUMNS = ("Run", "State", "Updates", "Metric", "Latest, %", "At")


def list_runs(
    what: Annotated[
        list[Path] | None,
        typer.Argument(
            help="methods, tasks, protocols, checkpoints, or run folders and folders above some.",
            metavar="methods|tasks|protocols|checkpoints|RUNS",
            show_default=str(DEFAULT_RUNS),
        ),
    ] = None,
    include_path: IncludePath = None,
    watch: Annotated[
        bool, typer.Option("--watch", help="Show the runs anew every few seconds while any is running or in a queue.")
    ] = False,
) -> None:
    """List runs with their state, or methods, tasks, papers' protocols, or published checkpoints."""
    registry.add_include_paths(include_path or [])
    kinds = {
        "methods": _list_methods,
        "tasks": _list_tasks,
        "protocols": _list_protocols,
        "checkpoints": _list_checkpoints,
    }
    if what and len(what) == 1 and str(what[0]) in kinds:
        kinds[str(what[0])]()
    else:
        _list_runs(existing(what), watch=watch)


def _list_methods() -> None:
    from harness.config import recipes
    from harness.report.labels import method_name

    names = registry.names("method")
    sections = [", ".join(recipes.recipes_of(name, recipes.built_in_folder())) or NO_RECIPE for name in names]
    rows = list(zip(names, map(method_name, names), sections, strict=True))
    show_table("Methods", ("Method", "Title", "Recipes"), rows, numeric=(False, False, False))


def _list_tasks() -> None:
    rows = [row for name in registry.names("task") for row in _task_rows(name)]
    columns = ("Task", "Protocol", "Tokens", "Block", "Steps", "Items")
    show_table("Tasks, and how their protocols evaluate", columns, rows, numeric=(False, False, True, True, True, True))


def _task_rows(name: str) -> list[list[str]]:
    from harness.config import recipes
    from harness.config.build import build
    from harness.config.decoding import Decoding

    rows = []
    for section, values in recipes.protocol_of(name, recipes.built_in_folder()).items():
        decoding = build(Decoding, values["evaluation"]["decoding"], "evaluation.decoding")
        sizes = (decoding.completion_length, decoding.block_length, decoding.num_steps, values["evaluation"]["items"])
        rows.append([name, section, *map(str, sizes)])
    return rows or [[name, "none", *[""] * 4]]


def _list_protocols() -> None:
    from harness.config.protocols import load_protocol, protocol_names

    found = [task for name in protocol_names() for task in load_protocol(name).tasks.values()]
    columns = ("Protocol", "Task", "Tokens / block / steps", "Items", "Shots", "Grader", "Prefill")
    rows = [
        [
            one.protocol,
            one.task,
            ", ".join(f"{each.completion_length}/{each.block_length}/{each.num_steps}" for each in one.decodings),
            str(one.items or "all"),
            str(one.few_shot),
            one.grader,
            one.prefill or NONE,
        ]
        for one in found
        if not one.unavailable
    ]
    show_table("How papers evaluate", columns, rows, numeric=[title in ("Items", "Shots") for title in columns])
    for one in found:
        if one.unavailable:
            typer.echo(f"{one.protocol} on {one.task}: {one.unavailable}.")


def _list_checkpoints() -> None:
    from harness.app.checkpoints import why_not_loaded
    from harness.config.checkpoints import published_checkpoints

    found = published_checkpoints()
    columns = ("Checkpoint", "Kind", "Layout", "On the hub", "Stated, %", "Tokens", "Protocol")
    rows = [
        [
            one.name,
            one.kind,
            one.layout,
            one.place,
            NONE if one.score is None else f"{one.score:g}",
            one.length or NONE,
            one.protocol or NONE,
        ]
        for one in found
    ]
    show_table("Published checkpoints", columns, rows, numeric=[title == "Stated, %" for title in columns])
    for reason, names in _grouped({one.name: why_not_loaded(one) for one in found}).items():
        typer.echo(f"Not loaded: {', '.join(names)}: {reason}.")


def _grouped(reasons: dict[str, str]) -> dict[str, list[str]]:
    """The names of each reason that is not empty."""
    kinds = [reason for reason in dict.fromkeys(reasons.values()) if reason]
    return {kind: [name for name, reason in reasons.items() if reason == kind] for kind in kinds}


def _list_runs(paths: list[Path], *, watch: bool) -> None:
    from rich.console import Console

    while _show_runs(paths) and watch:
        time.sleep(WATCH_SECONDS)
        Console().clear()


def _show_runs(paths: list[Path]) -> bool:
    """Prints the runs, those too that wait in Slurm's queue. Returns whether any is at work or waits there."""
    from harness.app.heartbeat import is_alive
    from harness.app.launch import in_queue
    from harness.report.read.runs import Run, scan

    found = scan(paths)
    jobs = {folder.relative_to(path).as_posix(): job for path in paths for folder, job in in_queue(path).items()}
    if not found and not jobs:
        raise no_runs(paths)
    rows = {row[0]: row for row in map(_row, found)}
    for name, job in jobs.items():
        if name in rows:
            rows[name][1] += f" ({job})"
        else:
            rows[name] = [name, job, "0", NONE, NONE, NONE]
    show_table("Runs", COLUMNS, list(rows.values()), numeric=[title in ("Updates", "Latest, %") for title in COLUMNS])
    states = [item.status for item in found if isinstance(item, Run)]
    return bool(jobs) or any(status.state == "running" and is_alive(status) for status in states)


def _row(item: Run | Skipped) -> list[str]:
    from harness.report.analysis.groups import latest
    from harness.report.labels import DASH, headline_metric, metric_name, percent
    from harness.report.read.runs import Skipped

    if isinstance(item, Skipped):
        return [item.path, item.reason, DASH, DASH, DASH, DASH]
    head = [item.name, _state(item.status), str(item.status.updates)]
    records = latest(item)
    metric = headline_metric({name for record in records for name in record.metrics})
    measured = [record for record in records if metric in record.metrics]
    if not measured:
        return [*head, DASH, DASH, DASH]
    last = measured[-1]
    place = last.checkpoint if last.checkpoint != "step" else f"update {last.update}"
    return [*head, metric_name(metric), percent(last.metrics[metric].value), place]


def _state(status: RunStatus) -> str:
    """What the run says of itself; one that says it is running and shows no life was killed."""
    from harness.app.heartbeat import is_alive

    if status.state == "running" and not is_alive(status):
        return "dead: the same command goes on with it"
    return f"{status.state}: {status.reason}" if status.reason else status.state
