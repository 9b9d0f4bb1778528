"""`harness report`: a page, tables and figures from finished runs."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from harness import registry
from harness.cli.options.lists import any_names
from harness.cli.options.shared import IncludePath, Json
from harness.cli.terminal.document import show_document
from harness.cli.terminal.feedback import echo, say
from harness.cli.terminal.tables import show_report_table
from harness.errors import UserError, from_here
from harness.records.run_folder import DEFAULT_EVALUATIONS, DEFAULT_REPORT, DEFAULT_RUNS

if TYPE_CHECKING:
    from harness.report.read.runs import Collection

FIRST_RUN = "harness run --method egspo-sa --task sudoku"


def report(
    runs: Annotated[
        list[Path] | None,
        typer.Argument(help="Run folders, folders above some, and archives of them.", show_default=str(DEFAULT_RUNS)),
    ] = None,
    out: Annotated[Path, typer.Option("--out", help="Folder to write the report to.")] = DEFAULT_REPORT,
    metric: Annotated[
        str | None, typer.Option("--metric", help="The metric to plot and to print, where a task has it.")
    ] = None,
    methods: Annotated[
        str | None, typer.Option("--methods", help="Only runs of these methods, separated by commas.")
    ] = None,
    figures: Annotated[
        str | None,
        typer.Option("--figures", help="Only these: bars, curves, training, steps, ablations, completions."),
    ] = None,
    style: Annotated[
        Path | None, typer.Option("--style", metavar="FILE", help="A matplotlib style file for the figures.")
    ] = None,
    include_path: IncludePath = None,
    as_json: Json = False,
) -> None:
    """Write a page, tables, figures and summary.csv of finished runs."""
    from harness.report.chapters.choice import Choice
    from harness.report.figures.frame import FIGURE_FOLDER, KINDS
    from harness.report.formats.page import PAGE_FILE, REPORT_FILE, write_report
    from harness.report.formats.plain import report_record
    from harness.report.read.runs import collect

    registry.add_include_paths(include_path or [])
    paths = existing(runs)
    found = collect(paths)
    if not found.runs:
        raise _nothing_finished(found, paths) if found.skipped else no_runs(paths)
    choice = Choice(
        metric=metric,
        methods=tuple(any_names(methods)),
        figures=tuple(any_names(figures)) or KINDS,
        style=style,
        runs=tuple(map(str, runs or [])),
        include=tuple(map(from_here, registry.include_paths())),
    )
    written = write_report(found, out, choice)
    if as_json:
        show_document(report_record(written, out, found.skipped))
        return
    for table in written.headlines:
        show_report_table(table)
    echo(f"Page:    {out / PAGE_FILE}")
    echo(f"Text:    {out / REPORT_FILE}")
    echo(f"Figures: {len(written.figures)} in {out / FIGURE_FOLDER}")
    if found.skipped:
        say(f"Left out: {len(found.skipped)}; the reasons are in the report.")


def existing(paths: Sequence[Path] | None) -> list[Path]:
    """The folders and archives to look into, the default where none is named. Raises UserError for a missing one."""
    from harness.report.read.archives import ENDINGS
    from harness.report.read.places import is_place

    if not paths:
        paths = [path for path in (DEFAULT_RUNS, DEFAULT_EVALUATIONS) if path.is_dir()] or [DEFAULT_RUNS]
    for path in paths:
        if not is_place(path):
            raise UserError(
                f"'{path}' is neither a folder nor an archive of runs ({' or '.join(ENDINGS)}). Start a run with "
                f"`{FIRST_RUN}`, or name another folder."
            )
    return list(paths or [DEFAULT_RUNS])


def no_runs(paths: Sequence[Path]) -> UserError:
    """The error for folders without any run."""
    return UserError(f"There are no runs in {_quoted(paths)}. Start one with `{FIRST_RUN}`.")


def _nothing_finished(found: Collection, paths: Sequence[Path]) -> UserError:
    first = found.skipped[0]
    return UserError(
        f"There is no finished run in {_quoted(paths)}: {len(found.skipped)} left out, the first of them "
        f"{first.path} ({first.reason}). See `harness list`, or start a run with `{FIRST_RUN}`."
    )


def _quoted(paths: Sequence[Path]) -> str:
    return ", ".join(f"'{path}'" for path in paths)
