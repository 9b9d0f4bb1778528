"""How `--help` looks: plain text in lines no wider than the terminal, with every name whole."""

from __future__ import annotations

import re
from collections.abc import Sequence
from shutil import get_terminal_size
from typing import Any

import typer
from typer.core import TyperCommand, TyperGroup

from harness.cli.options.once import OnceCommand
from harness.cli.terminal.feedback import fitted

WIDEST, NARROW = 100, 60
"""Columns: of the widest text, and below which what an option means stands under it."""
INDENT = "  "
GAP = 2
NAMES = 0.4
"""The most that the names of options take of a line."""
_Formatter: Any = typer.Context.formatter_class
SETTINGS = {"help_option_names": ["-h", "--help"]}


class Formatter(_Formatter):
    """Writes help. Everything that it is given stays, however narrow the terminal is."""

    def __init__(self, *args: Any, **options: Any) -> None:
        super().__init__(width=min(get_terminal_size().columns, WIDEST))

    def write_usage(self, prog: str, args: str = "", prefix: str | None = None) -> None:
        """The line that shows the order of the words."""
        self.write(f"{fitted(f'Usage: {prog} {args}', self.width, below=INDENT * 2)}\n")

    def write_text(self, text: str) -> None:
        """Paragraphs, each filled anew."""
        begin = " " * self.current_indent
        paragraphs = [re.sub(r"\s+", " ", part) for part in text.strip().split("\n\n")]
        self.write("\n\n".join(fitted(begin + part, self.width, below=begin) for part in paragraphs) + "\n")

    def write_dl(self, rows: Sequence[tuple[str, str]], col_max: int = 0, col_spacing: int = GAP) -> None:
        """Names and what they mean: side by side, or the meaning below where a name is long or the terminal narrow."""
        begin = " " * self.current_indent
        shorter = [len(name) for name, _ in rows if len(name) <= NAMES * self.width]
        column = 0 if self.width < NARROW or not shorter else max(shorter) + GAP
        under = begin + (" " * column if column else INDENT * 2)
        for name, meaning in rows:
            text = re.sub(r"\s+", " ", meaning).strip()
            if text and len(name) + GAP <= column:
                self.write(f"{fitted(f'{begin}{name:<{column}}{text}', self.width, below=under)}\n")
                continue
            self.write(f"{fitted(begin + name, self.width)}\n")
            if text:
                self.write(f"{fitted(under + text, self.width, below=under)}\n")


class Context(typer.Context):
    """A context that writes help so."""

    formatter_class = Formatter


class PassingOn(TyperCommand):
    """A command that takes whatever words there are, with this help."""

    context_class = Context


class Command(OnceCommand):
    """A command with this help."""

    context_class = Context


class Group(TyperGroup):
    """Commands with this help."""

    context_class = Context

    def format_commands(self, ctx: Any, formatter: Any) -> None:
        """Every command with the whole of its sentence."""
        known = [(name, self.get_command(ctx, name)) for name in self.list_commands(ctx)]
        with formatter.section("Commands"):
            formatter.write_dl([(name, command.help or "") for name, command in known if command])
