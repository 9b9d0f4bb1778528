"""Printed values one by one: each with its protocol in words, and how that departs from EGSPO's."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

from harness.report.analysis.statistics import wilson_interval
from harness.report.chapters.table import Column, Table, interval_text, number_columns, text_columns
from harness.report.labels import DASH, listed, method_name, percent, task_name
from harness.report.read.published import CHECKPOINT, TRAINING, Published, Value

REFERENCE_PAPER, REFERENCE_METHOD = "egspo", "EGSPO-SA"
EVERY_NUMERIC = ("Value", "95 % interval", "Shots", "Tokens per step")
EVERY_TITLES = (
    *(
        "Method",
        "Method here",
        "Printed by",
        "Whose",
        "Model",
        "Metric",
        "Length",
        "Value",
        "Unit",
        "95 % interval",
        "Items",
        "Shots",
    ),
    *("Tokens per step", "Checkpoint", "Training", "Grade", "Source", "Note"),
)
EVERY_NOTE = (
    "95 % interval: Wilson's, from the number of items where it is known; for cell accuracy it counts puzzles, not "
    "cells, and is on the wide side. It is about the items alone and not about seeds or the choice of a checkpoint."
)
HERE_NOTE = "Method here: what harness run calls the method, where it is one of this harness."
METHODS_NOTE = (
    "Own: printed by the paper of the method itself, as its own; other: re-runs and quotations. Every one of these "
    "values is in the tables of every published value, under its name here."
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
    return _every_table(f"{task_name(task)}, every published value", rows, published)


def other_values(published: Published, tasks: Sequence[str]) -> Table:
    """All printed values of other tests than `tasks`, under their names."""
    rows = [value for value in published.values if value.task not in tasks]
    table = _every_table("Other tests, every published value", rows, published)
    return replace(
        table,
        columns=(Column(title="Test"), *table.columns),
        cells=tuple((value.task, *cells) for value, cells in zip(rows, table.cells, strict=True)),
    )


def _every_table(title: str, rows: Sequence[Value], published: Published) -> Table:
    return Table(
        title=title,
        columns=tuple(Column(title=title, numeric=title in EVERY_NUMERIC) for title in EVERY_TITLES),
        cells=tuple(_every_cells(value, published) for value in rows),
        notes=(
            *(EVERY_NOTE, HERE_NOTE, WHOSE_NOTE),
            *(f"{grade.grade}: {grade.meaning}." for grade in published.grades.values()),
        ),
    )


def methods_table(published: Published, methods: Sequence[str]) -> Table:
    """Under which names papers print `methods`, and how many values; their values are in the tables of all values."""
    found = {
        method: [value for value in published.values if published.method_here(value) == method] for method in methods
    }
    return Table(
        title="Where the methods of this report are published",
        columns=(
            *text_columns("Method", "Method here", "Printed as", "By"),
            *number_columns("Own values", "Other values"),
        ),
        cells=tuple(_methods_cells(method, values, published) for method, values in found.items()),
        notes=(METHODS_NOTE,),
        supports=tuple(_methods_text(method, values, published) for method, values in found.items()),
    )


def _methods_cells(method: str, values: Sequence[Value], published: Published) -> tuple[str, ...]:
    names = [f"{name} ({about})" if (about := published.methods[name].about) else name for name in _names(values)]
    own = sum(value.whose == "own" for value in values)
    return (
        method_name(method),
        method,
        "; ".join(names) or DASH,
        "; ".join(_papers(values, published)) or DASH,
        str(own),
        str(len(values) - own),
    )


def _methods_text(method: str, values: Sequence[Value], published: Published) -> str:
    """`JustGRPO (justgrpo): 12 values, printed as JustGRPO by JustGRPO, 2601.15165.`"""
    start = f"{method_name(method)} ({method})"
    if not values:
        return f"{start}: no published value is known to us."
    own = [value for value in values if value.whose == "own"]
    kind = f"{len(own)} own and {len(values) - len(own)} other values" if own else f"{len(values)} values, none its own"
    return f"{start}: {kind}, printed as {listed(_names(values))} by {'; '.join(_papers(values, published))}."


def _names(values: Sequence[Value]) -> list[str]:
    return list(dict.fromkeys(value.method for value in values))


def _papers(values: Sequence[Value], published: Published) -> list[str]:
    """Those that print own values first."""
    ordered = sorted(values, key=lambda value: value.whose != "own")
    return list(dict.fromkeys(paper_name(value.paper, published) for value in ordered))


def _every_cells(value: Value, published: Published) -> tuple[str, ...]:
    return (
        f"{value.method} ({value.variant})" if value.variant else value.method,
        published.method_here(value) or DASH,
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
