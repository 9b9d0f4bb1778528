"""The one writer of CSV files: line feeds at line ends, numbers whole or with ten significant digits."""

from __future__ import annotations

import csv
import io
import math
import re
from collections.abc import Iterable, Sequence

from harness.report.analysis.points import Points
from harness.report.chapters.table import Table

Cell = str | float | None

FORMULA_STARTS = tuple("=+-@\t\r")
NUMBER = re.compile(r"[+-]?[\d.,]+(e[+-]?\d+)?( \[[-+\d.,e ]+\])?")
"""A number, with its interval or without."""


def points_csv(points: Points) -> str:
    """A line per record; what a record lacks is an empty cell."""
    return csv_text(points.columns, ([record.get(name) for name in points.columns] for record in points.records))


def table_csv(table: Table) -> str:
    """The titles, then the cells without marks."""
    return csv_text([column.title for column in table.columns], table.cells if table.raw is None else table.raw)


def csv_text(columns: Sequence[str], rows: Iterable[Sequence[Cell]]) -> str:
    """A file with `columns` as its first line; numbers as `exact` writes them.

    A text that a spreadsheet would take for a formula begins with an apostrophe, as spreadsheets themselves mark texts.
    """
    stream = io.StringIO()
    writer = csv.writer(stream, lineterminator="\n")
    writer.writerow([harmless(column) for column in columns])
    writer.writerows([harmless(cell) if isinstance(cell, str) else exact(cell) for cell in row] for row in rows)
    return stream.getvalue()


def harmless(text: str) -> str:
    """The text as no spreadsheet runs it; a number and a single character, as a dash or a token, stay as they are."""
    is_formula = len(text) > 1 and text.startswith(FORMULA_STARTS) and not NUMBER.fullmatch(text)
    # The writer quotes line feeds, but not the carriage returns that readers take for line ends too.
    return f"{chr(39) * is_formula}{text}".replace("\r", "\\r")


def exact(value: float | None) -> str:
    """A number for a CSV file: whole, or ten significant digits; nothing for None and NaN."""
    if value is None or not math.isfinite(value):
        return ""
    if float(value).is_integer() and abs(value) < 2**53:
        return str(int(value))
    return repr(float(f"{value:.10g}"))
