"""What the runs of a group were given: how configurations differ, and the exact command that makes the runs again."""

from __future__ import annotations

import json
import shlex
from collections.abc import Mapping, Sequence
from typing import Any

import yaml

from harness.config.resolve import COMMAND_LINE
from harness.report.analysis.groups import OUTSIDE_HASH, Group, group_by, overrides
from harness.report.chapters.results import CHANGED_MARK, CHANGED_NOTE
from harness.report.chapters.table import Table, text_columns
from harness.report.labels import DASH, task_name
from harness.report.read.runs import Run

DATA_FLAGS = {"data.test": "--data", "data.train": "--train-data", "data.few_shot": "--few-shot"}
MISSING = object()


def difference_tables(groups: Sequence[Group]) -> list[Table]:
    """One table per task and model with at least two configurations: a row per setting that differs."""
    tables = []
    for (task, model), own in sorted(group_by(groups, lambda group: (group.task, group.model)).items()):
        configurations = group_by(own, lambda group: group.config_hash)
        if len(configurations) > 1:
            tables.append(_table(task, model, [same[0] for same in configurations.values()]))
    return tables


def _table(task: str, model: str, groups: Sequence[Group]) -> Table:
    settings = [group.settings for group in groups]
    keys = sorted({key for own in settings for key in own} - set(OUTSIDE_HASH))
    values = {key: [own.get(key, MISSING) for own in settings] for key in keys}
    differing = {key: own for key, own in values.items() if len({_text(value) for value in own}) > 1}
    same = len(keys) - len(differing)
    changed = any(_mark(group, key) for group in groups for key in differing)
    return Table(
        title=f"{task_name(task)}, {model} model",
        columns=text_columns("Setting", *(group.label for group in groups)),
        cells=tuple(
            (key, *(f"{_text(value)}{_mark(group, key)}" for group, value in zip(groups, own, strict=True)))
            for key, own in differing.items()
        ),
        notes=(
            f"{same} settings are the same in all; {DASH}: the method has no such setting.",
            *((CHANGED_NOTE,) if changed else ()),
        ),
    )


def _mark(group: Group, key: str) -> str:
    return CHANGED_MARK if group.members[0].run.provenance.get(key) == COMMAND_LINE else ""


def _text(value: Any) -> str:
    if value is MISSING:
        return DASH
    return value if isinstance(value, str) and value else json.dumps(value, default=str)


def command(group: Group, tried: Mapping[str, Sequence[Any]] | None = None) -> str:
    """`harness run ...` for all seeds of the group. tried: several values for keys of a search."""
    return run_command(group.members[0].run, group.seeds, tried)


def run_command(run: Run, seeds: Sequence[int], tried: Mapping[str, Sequence[Any]] | None = None) -> str:
    """`harness run ...` that makes the run again with these seeds, quoted for a shell. tried: as in `command`."""
    identity, settings = run.identity, run.settings
    words = ["harness", "run", "--method", identity.method, "--task", identity.task, "--model", identity.model]
    words += ["--recipe", identity.recipe, "--seed", ",".join(str(seed) for seed in seeds)]
    if identity.reward != "task":
        words += ["--reward", identity.reward]
    for key, flag in DATA_FLAGS.items():
        if settings.get(key):
            words += [flag, str(settings[key])]
    if settings.get("data.prompts"):
        # The record has the file's hash, not the file.
        words += ["--prompts", f"FILE-WITH-SHA256-{str(settings['data.prompts'])[:12]}"]
    words += [word for folder in run.include for word in ("--include-path", folder)]
    packages = settings.get("data.allow_packages")
    for name in packages if isinstance(packages, list) else ():
        words += ["--allow-packages", str(name)]
    changed: dict[str, Sequence[Any]] = {key: [value] for key, value in overrides(run).items()} | dict(tried or {})
    if any(key.startswith("budget.") for key in changed):
        limits = {key.removeprefix("budget."): value for key, value in settings.items() if key.startswith("budget.")}
        words += ["--budget", ",".join(f"{name}={_scalar(value)}" for name, value in limits.items() if value)]
    for key, values in changed.items():
        if not key.startswith(("budget.", "data.")):
            words += ["--set", f"{key}={','.join(map(_scalar, values))}"]
    return shlex.join(words)


def _scalar(value: Any) -> str:
    """YAML that reads back as `value`, on one line."""
    text = yaml.safe_dump(value, default_flow_style=True, width=10**6, allow_unicode=True)
    line = text.removesuffix("\n").removesuffix("\n...")
    return json.dumps(value, default=str) if "\n" in line else line
