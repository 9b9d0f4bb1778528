"""In which settings the configurations of a report differ."""

from __future__ import annotations

import json
from collections import defaultdict
from collections.abc import Sequence
from typing import Any

from harness.report.groups import OUTSIDE_HASH, Group
from harness.report.labels import DASH, task_name
from harness.report.tables import CHANGED_MARK, CHANGED_NOTE, Column, Table

MISSING = object()


def difference_tables(groups: Sequence[Group]) -> list[Table]:
    """One table per task and model with at least two configurations: a row per setting that differs."""
    together: dict[tuple[str, str], dict[str, Group]] = defaultdict(dict)
    for group in groups:
        together[group.task, group.model].setdefault(group.config_hash, group)
    return [
        _table(task, model, list(configurations.values()))
        for (task, model), configurations in sorted(together.items())
        if len(configurations) > 1
    ]


def _table(task: str, model: str, groups: Sequence[Group]) -> Table:
    settings = [group.members[0].run.settings for group in groups]
    keys = sorted({key for own in settings for key in own} - set(OUTSIDE_HASH))
    values = {key: [own.get(key, MISSING) for own in settings] for key in keys}
    differing = {key: own for key, own in values.items() if len({_text(value) for value in own}) > 1}
    same = len(keys) - len(differing)
    changed = [[_changed(group, key) for group in groups] for key in differing]
    return Table(
        title=f"{task_name(task)}, {model} model",
        columns=(Column(title="Setting"), *(Column(title=group.label) for group in groups)),
        cells=tuple(
            (key, *(f"{_text(value)}{mark}" for value, mark in zip(own, marks, strict=True)))
            for (key, own), marks in zip(differing.items(), changed, strict=True)
        ),
        notes=(
            f"{same} settings are the same in all; {DASH}: the method has no such setting.",
            *((CHANGED_NOTE,) if any(mark for marks in changed for mark in marks) else ()),
        ),
    )


def _changed(group: Group, key: str) -> str:
    return CHANGED_MARK if group.members[0].run.provenance.get(key) == "command line" else ""


def _text(value: Any) -> str:
    if value is MISSING:
        return DASH
    return value if isinstance(value, str) and value else json.dumps(value, default=str)
