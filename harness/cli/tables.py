"""Tables on the terminal: drawn by rich where there is one, aligned plain text in a pipe or a file."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

import typer

if TYPE_CHECKING:
    from harness.report.chapters.table import Table


def show_table(title: str, columns: Sequence[str], rows: Sequence[Sequence[str]], *, numeric: Sequence[bool]) -> None:
    """Prints a table. numeric: which columns stand right. Plain text is never cut or wrapped."""
    from rich.console import Console
    from rich.table import Table
    from rich.text import Text

    console = Console()
    if not console.is_terminal:
        typer.echo(f"{title}\n{plain_table(columns, rows, numeric=numeric)}\n")
        return
    table = Table(title=title, title_justify="left", title_style="bold")
    for column, right in zip(columns, numeric, strict=True):
        table.add_column(column, justify="right" if right else "left", overflow="fold")
    for row in rows:
        table.add_row(*(Text(cell) for cell in row))
    console.print(table)


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
        typer.echo(f"  {note}")
    typer.echo("")


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
