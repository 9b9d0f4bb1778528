"""Numbers for a CSV file, before any format: records with named cells, and the cells that say whose they are."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from harness.report.analysis.groups import Group
from harness.report.analysis.statistics import Interval


@dataclass(frozen=True, kw_only=True)
class Points:
    """A file's records in their order. What a record lacks stays empty; what is no column is left out."""

    columns: tuple[str, ...]
    records: tuple[Mapping[str, Any], ...]


def make_points(columns: str, records: Iterable[Mapping[str, Any]]) -> Points:
    """columns: their names in order, with blanks between them."""
    return Points(columns=tuple(columns.split()), records=tuple(records))


def identity(group: Group) -> dict[str, Any]:
    """Whose a record is: task, method, label, model, data and everything else that groups differ in."""
    return {**vars(group.protocol), **vars(group), "label": group.label, "seeds": listing(group.seeds)}


def listing(seeds: Sequence[int]) -> str:
    """Seeds in one cell, separated by blanks."""
    return " ".join(str(seed) for seed in seeds)


def bounds(interval: Interval | None, prefix: str = "") -> dict[str, float]:
    """The cells `low` and `high`, none without an interval. prefix: before their names."""
    return {f"{prefix}low": interval.low, f"{prefix}high": interval.high} if interval else {}
