"""The tables of a task: one per metric, one row per group, and sentences about what the intervals support."""

from __future__ import annotations

from collections.abc import Sequence

from harness.report.analysis.groups import Protocol, group_by
from harness.report.analysis.rows import MetricRows, Row, is_solved, overlapping
from harness.report.chapters.table import Table, number_columns, protocol_mark, text_columns, with_interval
from harness.report.labels import (
    DASH,
    Unit,
    capitalized,
    digits,
    flop_unit,
    listed,
    metric_name,
    percent,
    points,
    task_name,
)

TOY_MARK = "†"
ITEMS_MARK = "‡"
CHANGED_MARK = "*"
SEEDS_NOTE = (
    "Last: the last checkpoint, mean over seeds. Its interval (Student t) is about the mean over all seeds "
    "on these same items; it says nothing about other items."
)
ITEMS_NOTE = f"{ITEMS_MARK} One seed: the interval is over the items and does not cover the variation between seeds."
TOY_NOTE = f"{TOY_MARK} Tiny model or built-in data: a toy setting, not comparable with published numbers."
CHANGED_NOTE = f"{CHANGED_MARK} Recipe changed on the command line; the commands in the report say how."


def make_table(found: MetricRows) -> Table:
    """The table of one task and metric."""
    unit = flop_unit(max((row.flops_total for row in found.rows), default=0.0))
    protocols = sorted({row.group.protocol for row in found.rows})
    values = ("Base, %", "Last, % [95 % interval]", "Gain, points")
    counts = ("Items", "Seeds", "Updates", "Samples", unit.name, "Train time, s")
    prompts = text_columns("Training prompts", "Evaluation prompts")
    return Table(
        title=f"{task_name(found.task)}, {metrics_text(found)}",
        columns=(
            *text_columns("Method", "Reward", "Model", "Recipe", "Data"),
            *number_columns(*values, *counts),
            *prompts,
        ),
        cells=tuple(_cells(row, unit, protocols) for row in found.rows),
        notes=(*_agreement(found), *_notes(found.rows, protocols)),
        supports=tuple(interval_supports(found.rows)),
    )


def metrics_text(found: MetricRows) -> str:
    """`accuracy and official accuracy`."""
    return listed([metric_name(metric) for metric in (found.metric, *found.also)])


def _agreement(found: MetricRows) -> list[str]:
    return [f"{capitalized(metrics_text(found))} agree in every row: one table stands for all."] if found.also else []


def items_mark(row: Row) -> str:
    """What tells an interval over items from one over seeds."""
    return ITEMS_MARK if row.over == "items" else ""


def _cells(row: Row, unit: Unit, protocols: Sequence[Protocol]) -> tuple[str, ...]:
    group = row.group
    tiny = TOY_MARK if "tiny model" in group.toy_reasons else ""
    builtin = TOY_MARK if "builtin data" in group.toy_reasons else ""
    return (
        group.label,
        group.reward,
        f"{group.model}{tiny}",
        f"{group.recipe}{CHANGED_MARK if row.overrides else ''}",
        f"{group.protocol.data}{builtin}{protocol_mark(group.protocol, protocols)}",
        percent(row.base) if row.base is not None else DASH,
        f"{with_interval(row.value, row.interval, percent)}{items_mark(row)}",
        points(row.gain) if row.gain is not None else DASH,
        f"{row.n:,}",
        str(len(row.seeds)),
        f"{row.updates:,.0f}",
        f"{row.samples:,.0f}",
        digits(row.flops_total / unit.size),
        digits(row.seconds),
        group.training_prompts,
        group.evaluation_prompts,
    )


def _notes(rows: Sequence[Row], protocols: Sequence[Protocol]) -> list[str]:
    notes = [f"Evaluated on{protocol_mark(protocol, protocols)}: {protocol.text}." for protocol in protocols]
    if len(protocols) > 1:
        notes.append("Rows with different numbers were evaluated differently: do not rank them against each other.")
    notes += [
        f"A perfect solver is expected to reach {100 * ceiling:.2f} %: some items have several answers."
        for ceiling in sorted({row.ceiling for row in rows if row.ceiling is not None})
    ]
    toy = [TOY_NOTE] if any(row.group.toy_reasons for row in rows) else []
    return [*notes, *interval_notes(rows), *toy, *([CHANGED_NOTE] if any(row.overrides for row in rows) else [])]


def interval_notes(rows: Sequence[Row]) -> list[str]:
    """What the intervals of the rows are about."""
    kinds = {row.over for row in rows}
    return [note for kind, note in (("seeds", SEEDS_NOTE), ("items", ITEMS_NOTE)) if kind in kinds]


def interval_supports(rows: Sequence[Row]) -> list[str]:
    """Per model and protocol: the highest, what its interval overlaps with, and what has come to the ceiling.

    Controls are left out. Overlapping intervals do not prove equality; intervals that do not overlap say more.
    """
    together = group_by((row for row in rows if not row.group.is_control), lambda row: row.group.conditions)
    texts = []
    for number, own in enumerate(together.values(), start=1):
        start = f"Model and evaluation {number}: " if len(together) > 1 else ""
        texts += [f"{start}{text}" for text in (*_order(own), *_ceilings(own))]
    return texts


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
    solved = [row for row in rows if is_solved(row)]
    if not solved:
        return []
    names = listed([f"{row.group.label} {percent(row.value)}" for row in solved])
    ceiling = percent(solved[0].ceiling or 1.0)
    return [f"{names}: not distinguishable from the {ceiling} % expected of a perfect solver: solved, not a ranking."]
