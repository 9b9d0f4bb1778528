"""harness new: a method or a task of one's own to start from."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from harness import registry
from harness.app.new import new as write_new
from harness.cli.options.shared import IncludePath
from harness.cli.terminal.feedback import echo, say


def new(
    kind: Annotated[str, typer.Argument(metavar="method|task", help="method or task.", show_default=False)],
    name: Annotated[str, typer.Argument(help="Its name: small letters, digits, dashes.", show_default=False)],
    folder: Annotated[
        Path | None, typer.Option("--dir", help="Folder to write into; NAME by default.", show_default=False)
    ] = None,
    include_path: IncludePath = None,
) -> None:
    """Write a method or a task of your own to start from: method mine, task backwards.

    A file of code, its recipes or protocol, a test and a README with the commands; it trains on the tiny model as it
    is. Nothing that is there is overwritten.
    """
    registry.add_include_paths(include_path or [])
    written = write_new(kind, name, folder)  # type: ignore[arg-type]
    for path in written.files:
        echo(str(path))
    for path in written.kept:
        say(f"{path} was there and stays as it is.")
    say("Next:")
    for command in written.commands:
        say(f"  {command}")
