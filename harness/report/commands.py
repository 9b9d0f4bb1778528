"""The exact command that makes the runs of a group again."""

from __future__ import annotations

import shlex
from typing import Any

import yaml

from harness.report.groups import Group, overrides

DATA_FLAGS = {"data.test": "--data", "data.train": "--train-data", "data.few_shot": "--few-shot"}


def command(group: Group) -> str:
    """`harness run ...` for all seeds of the group, quoted for a shell."""
    run = group.members[0].run
    identity, settings = run.identity, run.settings
    words = [
        "harness",
        "run",
        "--method",
        identity.method,
        "--task",
        identity.task,
        "--model",
        identity.model,
    ]
    words += ["--recipe", identity.recipe, "--seed", ",".join(str(seed) for seed in group.seeds)]
    if identity.reward != "task":
        words += ["--reward", identity.reward]
    for key, flag in DATA_FLAGS.items():
        if settings.get(key):
            words += [flag, str(settings[key])]
    if settings.get("data.prompts"):
        # The record has the file's hash, not the file.
        words += ["--prompts", f"FILE-WITH-SHA256-{settings['data.prompts'][:12]}"]
    changed = overrides(run)
    if any(key.startswith("budget.") for key in changed):
        limits = {key.removeprefix("budget."): value for key, value in settings.items() if key.startswith("budget.")}
        words += ["--budget", ",".join(f"{name}={_scalar(value)}" for name, value in limits.items() if value)]
    for key, value in changed.items():
        if not key.startswith(("budget.", "data.")):
            words += ["--set", f"{key}={_scalar(value)}"]
    return shlex.join(words)


def _scalar(value: Any) -> str:
    """YAML that reads back as `value`, on one line."""
    text = yaml.safe_dump(value, default_flow_style=True, width=10**6, allow_unicode=True)
    return text.removesuffix("\n").removesuffix("\n...")
