"""The papers' tables with our own numbers: tasks and lengths across, methods down. Never a published number here.

Toy runs (tiny model or built-in data) have a labelled table of their own: they are not comparable with papers.
"""

from __future__ import annotations

import json
from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from harness.report.analysis.groups import Group, Protocol, group_by, metrics_of
from harness.report.analysis.rows import Row, make_row, overlapping
from harness.report.chapters.published import TABLE_1, TABLE_2, WITHIN_MARK
from harness.report.chapters.results import interval_notes, items_mark
from harness.report.chapters.table import Column, Table, protocol_mark, text_columns, with_interval
from harness.report.labels import DASH, headline_metric, metric_name, percent, task_name

PAPER_METRICS = ("official_cell_accuracy", "official_accuracy", "pass@1")
TOY = "toy settings (tiny model or built-in data, not comparable with papers)"
OVERLAP_NOTE = (
    f"{WITHIN_MARK} The interval overlaps with that of the highest value under the same evaluation. Bold: the highest, "
    "and its interval lies above all others. Values of different evaluations are never ranked."
)


@dataclass(frozen=True, kw_only=True)
class Place:
    """A column: task and completion length in tokens."""

    task: str
    length: int

    @property
    def title(self) -> str:
        """`Sudoku 256`."""
        return f"{task_name(self.task)} {self.length}"


@dataclass(frozen=True, kw_only=True)
class Line:
    """A row: runs that share method, reward, model, recipe and variant. head: label, model, recipe."""

    head: tuple[str, str, str]
    cells: Mapping[Place, Row]

    @property
    def is_control(self) -> bool:
        """Trained on random rewards."""
        return any(row.group.is_control for row in self.cells.values())


def measured_tables(groups: Sequence[Group]) -> list[Table]:
    """Tables 1 and 2 of the full-size runs, then of the toy runs; one that no run belongs to is left out."""
    found = []
    kinds = ((1, "reasoning and logic", TABLE_1), (2, "code", TABLE_2))
    for is_toy, kind in ((False, "measured"), (True, TOY)):
        ours = [group for group in groups if bool(group.toy_reasons) is is_toy and group.lasts]
        for number, what, tasks in kinds:
            if own := [group for group in ours if group.task in tasks]:
                found.append(_table(f"Table {number}, {kind}: {what}, %", own, tasks))
    return found


def _table(title: str, groups: Sequence[Group], tasks: Sequence[str]) -> Table:
    metrics = {task: paper_metric([group for group in groups if group.task == task]) for task in tasks}
    lines = _lines(groups, metrics)
    places = sorted(
        {place for line in lines for place in line.cells}, key=lambda place: (tasks.index(place.task), place.length)
    )
    protocols = {
        place: sorted({line.cells[place].group.protocol for line in lines if place in line.cells}) for place in places
    }
    rivals = _Rivals(lines)
    head = text_columns("Method", "Model", "Recipe")
    return Table(
        title=title,
        columns=(*head, *(Column(title=place.title, numeric=True, group=task_name(place.task)) for place in places)),
        cells=tuple(
            (*line.head, *(_cell(line.cells.get(place), protocols[place], rivals) for place in places))
            for line in lines
        ),
        notes=tuple(_notes(lines, metrics, protocols)),
        bold=frozenset(
            (number, len(head) + column)
            for number, line in enumerate(lines)
            for column, place in enumerate(places)
            if place in line.cells and rivals.stands_out(line.cells[place])
        ),
        raw=tuple(
            (*line.head, *(100 * row.value if (row := line.cells.get(place)) else None for place in places))
            for line in lines
        ),
    )


def paper_metric(groups: Sequence[Group]) -> str:
    """The metric that papers print where every group has it, else the task's headline."""
    names = [set(record.metrics) for group in groups for record in group.lasts]
    shared = (metric for metric in PAPER_METRICS if names and all(metric in own for own in names))
    return next(shared, headline_metric(metrics_of(groups)))


def _lines(groups: Sequence[Group], metrics: Mapping[str, str]) -> list[Line]:
    """A group that would fall into a taken cell (another evaluation at the same length) opens a further line."""
    found: dict[tuple[str, str, str], list[dict[Place, Row]]] = defaultdict(list)
    for group in groups:
        row = make_row(group, metrics[group.task])
        if row is None:
            continue
        place = Place(task=group.task, length=_length(group.protocol))
        own = found[group.called(group.variant), group.model, group.recipe]
        free = next((cells for cells in own if place not in cells), None)
        if free is None:
            own.append({place: row})
        else:
            free[place] = row
    lines = [Line(head=head, cells=cells) for head, own in found.items() for cells in own]
    return sorted(lines, key=lambda line: (line.is_control, line.head))


def _length(protocol: Protocol) -> int:
    length = json.loads(protocol.decoding).get("completion_length", 0)
    return length if isinstance(length, int) else 0


class _Rivals:
    """The rows that may be ranked with each other: task, model and evaluation the same, no controls."""

    def __init__(self, lines: Sequence[Line]) -> None:
        rows = [row for line in lines for row in line.cells.values() if not row.group.is_control]
        self._together = group_by(rows, lambda row: row.group.conditions)

    def _others(self, row: Row) -> list[Row]:
        together = [] if row.group.is_control else self._together[row.group.conditions]
        return [other for other in together if other is not row]

    def stands_out(self, row: Row) -> bool:
        """Whether the row's interval lies above that of every other."""
        others = self._others(row)
        return bool(others) and all(row.value > other.value and not overlapping(row, other) for other in others)

    def is_near(self, row: Row) -> bool:
        """Whether the row is the highest or overlaps with it, and the highest is not alone."""
        others = self._others(row)
        best = max((row, *others), key=lambda one: one.value)
        return any(overlapping(best, other) for other in others) if best is row else overlapping(best, row)


def _cell(row: Row | None, protocols: Sequence[Protocol], rivals: _Rivals) -> str:
    if row is None:
        return DASH
    near = WITHIN_MARK if rivals.is_near(row) else ""
    value = with_interval(row.value, row.interval, percent)
    return f"{value}{near}{items_mark(row)}{protocol_mark(row.group.protocol, protocols)}"


def _notes(
    lines: Sequence[Line], metrics: Mapping[str, str], protocols: Mapping[Place, Sequence[Protocol]]
) -> list[str]:
    rows = [row for line in lines for row in line.cells.values()]
    shown = dict.fromkeys(place.task for place in protocols)
    ceilings = sorted({(row.group.task, row.ceiling) for row in rows if row.ceiling is not None})
    return [
        f"Metric: {', '.join(f'{task_name(task)} {metric_name(metrics[task])}' for task in shown)}. "
        "Numbers after tasks are completion lengths in tokens. Last checkpoint, never the best on the test set.",
        *(
            f"{place.title}{protocol_mark(protocol, own)}: {protocol.text}."
            for place, own in protocols.items()
            for protocol in own
        ),
        *(f"{task_name(task)}: a perfect solver is expected to reach {percent(top)} %." for task, top in ceilings),
        *interval_notes(rows),
        OVERLAP_NOTE,
    ]
