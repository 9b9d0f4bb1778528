"""What commands say, of several processes the first: results, what leads up to them, details, progress, warnings.

--quiet leaves results and errors, --verbose adds details: what the harness's own loggers have to tell, and warnings of
libraries that Python keeps to itself.
"""

from __future__ import annotations

import logging
import os
import re
import shutil
import sys
import textwrap
import time
import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager, nullcontext
from typing import TYPE_CHECKING, Any

import typer

from harness.cli.terminal.time_left import Pace, clock_text
from harness.distributed.processes import is_main
from harness.errors import UserError

if TYPE_CHECKING:
    from rich.progress import Progress

QUIET, VERBOSE = "--quiet", "--verbose"
PLAIN_INTERVAL = 30.0
"""Seconds between lines where there is no terminal."""
WIDE = 100
"""Columns of a terminal that has room for a bar."""
BREAKS = re.compile(r"(?<=[|,/=])(?=.)")
"""Where a word that is longer than a line may be broken."""
NO_BARS = "HF_HUB_DISABLE_PROGRESS_BARS"
"""Silences the hub's own progress bars."""

_asked: list[str] = []
"""What the command line asks for at present: --quiet, --verbose, or neither."""


def is_quiet() -> bool:
    """Whether only results and errors are to be said."""
    return QUIET in _asked


def is_verbose() -> bool:
    """Whether details are asked for."""
    return VERBOSE in _asked


@contextmanager
def speaking(*, quiet: bool = False, verbose: bool = False) -> Iterator[None]:
    """Inside, commands say less or more. Raises UserError for both at once."""
    before = [*_asked]
    _asked.extend([QUIET] * quiet + [VERBOSE] * verbose)
    try:
        if is_quiet() and is_verbose():
            raise UserError(f"{QUIET} and {VERBOSE} are opposites; leave out one of them.")
        with _silent() if quiet else _telling() if verbose else nullcontext():
            yield
    finally:
        _asked[:] = before


@contextmanager
def _silent() -> Iterator[None]:
    """Inside, libraries keep their warnings and progress to themselves."""
    disabled, bars = logging.root.manager.disable, os.environ.get(NO_BARS)
    logging.disable(logging.WARNING)
    os.environ[NO_BARS] = "1"
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            yield
    finally:
        logging.disable(disabled)
        del os.environ[NO_BARS]
        os.environ.update({NO_BARS: bars} if bars else {})


@contextmanager
def _telling() -> Iterator[None]:
    """Inside, the harness's loggers tell details, and libraries warn of what is deprecated."""
    logger = logging.getLogger("harness")
    level, handlers, passes_up = logger.level, logger.handlers, logger.propagate
    logger.setLevel(logging.INFO)
    logger.handlers, logger.propagate = [_Details()], False
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("default")
            yield
    finally:
        logger.setLevel(level)
        logger.handlers, logger.propagate = handlers, passes_up


class _Details(logging.Handler):
    """Says what loggers tell, on standard error as it is at the time: a live display has its own."""

    def emit(self, record: logging.LogRecord) -> None:
        if is_main():
            echo(record.getMessage(), err=True)


def echo(text: str, *, err: bool = False) -> None:
    """Prints a result; on a terminal in lines no longer than it is wide, broken between words."""
    width = terminal_width(sys.stderr if err else sys.stdout)
    typer.echo(text if width is None else "\n".join(fitted(line, width) for line in text.split("\n")), err=err)


def say(text: str) -> None:
    """Prints what leads up to results, or says where they lie."""
    if not is_quiet():
        echo(text)


def detail(text: str) -> None:
    """Says on standard error, where details are asked for, what is decided and why."""
    if is_verbose() and is_main():
        echo(text, err=True)


def terminal_width(stream: Any) -> int | None:
    """Columns of the terminal that a stream goes to, None where it goes to a file or another program. FORCE_COLOR makes
    a terminal of anything, as it does for rich."""
    is_terminal = stream.isatty() or os.environ.get("FORCE_COLOR")
    return shutil.get_terminal_size().columns if is_terminal else None


def fitted(line: str, width: int, *, below: str | None = None) -> str:
    """A line as lines of `width` characters at most. below: what those after the first begin with, by default two
    blanks more than it."""
    if len(line) <= width:
        return line
    if below is None:
        below = " " * min(len(line) - len(line.lstrip()) + 2, width // 2)
    return "\n".join(_Wrapper(width, subsequent_indent=below, break_on_hyphens=False).wrap(line))


class _Wrapper(textwrap.TextWrapper):
    """Breaks a word that is longer than a line behind a stroke or a comma, where it has one."""

    def _split(self, text: str) -> list[str]:
        room = self.width - len(self.subsequent_indent)
        return [
            part for chunk in super()._split(text) for part in (BREAKS.split(chunk) if len(chunk) > room else [chunk])
        ]


@contextmanager
def progress_bar(label: str) -> Iterator[Callable[..., None]]:
    """Gives the function that is told (done, total) and perhaps a note: a bar, or a line now and then in a file."""
    live, pace, last_line = live_display(), Pace(), time.monotonic()
    with live or nullcontext():
        bar = live.add_task(label, total=None) if live else None

        def show(done: int, total: int, note: str = "") -> None:
            nonlocal last_line
            left = f"time left {clock_text(pace.seconds(done, total))}"
            if live and bar is not None:
                live.update(bar, completed=done, total=total, description=f"{left}  {label}  {note}")
            elif is_main() and not is_quiet() and time.monotonic() - last_line >= PLAIN_INTERVAL:
                last_line = time.monotonic()
                echo(f"{label} {done}/{total} {note}".rstrip(), err=True)

        yield show


def live_display() -> Progress | None:
    """A bar with text beside it, alone on a narrow terminal; None in processes that show nothing, for --quiet, and
    where standard error is no terminal."""
    if is_quiet() or not is_main():
        return None
    from rich.console import Console
    from rich.progress import BarColumn, Progress, ProgressColumn, TaskProgressColumn, TextColumn
    from rich.table import Column

    console = Console(stderr=True)
    if not console.is_terminal:
        return None
    text = TextColumn("{task.description}", table_column=Column(overflow="fold", ratio=1))
    bars: list[ProgressColumn] = [BarColumn(bar_width=24)] if console.width >= WIDE else []
    return Progress(*bars, TaskProgressColumn(), text, console=console, transient=True, expand=True)


def warn(text: str) -> None:
    """Shows what looks wrong but may be meant."""
    if is_main() and not is_quiet():
        echo(f"harness: warning: {text}", err=True)
