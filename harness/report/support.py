"""Sentences about what the rows of a table support and what not, made from their intervals."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Sequence

from harness.report.labels import listed, percent
from harness.report.rows import Row
from harness.report.statistics import wilson_interval


def interval_supports(rows: Sequence[Row]) -> list[str]:
    """Per model and protocol: the highest, what its interval overlaps with, and what has come to the ceiling.

    Controls are left out. An overlap proves no equality; that intervals lie apart is the stronger statement.
    """
    together: dict[tuple[object, ...], list[Row]] = defaultdict(list)
    for row in rows:
        if not row.group.is_control:
            together[row.group.model, row.group.protocol].append(row)
    several = len(together) > 1
    texts = []
    for number, own in enumerate(together.values(), start=1):
        start = f"Model and evaluation {number}: " if several else ""
        texts += [f"{start}{text}" for text in (*_order(own), *_ceilings(own))]
    return texts


def overlapping(best: Row, other: Row) -> bool:
    """Whether the intervals of two rows overlap, or one has none; then intervals alone cannot tell them apart."""
    if best.interval is None or other.interval is None:
        return True
    return best.interval.low <= other.interval.high


def _order(rows: Sequence[Row]) -> list[str]:
    if len(rows) < 2:
        return []
    best = max(rows, key=lambda row: row.value)
    near = [row.group.label for row in rows if row is not best and overlapping(best, row)]
    below = [row.group.label for row in rows if row is not best and not overlapping(best, row)]
    texts = [f"The highest is {best.group.label} with {percent(best.value)} %."]
    if near:
        texts.append(f"Its interval overlaps with {listed(near)}: the intervals do not tell them apart.")
    if below:
        texts.append(f"Its interval lies above {listed(below)}.")
    return texts


def _ceilings(rows: Sequence[Row]) -> list[str]:
    solved = [row for row in rows if _is_solved(row)]
    if not solved:
        return []
    names = listed([f"{row.group.label} {percent(row.value)}" for row in solved])
    ceiling = percent(solved[0].ceiling or 1.0)
    return [f"{names}: not told from the {ceiling} % that a perfect solver is expected to get: solved, not a ranking."]


def _is_solved(row: Row) -> bool:
    """The row's interval and that of a perfect solver on as many items both leave room for the ceiling.

    A wide interval over few seeds alone would call anything solved.
    """
    if row.ceiling is None:
        return False
    reaches = row.interval is None or row.interval.high >= row.ceiling
    return reaches and row.value >= wilson_interval(row.ceiling * row.n, row.n).low
