"""Tables: one per task and metric, one row per group. Markdown and CSV render the same rows.

The value is the mean over seeds at the last checkpoint. Its interval is over seeds (Student t); with a
single seed it is over the items and is marked so.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from harness.records.schema import MetricTotals
from harness.report.groups import Group, Member, Protocol
from harness.report.labels import (
    DASH,
    Unit,
    digits,
    exact,
    flop_unit,
    headline_metric,
    metric_name,
    percent,
    points,
    task_name,
)
from harness.report.rows import Row
from harness.report.statistics import Interval, bootstrap_interval, items_interval, mean, seed_interval
from harness.report.summary import csv_text
from harness.report.support import interval_supports

BOOTSTRAP_SEED = 0
TOY_MARK = "†"
ITEMS_MARK = "‡"
CHANGED_MARK = "*"
SEEDS_NOTE = (
    "Last: the last checkpoint, mean over seeds. Its interval (Student t) is about the mean over all seeds "
    "on these same items; it says nothing about other items."
)
ITEMS_NOTE = f"{ITEMS_MARK} One seed: the interval is over the items and leaves out how much seeds differ."
TOY_NOTE = f"{TOY_MARK} Tiny model or built-in data: a toy setting, not to be set beside published numbers."
CHANGED_NOTE = f"{CHANGED_MARK} Recipe changed on the command line; the commands in the report say how."


@dataclass(frozen=True, kw_only=True)
class Column:
    """A column of a table; numbers stand right. group: the heading above several columns, which starts their titles."""

    title: str
    numeric: bool = False
    group: str = ""


@dataclass(frozen=True, kw_only=True)
class Table:
    """A table ready to be written in any format: plain-text cells, no markup, and notes below.

    supports: sentences about what the numbers support and what not. bold: (row, column) of the cells that stand
    out. raw: the cells of the CSV file, without marks, where they differ from `cells`.
    """

    title: str
    columns: tuple[Column, ...]
    cells: tuple[tuple[str, ...], ...]
    notes: tuple[str, ...]
    supports: tuple[str, ...] = ()
    bold: frozenset[tuple[int, int]] = frozenset()
    raw: tuple[tuple[str, ...], ...] | None = None


@dataclass(frozen=True, kw_only=True)
class MetricRows:
    """The rows of one task and metric."""

    task: str
    metric: str
    rows: tuple[Row, ...]


def all_rows(groups: Sequence[Group], *, headline: str | None = None) -> list[MetricRows]:
    """The rows of every task and metric of the last checkpoints; a task's headline metric comes first."""
    tables = []
    for task in sorted({group.task for group in groups}):
        own = [group for group in groups if group.task == task]
        metrics = sorted({metric for group in own for record in group.lasts for metric in record.metrics})
        first = headline_metric(metrics, headline)
        for metric in sorted(metrics, key=lambda name: (name != first, name)):
            rows = tuple(row for group in own if (row := make_row(group, metric)) is not None)
            tables.append(MetricRows(task=task, metric=metric, rows=rows))
    return tables


def make_row(group: Group, metric: str) -> Row | None:
    """The numbers of `group` for `metric`; None where no last checkpoint has it."""
    measured = [member for member in group.members if _totals(member, "last", metric) is not None]
    if not measured:
        return None
    records = [record for member in measured if (record := member.at("last")) is not None]
    lasts = [record.metrics[metric] for record in records]
    values = [totals.value for totals in lasts]
    bases = [totals.value for member in measured if (totals := _totals(member, "base", metric)) is not None]
    gains = [last - base for last, base in zip(values, bases, strict=True)] if len(bases) == len(values) else []
    over_seeds, gain_interval = seed_interval(values), seed_interval(gains)
    return Row(
        group=group,
        metric=metric,
        seeds=tuple(member.run.identity.seed for member in measured),
        value=mean(values),
        interval=over_seeds.clipped(0.0, 1.0) if over_seeds else items_interval(lasts[0]),
        over="seeds" if over_seeds else "items",
        bootstrap=bootstrap_interval(values, np.random.default_rng(BOOTSTRAP_SEED)),
        base=mean(bases) if gains else None,
        gain=mean(gains) if gains else None,
        gain_interval=gain_interval.clipped(-1.0, 1.0) if gain_interval else None,
        n=lasts[0].n,
        updates=mean([record.update for record in records]),
        samples=mean([record.samples for record in records]),
        flops_total=mean([record.flops_total for record in records]),
        seconds=mean([record.seconds for record in records]),
        ceiling=records[0].ceiling.get(metric),
    )


def _totals(member: Member, checkpoint: str, metric: str) -> MetricTotals | None:
    record = member.at(checkpoint)
    totals = record.metrics.get(metric) if record is not None else None
    return totals if totals is not None and totals.whole else None


TABLE_COLUMNS = (
    Column(title="Method"),
    Column(title="Reward"),
    Column(title="Model"),
    Column(title="Recipe"),
    Column(title="Data"),
    Column(title="Base, %", numeric=True),
    Column(title="Last, % [95 % interval]", numeric=True),
    Column(title="Gain, points", numeric=True),
    Column(title="Items", numeric=True),
    Column(title="Seeds", numeric=True),
    Column(title="Updates", numeric=True),
    Column(title="Samples", numeric=True),
)


def make_table(found: MetricRows) -> Table:
    """The table of one task and metric."""
    unit = flop_unit(max((row.flops_total for row in found.rows), default=0.0))
    protocols = sorted({row.group.protocol for row in found.rows})
    costs = (Column(title=unit.name, numeric=True), Column(title="Train time, s", numeric=True))
    return Table(
        title=f"{task_name(found.task)}, {metric_name(found.metric)}",
        columns=(*TABLE_COLUMNS, *costs),
        cells=tuple(_cells(row, unit, protocols) for row in found.rows),
        notes=tuple(_notes(found.rows, protocols)),
        supports=tuple(interval_supports(found.rows)),
    )


