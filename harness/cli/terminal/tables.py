"""Tables on the terminal: drawn by rich where there is one, aligned plain text in a pipe or a file."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from typing import TYPE_CHECKING

import typer

from harness.cli.terminal.feedback import fitted, is_quiet, say, terminal_width

if TYPE_CHECKING:
    from harness.report.chapters.table import Table

FRAME = 3
"""Columns of the terminal that a column takes besides its text; the last one has one more."""


def show_table(title: str, columns: Sequence[str], rows: Sequence[Sequence[str]], *, numeric: Sequence[bool]) -> None:
    """Prints a table, its title unless --quiet is given. Plain text is never cut or wrapped; where a terminal is too
    narrow for a column's longest word, every row is shown as lines of their own."""
    heading = "" if is_quiet() else title
    width = terminal_width(sys.stdout)
    if width is None:
        typer.echo(f"{heading}\n{plain_table(columns, rows, numeric=numeric)}\n".lstrip("\n"))
        return
    widths = column_widths(columns, rows, width - FRAME * len(columns) - 1)
    if widths is None:
        typer.echo("\n\n".join([*([fitted(heading, width)] if heading else []), *records(columns, rows, width)]) + "\n")
    else:
        _draw(heading, columns, rows, widths, numeric=numeric)


def _draw(
    title: str,
    columns: Sequence[str],
    rows: Sequence[Sequence[str]],
    widths: Sequence[int],
    *,
    numeric: Sequence[bool],
) -> None:
    from rich.console import Console
    from rich.table import Table
    from rich.text import Text

    table = Table(title=title or None, title_justify="left", title_style="bold")
    for column, right, width in zip(columns, numeric, widths, strict=True):
        table.add_column(column, justify="right" if right else "left", overflow="fold", width=width)
    for row in rows:
        table.add_row(*(Text(cell) for cell in row))
    Console().print(table)


def column_widths(columns: Sequence[str], rows: Sequence[Sequence[str]], room: int) -> list[int] | None:
    """The widths of columns that fit into `room` together with no word broken: the widest give way first. None where
    the longest words alone do not fit."""
    cells = list(zip(columns, *rows, strict=True))
    widths = [max(map(len, column)) for column in cells]
    least = [max(len(word) for cell in column for word in [*cell.split(), ""]) for column in cells]
    if sum(least) > room:
        return None
    while sum(widths) > room:
        widest = max(range(len(widths)), key=lambda index: (widths[index] > least[index], widths[index]))
        widths[widest] -= 1
    return widths


def records(columns: Sequence[str], rows: Sequence[Sequence[str]], width: int) -> list[str]:
    """Every row as a text: its cells below each other, each behind its column's name, the empty ones left out."""
    return [
        "\n".join(
            fitted(f"{'' if index == 0 else '  '}{column}: {cell.strip()}", width, below=" " * min(4, width // 2))
            for index, (column, cell) in enumerate(zip(columns, row, strict=True))
            if cell.strip()
        )
        for row in rows
    ]


def show_report_table(table: Table) -> None:
    """Prints a table of the report and its notes; columns with the same value in every row move into the title."""
    from harness.report.chapters.table import condense

    condensed = condense(table, numbers=False)
    shown = condensed.table
    show_table(
        ", ".join([table.title, *condensed.shared]),
        [column.title for column in shown.columns],
        [list(row) for row in shown.cells],
        numeric=[column.numeric for column in shown.columns],
    )
    for note in table.notes:
        say(f"  {note}")
    say("")


def plain_table(columns: Sequence[str], rows: Sequence[Sequence[str]], *, numeric: Sequence[bool]) -> str:
    """Columns two blanks apart, the heads above a rule."""
    widths = [max(len(cell) for cell in column) for column in zip(columns, *rows, strict=True)]
    lines = [columns, ["-" * width for width in widths], *rows]
    return "\n".join(
        "  ".join(
            cell.rjust(width) if right else cell.ljust(width)
            for cell, width, right in zip(line, widths, numeric, strict=True)
        ).rstrip()
        for line in lines
    )
