"""The published choices of a checkpoint side by side, named as what they are."""

from __future__ import annotations

from collections.abc import Sequence

from harness.report.analysis.checkpoints import Choices, Chosen, make_choices
from harness.report.analysis.groups import Group
from harness.report.analysis.points import listing
from harness.report.chapters.table import Table, number_columns, text_columns, with_interval
from harness.report.labels import metric_name, percent, points, task_name

NOTES = (
    "Means over seeds with 95 % intervals over seeds, then the updates of the chosen checkpoints, seed by seed; of "
    "equal ones the earliest. The model before training is no choice.",
    "Chosen on validation: highest on the validation items, evaluated on the test items. This and the last checkpoint "
    "are fair; every other table has the last.",
    "Best on test: chosen on the test items themselves, and therefore optimistic; of several lengths one checkpoint "
    "for all, by their mean. Best per length: chosen anew for each, more optimistic still. Many papers print these.",
)


def choices_tables(groups: Sequence[Group], metric: str) -> list[Table]:
    """The table of a task; none where no run has two checkpoints to choose from."""
    found = make_choices(groups, metric)
    if not found:
        return []
    values = ("Last, %", "Chosen on validation, %", "Best on test (optimistic), %", "Best per length (optimistic), %")
    return [
        Table(
            title=f"{task_name(found[0].group.task)}, {metric_name(metric)}: choices of a checkpoint",
            columns=(*text_columns("Method", "Model"), *number_columns("Checkpoints", *values)),
            cells=tuple(_cells(choices) for choices in found),
            notes=NOTES,
            supports=tuple(_supports(found)),
        )
    ]


def _cells(choices: Choices) -> tuple[str, ...]:
    chosen = (choices.last, choices.validation, choices.best, choices.best_per_length)
    counts = listing(sorted(set(choices.checkpoints)))
    return (choices.group.label, choices.group.model, counts, *map(_cell, chosen))


def _cell(chosen: Chosen) -> str:
    if chosen.value is None:
        return f"empty: {chosen.why}"
    return f"{with_interval(chosen.value, chosen.interval, percent)} at {listing(chosen.updates)}"


def _supports(found: Sequence[Choices]) -> list[str]:
    """What the choice on the test items is worth."""
    gains = [
        choices.best.value - choices.last.value
        for choices in found
        if choices.best.value is not None and choices.last.value is not None
    ]
    if not gains:
        return []
    low, high = points(min(gains)).removeprefix("+"), points(max(gains)).removeprefix("+")
    span = low if low == high else f"{low} to {high}"
    return [f"Choosing on the test items adds {span} points to the last checkpoint."]
