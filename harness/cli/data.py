"""harness data: fill a folder of data files, check one, or list what data is available."""

from __future__ import annotations

import os
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from harness import registry
from harness.data.sources import DATA_VARIABLE, DataSource
from harness.errors import UserError, unknown_choice
from harness.task.base import SPLITS

if TYPE_CHECKING:
    from harness.app.data_folder import Finding

ACTIONS = ("pull", "verify", "list")
SOMETHING_WRONG = 1
SHOWN_DIGITS = 16


def data(
    action: Annotated[str, typer.Argument(help="pull, verify or list.")],
    folder: Annotated[
        Path | None, typer.Argument(help="With verify and list: the folder; HARNESS_DATA by default.")
    ] = None,
    to: Annotated[Path | None, typer.Option(help="With pull: the folder to fill.")] = None,
    task: Annotated[str, typer.Option(help="With pull: task, or several; all by default.")] = "",
) -> int:
    """Data files: pull --to DIR fetches them, verify DIR checks them, list shows what is available.

    Exit code 1: a file could not be fetched, or is missing, changed or unreadable.
    """
    if action not in ACTIONS:
        raise unknown_choice("action", action, ACTIONS)
    if action == "pull":
        if to is None or folder is not None:
            raise UserError("harness data pull takes the folder to fill as --to DIR.")
        return _pull(to, task)
    if to is not None or task:
        raise UserError(f"--to and --task go with harness data pull, not with {action}.")
    return _verify(_existing(folder)) if action == "verify" else _list(folder)


def _pull(folder: Path, names: str) -> int:
    from harness.app.data_folder import FILES, fill

    wanted = {registry.canonical_name("task", name.strip()) for name in names.split(",") if name.strip()}
    files = [file for file in FILES if not wanted or wanted & set(file.tasks)]
    failed = [finding for finding in fill(folder, files) if _say(finding)]
    if not failed:
        typer.echo(f"{len(files)} files in {folder}; use them with --data {folder} or {DATA_VARIABLE}={folder}.")
        return 0
    typer.echo(
        f"{len(failed)} of {len(files)} files are missing: {', '.join(finding.file.path for finding in failed)}. "
        "The others are kept; run the same command again to retry.",
        err=True,
    )
    return SOMETHING_WRONG


def _verify(folder: Path) -> int:
    from harness.app.data_folder import check

    wrong = [finding for finding in check(folder) if _say(finding)]
    if not wrong:
        typer.echo(f"{folder}: no problems found.")
        return 0
    typer.echo(f"{len(wrong)} files are wrong or missing; harness data pull --to {folder} fetches them.", err=True)
    return SOMETHING_WRONG


def _say(finding: Finding) -> bool:
    """Shows a finding and returns whether it is a problem."""
    state = "WRONG" if finding.problem else "ok"
    typer.echo(f"{state:<5} {finding.file.path:<36} {finding.problem or finding.note}")
    return bool(finding.problem)


def _list(folder: Path | None) -> int:
    from harness.app.data_folder import listed
    from harness.cli.tables import show_table

    sources = [DataSource(kind="builtin")]
    if folder is not None or os.environ.get(DATA_VARIABLE):
        sources.append(DataSource(kind="dir", folder=_existing(folder)))
    for source in sources:
        rows = [
            [row.task, row.split, row.place, f"{row.items:,}", row.sha256[:SHOWN_DIGITS]]
            for row in listed(registry.names("task"), SPLITS, source)
        ]
        title = "Built in" if source.folder is None else str(source.folder)
        columns = ["Task", "Split", "Source", "Items", "sha256"]
        show_table(title, columns, rows, numeric=[False, False, False, True, False])
    return 0


def _existing(folder: Path | None) -> Path:
    named = folder or (Path(os.environ[DATA_VARIABLE]) if os.environ.get(DATA_VARIABLE) else None)
    if named is None:
        raise UserError(f"Name a folder, or set {DATA_VARIABLE}; harness data pull --to DIR fills one.")
    if not named.expanduser().is_dir():
        raise UserError(f"'{named}' is not a folder; harness data pull --to DIR fills one.")
    return named.expanduser()