def _cells(row: Row, unit: Unit, protocols: Sequence[Protocol]) -> tuple[str, ...]:
    group = row.group
    place = f" ({protocols.index(group.protocol) + 1})" if len(protocols) > 1 else ""
    tiny = TOY_MARK if "tiny model" in row.labels else ""
    builtin = TOY_MARK if "builtin data" in row.labels else ""
    span = f" [{percent(row.interval.low)}, {percent(row.interval.high)}]" if row.interval else ""
    return (
        group.label,
        group.reward,
        f"{group.model}{tiny}",
        f"{group.recipe}{CHANGED_MARK if row.overrides else ''}",
        f"{group.protocol.data}{builtin}{place}",
        percent(row.base) if row.base is not None else DASH,
        f"{percent(row.value)}{span}{ITEMS_MARK if row.over == 'items' else ''}",
        points(row.gain) if row.gain is not None else DASH,
        f"{row.n:,}",
        str(len(row.seeds)),
        f"{row.updates:,.0f}",
        f"{row.samples:,.0f}",
        digits(row.flops_total / unit.size),
        digits(row.seconds),
    )


def _notes(rows: Sequence[Row], protocols: Sequence[Protocol]) -> list[str]:
    several = len(protocols) > 1
    notes = [
        f"Evaluated on{f' ({number})' if several else ''}: {protocol.text}."
        for number, protocol in enumerate(protocols, start=1)
    ]
    ceilings = sorted({row.ceiling for row in rows if row.ceiling is not None})
    if several:
        notes.append("Rows with different numbers were evaluated differently: do not rank them against each other.")
    notes += [
        f"A perfect solver is expected to reach {100 * ceiling:.2f} %: some items have several answers."
        for ceiling in ceilings
    ]
    explained = {
        SEEDS_NOTE: any(row.over == "seeds" for row in rows),
        ITEMS_NOTE: any(row.over == "items" for row in rows),
        TOY_NOTE: any(row.labels for row in rows),
        CHANGED_NOTE: any(row.overrides for row in rows),
    }
    return notes + [note for note, needed in explained.items() if needed]


def markdown(table: Table) -> str:
    """The table in GitHub's Markdown, and below it what it supports and its notes."""
    lines = [
        _markdown_line([escape_markdown(column.title) for column in table.columns]),
        _markdown_line(["---:" if column.numeric else "---" for column in table.columns]),
        *(
            _markdown_line([_markdown_cell(cell, bold=(row, place) in table.bold) for place, cell in enumerate(cells)])
            for row, cells in enumerate(table.cells)
        ),
    ]
    supports = ["What the numbers support:", "", *_bullets(table.supports), "", "Notes:", ""] if table.supports else []
    return "\n".join([*lines, "", *supports, *_bullets(table.notes)]) + "\n"


def _bullets(texts: Sequence[str]) -> list[str]:
    return [f"- {escape_markdown(text)}" for text in texts]


def _markdown_cell(text: str, *, bold: bool) -> str:
    escaped = escape_markdown(text)
    return f"**{escaped}**" if bold and escaped else escaped


def _markdown_line(cells: Sequence[str]) -> str:
    return "| " + " | ".join(cells) + " |"


def escape_markdown(text: str) -> str:
    """Text that Markdown shows as it stands, on one line."""
    escaped = "".join(f"\\{letter}" if letter in "\\`*<|" else letter for letter in " ".join(text.split()))
    return escaped.replace("](", "]\\(")


def cells_csv(table: Table) -> str:
    """The table as CSV: the titles, then the cells without marks."""
    return csv_text([column.title for column in table.columns], table.raw if table.raw is not None else table.cells)


CSV_COLUMNS = (
    "task",
    "metric",
    "method",
    "reward",
    "model",
    "recipe",
    "data",
    "split",
    "items_sha256",
    "decoding",
    "variant",
    "overrides",
    "labels",
    "checkpoint",
    "value",
    "low",
    "high",
    "interval",
    "bootstrap_low",
    "bootstrap_high",
    "base",
    "gain",
    "gain_low",
    "gain_high",
    "ceiling",
    "n",
    "seeds",
    "updates",
    "samples",
    "flops_total",
    "seconds",
)


def table_csv(tables: Sequence[MetricRows]) -> str:
    """All rows of all tables as one CSV; fractions of 1, seeds separated by blanks."""
    return csv_text(CSV_COLUMNS, (_csv_cells(row) for found in tables for row in found.rows))


def _csv_cells(row: Row) -> list[str]:
    group, protocol = row.group, row.group.protocol
    identity = [group.task, row.metric, group.method, group.reward, group.model, group.recipe]
    evaluation = [protocol.data, protocol.split, protocol.items_sha256, protocol.decoding]
    labels = [group.variant, row.overrides, "; ".join(row.labels), "last"]
    value = [exact(row.value), *_bounds(row.interval), row.over, *_bounds(row.bootstrap)]
    gain = [exact(row.base), exact(row.gain), *_bounds(row.gain_interval), exact(row.ceiling)]
    counts = [str(row.n), " ".join(str(seed) for seed in row.seeds)]
    cost = [exact(row.updates), exact(row.samples), exact(row.flops_total), exact(row.seconds)]
    return [*identity, *evaluation, *labels, *value, *gain, *counts, *cost]


def _bounds(interval: Interval | None) -> list[str]:
    return [exact(interval.low), exact(interval.high)] if interval else ["", ""]
