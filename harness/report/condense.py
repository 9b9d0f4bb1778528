"""Columns that say the same in every row: one sentence instead of a column, where a table must be narrow."""

from __future__ import annotations

from dataclasses import dataclass, replace

from harness.report.tables import Table


@dataclass(frozen=True, kw_only=True)
class Condensed:
    """A table without its constant columns. shared: what stood in them, `model tiny`."""

    table: Table
    shared: tuple[str, ...]


def condense(table: Table, *, numbers: bool) -> Condensed:
    """Takes out the columns with one value in all rows; the first column stays. numbers: those with numbers too.

    A table with a single row stays as it is, and a column with a cell that stands out.
    """
    if len(table.cells) < 2:
        return Condensed(table=table, shared=())
    columns = list(zip(*table.cells, strict=True))
    marked = {column for _, column in table.bold}
    out = [
        index
        for index, (column, values) in enumerate(zip(table.columns, columns, strict=True))
        if index > 0 and index not in marked and len(set(values)) == 1 and (numbers or not column.numeric)
    ]
    kept = [index for index in range(len(columns)) if index not in out]
    place = {old: new for new, old in enumerate(kept)}
    return Condensed(
        table=replace(
            table,
            columns=tuple(table.columns[index] for index in kept),
            cells=tuple(tuple(row[index] for index in kept) for row in table.cells),
            bold=frozenset((row, place[column]) for row, column in table.bold),
            raw=None,
        ),
        shared=tuple(f"{_lower(table.columns[index].title)} {columns[index][0]}" for index in out),
    )


def _lower(title: str) -> str:
    """`Model` as `model`, `GFLOP` as it is."""
    return title if title[1:2].isupper() else f"{title[:1].lower()}{title[1:]}"
