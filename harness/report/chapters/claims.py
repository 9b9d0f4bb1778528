"""What the papers claim beside what the runs show: a table per paper, a row per claim and task."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace

from harness.report.analysis.claims import Held, Row
from harness.report.analysis.effects import CONTRADICTED, FIRSTS, NOT_VISIBLE, RATIO, SUPPORTED
from harness.report.analysis.groups import Conditions, group_by
from harness.report.analysis.measures import AXES
from harness.report.analysis.predictions import Prediction
from harness.report.chapters.pairs import chance
from harness.report.chapters.sections import Section
from harness.report.chapters.table import Table, number_columns, protocol_mark, text_columns, with_interval
from harness.report.labels import DASH, digits, metric_name, percent, points, task_name

TITLE = "The papers' claims at this scale"
TEXT = (
    "What the methods' papers claim, in our words, held against runs of both sides under the same conditions, paired "
    "by seed, three or more. A claim is supported, or contradicted, where p is below 0.05 after Holm's adjustment for "
    "all rows under the same conditions. Not visible says no more than that, and beside it stands the smallest effect "
    "that so many seeds show in a single test. What a paper claims of a large model may hold there and not here."
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
    "noncentral t distribution, for standard deviations approximate. The adjustment asks for more."
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


PREDICTION = "The nearer a method's estimate is to the gradient, the higher it ends."
PREDICTION_NOTE = (
    "Spearman's rank correlation, over the methods, of an error in `harness diagnose` and the mean last value. The "
    "claim is ours, and a correlation below 0 supports it. Errors: of the estimate on a task of three tokens, surest "
    "position first, for the variant nearest to the method's recipe; variance at equal compute. [...]: 95 % interval "
    "over the methods by Fisher's z; p: by 10,000 permutations; smallest shown: approximate."
)


def claims_sections(held: Held) -> list[Section]:
    """The chapter; none where no claim has both of its sides."""
    if not held.rows and not held.predictions:
        return []
    verdicts = [row.verdict for row in held.rows] + [one.verdict for one in held.predictions]
    told = (TEXT, EFFECT, TESTS, _told(verdicts))
    unclear = (UNCLEAR.format(sides="; ".join(held.unclear)),) if held.unclear else ()
    tables = [_table(own) for own in group_by(held.rows, lambda row: (row.claim.paper, row.claim.arxiv)).values()]
    if held.predictions:
        tables.append(_predictions_table(held.predictions))
    parts = [Section(title=table.title, level=3, tables=(table,)) for table in tables]
    return [Section(title=TITLE, text=(*told, *unclear)), *parts]


def _told(verdicts: Sequence[str]) -> str:
    counts = Counter(verdicts)
    return TOLD.format(
        rows=len(verdicts),
        supported=counts[SUPPORTED],
        contradicted=counts[CONTRADICTED],
        not_visible=counts[NOT_VISIBLE],
    )


def _table(rows: Sequence[Row]) -> Table:
    claim = rows[0].claim
    marks = _marks(row.first.conditions for row in rows)
    return Table(
        title=f"Claims: {claim.paper}{f', arXiv {claim.arxiv}' if claim.arxiv else ''}",
        columns=(
            *text_columns("Claim", "Where", "Task", "Runs of", "Against", "Measured by"),
            *number_columns("Effect [95 %]", "Seeds", "p", "p (Holm)", "Smallest shown"),
            *text_columns("Verdict"),
        ),
        cells=tuple(_cells(row, marks[row.first.conditions]) for row in rows),
        notes=_evaluated(marks),
        supports=(_told([row.verdict for row in rows]),),
    )


def _marks(conditions: Iterable[Conditions]) -> dict[Conditions, str]:
    """Task, model and protocol to the task's name, with a number where one task has several."""
    together = group_by(dict.fromkeys(conditions), lambda place: place[0])
    return {
        place: f"{task_name(task)}{protocol_mark(place[2], [one[2] for one in own])}"
        for task, own in together.items()
        for place in own
    }


def _evaluated(marks: Mapping[Conditions, str]) -> tuple[str, ...]:
    return tuple(f"{mark}: {model} model, {protocol.text}." for (_, model, protocol), mark in marks.items())


def _predictions_table(found: Sequence[Prediction]) -> Table:
    marks = _marks((one.task, one.model, one.protocol) for one in found)
    return Table(
        title="Claims: what the estimate's error tells",
        columns=(
            *text_columns("Claim", "Task", "Error", "Value"),
            *number_columns("Methods", "Rank correlation [95 %]", "p", "p (Holm)", "Smallest shown"),
            *text_columns("Verdict"),
        ),
        cells=tuple(_prediction_cells(one, marks[one.task, one.model, one.protocol]) for one in found),
        notes=(PREDICTION_NOTE, *_evaluated(marks)),
        supports=(_told([one.verdict for one in found]),),
    )


def _prediction_cells(one: Prediction, where: str) -> tuple[str, ...]:
    number, smallest = len(one.methods), _correlation(-one.smallest)
    told = _worded(one.verdict, replace(one, adjusted=one.p).verdict)
    return (
        PREDICTION,
        where,
        one.error,
        f"{metric_name(one.metric)} of the last checkpoint",
        str(number),
        with_interval(one.value, one.interval, _correlation),
        chance(one.p),
        chance(one.adjusted),
        f"{smallest} or below",
        told if one.verdict != NOT_VISIBLE else f"{told}: {number} methods show {smallest} or below",
    )


def _correlation(value: float) -> str:
    return f"{value:+.2f}"


def _worded(verdict: str, alone: str) -> str:
    """The verdict; of one that is not visible, what it would be by itself."""
    single = verdict == NOT_VISIBLE and alone != NOT_VISIBLE
    return f"{verdict}, {alone} as a single row" if single else verdict


def _cells(row: Row, where: str) -> tuple[str, ...]:
    return (
        row.claim.says,
        row.claim.where or DASH,
        where,
        row.first.label,
        row.second.label if row.second else DASH,
        _measured(row),
        effect_text(row),
        str(row.effect.seeds),
        chance(row.effect.p),
        chance(row.adjusted),
        smallest_text(row),
        _verdict(row),
    )


def _measured(row: Row) -> str:
    axis = AXES[row.claim.along].short if row.claim.along else ""
    level = percent(row.level) if row.level is not None else ""
    return MEASURED[row.claim.measure].format(metric=metric_name(row.metric), axis=axis, level=level, steps=row.steps)


def effect_text(row: Row) -> str:
    """`-3.1 [-5.9, -0.4]`, in points, or for costs and spreads as a ratio."""
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


def smallest_text(row: Row) -> str:
    """`3.8 points or more`: the smallest effect that the row's seeds show."""
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
    told = _worded(row.verdict, replace(row, adjusted=row.effect.p).verdict)
    return told if row.verdict != NOT_VISIBLE else f"{told}: {row.effect.seeds} seeds show {smallest_text(row)}"
