"""A table in no format, how a number with its interval is written in it, and how it becomes narrow."""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import Any

from harness.report.analysis.groups import Protocol
from harness.report.analysis.statistics import Interval
from harness.report.labels import numbered

LONGEST_STEM = 90


@dataclass(frozen=True, kw_only=True)
class Column:
    """A column of a table; numbers are aligned right. group: the heading above several columns; their titles begin
    with it."""

    title: str
    numeric: bool = False
    group: str = ""


@dataclass(frozen=True, kw_only=True)
class Table:
    """A table ready to be written in any format: plain-text cells, no markup, and notes below.

    supports: sentences about what the numbers do and do not support. bold: (row, column) of the cells that stand
    out. raw: texts and numbers of the CSV file, without marks, where they differ from `cells`. stem: of its file names.
    """

    title: str
    columns: tuple[Column, ...]
    cells: tuple[tuple[str, ...], ...]
    notes: tuple[str, ...]
    supports: tuple[str, ...] = ()
    bold: frozenset[tuple[int, int]] = frozenset()
    raw: tuple[tuple[Any, ...], ...] | None = None
    stem: str = ""


def with_stems(tables: Sequence[Table]) -> list[Table]:
    """The tables with names of files after their titles, no two the same."""
    stems = [re.sub(r"[^a-z0-9]+", "-", table.title.lower()).strip("-")[:LONGEST_STEM].rstrip("-") for table in tables]
    return [replace(table, stem=stem) for table, stem in zip(tables, numbered(stems, mark="--"), strict=True)]


def text_columns(*titles: str) -> tuple[Column, ...]:
    """Columns of words."""
    return tuple(Column(title=title) for title in titles)


def number_columns(*titles: str) -> tuple[Column, ...]:
    """Columns of numbers."""
    return tuple(Column(title=title, numeric=True) for title in titles)


def with_interval(value: float, interval: Interval | None, show: Callable[[float], str]) -> str:
    """`63.3 [59.4, 67.2]`, the value alone without an interval."""
    return f"{show(value)} {interval_text(interval, show)}" if interval else show(value)


def interval_text(interval: Interval, show: Callable[[float], str]) -> str:
    """`[59.4, 67.2]`."""
    return f"[{show(interval.low)}, {show(interval.high)}]"


def protocol_mark(protocol: Protocol, protocols: Sequence[Protocol]) -> str:
    """Which of the protocols in the notes it is: ` (2)`; empty where there is one alone."""
    return f" ({protocols.index(protocol) + 1})" if len(protocols) > 1 else ""


@dataclass(frozen=True, kw_only=True)
class Condensed:
    """A table without its constant columns. shared: their content, `model tiny`."""

    table: Table
    shared: tuple[str, ...]


def condense(table: Table, *, numbers: bool) -> Condensed:
    """Takes out the columns with one value in all rows; the first column stays. numbers: those with numbers too.

    A table with a single row stays as it is, and so does a column with a bold cell.
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
