"""What commands say while they work, on standard error: progress and warnings; of several processes the first."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager

import typer

from harness.distributed.processes import is_main

PLAIN_INTERVAL = 30.0
"""Seconds between lines where there is no terminal."""


@contextmanager
def progress_bar(label: str) -> Iterator[Callable[..., None]]:
    """Gives the function that is told (done, total) and perhaps a note: a bar, or a line now and then in a file."""
    from rich.console import Console
    from rich.progress import BarColumn, Progress, TaskProgressColumn, TextColumn, TimeRemainingColumn

    console = Console(stderr=True)
    columns = (BarColumn(bar_width=24), TaskProgressColumn(), TimeRemainingColumn(), TextColumn("{task.description}"))
    last_line = time.monotonic()
    with Progress(*columns, console=console, transient=True, disable=not (is_main() and console.is_terminal)) as live:
        bar = live.add_task(label, total=None)

        def show(done: int, total: int, note: str = "") -> None:
            nonlocal last_line
            live.update(bar, completed=done, total=total, description=f"{label}  {note}")
            if is_main() and live.disable and time.monotonic() - last_line >= PLAIN_INTERVAL:
                last_line = time.monotonic()
                typer.echo(f"{label} {done}/{total} {note}".rstrip(), err=True)

        yield show


def warn(text: str) -> None:
    """Shows what looks wrong but may be meant."""
    if is_main():
        typer.echo(f"harness: warning: {text}", err=True)
