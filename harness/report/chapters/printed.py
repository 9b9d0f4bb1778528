"""Printed values one by one: each with its protocol in words, and how that departs from EGSPO's."""

from __future__ import annotations

from collections.abc import Sequence

from harness.report.analysis.statistics import wilson_interval
from harness.report.chapters.table import Column, Table, interval_text
from harness.report.labels import DASH, percent, task_name
from harness.report.read.published import CHECKPOINT, TRAINING, Published, Value

REFERENCE_PAPER, REFERENCE_METHOD = "egspo", "EGSPO-SA"
EVERY_NUMERIC = ("Value", "95 % interval", "Shots", "Tokens per step")
EVERY_TITLES = (
    *("Method", "Printed by", "Whose", "Model", "Metric", "Length", "Value", "Unit", "95 % interval", "Items", "Shots"),
    *("Tokens per step", "Checkpoint", "Training", "Grade", "Source", "Note"),
)
EVERY_NOTE = (
    "95 % interval: Wilson's, from the number of items where it is known; for cell accuracy it counts puzzles, not "
    "cells, and is on the wide side. It is about the items alone and not about seeds or the choice of a checkpoint."
)
WHOSE_NOTE = "Whose: the paper's own method or base, its re-run of another, a quotation, or unclear which."


def value_text(value: Value) -> str:
    """The value with the decimals of its paper."""
    return f"{value.value:.{value.decimals}f}"


def paper_name(paper: str, published: Published) -> str:
    """`EGSPO, 2603.12554`."""
    found = published.papers[paper]
    return f"{found.name}, {found.arxiv}" if found.arxiv else found.name


def differences(value: Value, published: Published) -> str:
    """How the protocol departs from EGSPO's on the same task, for a footnote; empty where it does not."""
    reference = reference_of(value.task, published)
    trained = value.training != "none"
    found = {
        "items": (value.items, reference.items, _items_text(value, published)),
        "worked examples": (value.shots, reference.shots, f"{value.shots}-shot"),
        "tokens per step": (value.tokens_per_step, reference.tokens_per_step, _steps_text(value)),
        "checkpoint choice": (value.checkpoint, reference.checkpoint, CHECKPOINT[value.checkpoint]),
        "kind of training": (value.training, reference.training, TRAINING[value.training]),
    }
    if not trained:
        del found["checkpoint choice"], found["kind of training"]
    texts = [text for own, other, text in found.values() if own not in ("", None, other)]
    missing = [name for name, (own, _, _) in found.items() if own in ("", None)]
    return "; ".join([*texts, *([f"not stated: {', '.join(missing)}"] if missing else [])])


def reference_of(task: str, published: Published) -> Value:
    """The value whose protocol footnotes compare with: EGSPO-SA's own on LLaDA."""
    return next(
        value
        for value in published.values
        if (value.paper, value.method, value.task) == (REFERENCE_PAPER, REFERENCE_METHOD, task)
    )


def reference_text(tasks: Sequence[str], published: Published) -> str:
    """The reference protocol of several tasks in words: what they share, then their items."""
    values = [reference_of(task, published) for task in tasks]
    protocols = [
        (f"{value.shots}-shot", _steps_text(value), CHECKPOINT[value.checkpoint], TRAINING[value.training])
        for value in values
    ]
    shared = [" or ".join(dict.fromkeys(texts)) for texts in zip(*protocols, strict=True)]
    items = [f"{task_name(value.task)} on {_items_text(value, published)}" for value in values]
    return f"{', '.join(shared)}; {', '.join(items)}"


def _items_text(value: Value, published: Published) -> str:
    return published.item_sets[value.items].label if value.items else ""


def _steps_text(value: Value) -> str:
    return f"{value.tokens_per_step} token{'s' if value.tokens_per_step != 1 else ''} per step"


def every_value(published: Published, task: str) -> Table:
    """All printed values of a task, re-runs and quotations too, each with its protocol, grade and source."""
    rows = [value for value in published.values if value.task == task]
    return Table(
        title=f"{task_name(task)}, every published value",
        columns=tuple(Column(title=title, numeric=title in EVERY_NUMERIC) for title in EVERY_TITLES),
        cells=tuple(_every_cells(value, published) for value in rows),
        notes=(EVERY_NOTE, WHOSE_NOTE, *(f"{grade.grade}: {grade.meaning}." for grade in published.grades.values())),
    )


def _every_cells(value: Value, published: Published) -> tuple[str, ...]:
    return (
        f"{value.method} ({value.variant})" if value.variant else value.method,
        paper_name(value.paper, published),
        value.whose,
        value.model,
        value.metric,
        value.length,
        value_text(value),
        value.unit,
        _interval(value, published),
        _items_text(value, published) or DASH,
        DASH if value.shots is None else str(value.shots),
        DASH if value.tokens_per_step is None else str(value.tokens_per_step),
        CHECKPOINT[value.checkpoint] or DASH,
        TRAINING[value.training] or DASH,
        value.grade,
        value.source,
        value.note,
    )


def _interval(value: Value, published: Published) -> str:
    n = published.item_sets[value.items].n if value.items else None
    if n is None or value.unit != "%":
        return DASH
    return interval_text(wilson_interval(value.value / 100 * n, n), percent)
