"""What the papers claim beside what the runs show: a table per paper, a row per claim and task."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import replace

from harness.report.analysis.claims import CONTRADICTED, NOT_VISIBLE, SUPPORTED, Held, Row
from harness.report.analysis.effects import FIRSTS, RATIO
from harness.report.analysis.groups import group_by
from harness.report.analysis.measures import AXES
from harness.report.chapters.pairs import chance
from harness.report.chapters.sections import Section
from harness.report.chapters.table import Table, number_columns, protocol_mark, text_columns, with_interval
from harness.report.labels import DASH, digits, metric_name, percent, points, task_name

TITLE = "The papers' claims at this scale"
TEXT = (
    "What the methods' papers claim, in our words, held against runs of both sides under the same conditions, paired "
    "by seed, three or more. A claim is supported, or contradicted, where p is below 0.05 after Holm's adjustment for "
    "all rows of this chapter. Not visible says no more than that, and beside it stands the smallest effect that so "
    "many seeds show in a single test. What a paper claims of a large model may hold there and not here."
)
TOLD = "Rows: {rows}; supported: {supported}, contradicted: {contradicted}, not visible: {not_visible}."
UNCLEAR = "Left out: {sides}."
EFFECT = (
    "Effect: first minus second in points; for costs and standard deviations first over second. [...]: its 95 % "
    "interval, of the row alone. A level lies three quarters of the way from the base to the second side's mean last "
    "value; where some seed never reaches it by training, the exact sign test says which side came to it first."
)
TESTS = (
    "p: Student's t of the pairs, for costs of their logarithms; for standard deviations Pitman-Morgan. Smallest "
    "shown: with a power of 80 %, at 5 % and two-sided, from the spread between the pairs that was seen; exact by the "
    "noncentral t distribution, for standard deviations approximate. The adjustment for all rows asks for more."
)
MEASURED = {
    "last": "{metric} of the last checkpoint",
    "chosen": "{metric} of the checkpoint chosen on validation",
    "cost": "{axis} to {level} % {metric}",
    "drop": "fall from the highest checkpoint to the last",
    "spread": "standard deviation over seeds of the last checkpoint",
    "position": "mean place of the chosen steps (0 first, 1 last, 0.5 evenly)",
    "fewer_steps": "{metric} of the last checkpoint in {steps} steps",
    "lost_with_fewer_steps": "{metric} lost from all steps to {steps}",
}


def claims_sections(held: Held) -> list[Section]:
    """The chapter; none where no claim has both of its sides."""
    if not held.rows:
        return []
    told = (TEXT, EFFECT, TESTS, _told(held.rows))
    unclear = (UNCLEAR.format(sides="; ".join(held.unclear)),) if held.unclear else ()
    tables = [_table(own) for own in group_by(held.rows, lambda row: (row.claim.paper, row.claim.arxiv)).values()]
    parts = [Section(title=table.title, level=3, tables=(table,)) for table in tables]
    return [Section(title=TITLE, text=(*told, *unclear)), *parts]


def _told(rows: Sequence[Row]) -> str:
    counts = Counter(row.verdict for row in rows)
    return TOLD.format(
        rows=len(rows),
        supported=counts[SUPPORTED],
        contradicted=counts[CONTRADICTED],
        not_visible=counts[NOT_VISIBLE],
    )


def _table(rows: Sequence[Row]) -> Table:
    claim = rows[0].claim
    conditions = list(dict.fromkeys(row.first.conditions for row in rows))
    places = {
        task: [place for place in conditions if place[0] == task]
        for task in dict.fromkeys(one[0] for one in conditions)
    }
    marks = {
        place: f"{task_name(task)}{protocol_mark(place[2], [one[2] for one in own])}"
        for task, own in places.items()
        for place in own
    }
    return Table(
        title=f"Claims: {claim.paper}{f', arXiv {claim.arxiv}' if claim.arxiv else ''}",
        columns=(
            *text_columns("Claim", "Where", "Task", "Runs of", "Against", "Measured by"),
            *number_columns("Effect [95 %]", "Seeds", "p", "p (Holm)", "Smallest shown"),
            *text_columns("Verdict"),
        ),
        cells=tuple(_cells(row, marks[row.first.conditions]) for row in rows),
        notes=tuple(f"{marks[place]}: {place[1]} model, {place[2].text}." for place in conditions),
        supports=(_told(rows),),
    )


def _cells(row: Row, where: str) -> tuple[str, ...]:
    return (
        row.claim.says,
        row.claim.where or DASH,
        where,
        row.first.label,
        row.second.label if row.second else DASH,
        _measured(row),
        _effect(row),
        str(row.effect.seeds),
        chance(row.effect.p),
        chance(row.adjusted),
        _smallest(row),
        _verdict(row),
    )


def _measured(row: Row) -> str:
    axis = AXES[row.claim.along].short if row.claim.along else ""
    level = percent(row.level) if row.level is not None else ""
    return MEASURED[row.claim.measure].format(metric=metric_name(row.metric), axis=axis, level=level, steps=row.steps)


def _effect(row: Row) -> str:
    effect = row.effect
    if effect.kind == FIRSTS and effect.reached:
        ours, theirs = (f"{count} of {effect.seeds}" for count in effect.reached)
        sooner = f"sooner in {-effect.value:.0f} more pairs than later"
        later = f"later in {effect.value:.0f} more pairs than sooner"
        return f"reached by {ours} against {theirs}, {sooner if effect.value < 0 else later}"
    if effect.kind == RATIO:
        return with_interval(effect.value, effect.interval, digits)
    return with_interval(effect.value, effect.interval, _place if row.claim.measure == "position" else points)


def _place(away: float) -> str:
    """A distance from half of the way as the place where it lies."""
    return f"{0.5 + away:.3f}"


def _smallest(row: Row) -> str:
    smallest, effect = row.effect.smallest, row.effect
    if smallest is None:
        return "nothing"
    if effect.kind == FIRSTS:
        return f"sooner in {smallest:.0f} of {effect.seeds} pairs or more"
    if effect.kind == RATIO:
        return f"{digits(smallest)} times or more"
    if row.claim.measure == "position":
        return f"{smallest:.3f} from 0.5 or more"
    return f"{points(smallest).removeprefix('+')} points or more"


def _verdict(row: Row) -> str:
    if row.verdict != NOT_VISIBLE:
        return row.verdict
    alone = replace(row, adjusted=row.effect.p).verdict
    single = "" if alone == NOT_VISIBLE else f", {alone} as a single row"
    return f"{NOT_VISIBLE}{single}: {row.effect.seeds} seeds show {_smallest(row)}"
