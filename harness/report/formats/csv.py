"""The one writer of CSV files: line feeds at line ends, numbers whole or with ten significant digits."""

from __future__ import annotations

import csv
import io
import math
from collections.abc import Iterable, Sequence

from harness.report.analysis.points import Points
from harness.report.chapters.table import Table

Cell = str | float | None


def points_csv(points: Points) -> str:
    """A line per record; what a record lacks is an empty cell."""
    return csv_text(points.columns, ([record.get(name) for name in points.columns] for record in points.records))


def table_csv(table: Table) -> str:
    """The titles, then the cells without marks."""
    return csv_text([column.title for column in table.columns], table.cells if table.raw is None else table.raw)


def csv_text(columns: Sequence[str], rows: Iterable[Sequence[Cell]]) -> str:
    """A file with `columns` as its first line; numbers as `exact` writes them."""
    stream = io.StringIO()
    writer = csv.writer(stream, lineterminator="\n")
    writer.writerow(columns)
    writer.writerows([cell if isinstance(cell, str) else exact(cell) for cell in row] for row in rows)
    return stream.getvalue()


def exact(value: float | None) -> str:
    """A number for a CSV file: whole, or ten significant digits; nothing for None and NaN."""
    if value is None or not math.isfinite(value):
        return ""
    if float(value).is_integer() and abs(value) < 2**53:
        return str(int(value))
    return repr(float(f"{value:.10g}"))
