"""Checkpoints that others have published: `baselines/checkpoints.csv` as checked records. No torch.

One row per method and task, and one for a model that is of no single task. Scores are those that their authors state,
under their own protocol; an empty field was stated nowhere.
"""

from __future__ import annotations

import csv
import functools
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from harness.config.recipes import built_in_folder
from harness.errors import UserError, require_choice, unknown_choice

FILE = "checkpoints.csv"
KINDS = ("lora", "adapter", "full")


@dataclass(frozen=True, kw_only=True)
class PublishedCheckpoint:
    """A checkpoint on the Hugging Face hub.

    name: `method/task`, or the model's own. task: what it was trained for, empty for a model of no single task. base:
    the model that was trained. hub, revision, subfolder: where its files lie; without a revision the newest are taken.
    kind: lora, adapter (of a kind that is not stated) or full, a whole model. layout: model_type of its base's
    config.json.

    score: what its authors state, in percent, of `metric` at `length` tokens (or best, mean over lengths) under a
    protocol of harness/config/published/protocols.py, as `source` has it. note: what else to know.
    """

    name: str
    method: str
    task: str
    base: str
    hub: str
    revision: str
    subfolder: str
    kind: str
    layout: str
    score: float | None
    metric: str
    length: str
    protocol: str
    source: str
    note: str

    @property
    def model(self) -> str:
        """The model to load: the base of an adapter, or the checkpoint itself."""
        return self.repository if self.kind == "full" else self.base

    @property
    def adapter(self) -> str:
        """The adapter to put on the model, empty for a whole model; it lies in `subfolder`."""
        return "" if self.kind == "full" else self.repository

    @property
    def repository(self) -> str:
        """The hub id, with its revision where one is known: `org/name@revision`."""
        return f"{self.hub}@{self.revision}" if self.revision else self.hub

    @property
    def place(self) -> str:
        """The hub id and the subfolder."""
        return f"{self.repository}/{self.subfolder}" if self.subfolder else self.repository


def published_checkpoints(path: Path | None = None) -> tuple[PublishedCheckpoint, ...]:
    """The register in its order. path: another one than the built-in. Raises UserError where a row is wrong."""
    return _read(path or built_in_folder() / FILE)


def find_checkpoint(name: str, task: str = "") -> PublishedCheckpoint:
    """The checkpoint called `name`: `egspo-sa/sudoku`, `llada-1.5`, or, with a task, `egspo-sa` as well.

    Raises UserError for a name that is not in the register.
    """
    known = {found.name: found for found in published_checkpoints()}
    for wanted in (f"{name}/{task}", name):
        if wanted in known:
            return known[wanted]
    tasks = [found.task for found in known.values() if found.name == f"{name}/{found.task}"]
    if tasks:
        lacking = f"no published checkpoint for {task}" if task else "a published checkpoint for each of several tasks"
        raise UserError(f"'{name}' has {lacking}; name one of: {', '.join(f'{name}/{one}' for one in tasks)}.")
    raise unknown_choice("checkpoint", name, known, fix="harness list checkpoints shows them.")


@functools.cache
def _read(path: Path) -> tuple[PublishedCheckpoint, ...]:
    with open(path, encoding="utf-8", newline="") as stream:
        rows: list[dict[str, Any]] = list(csv.DictReader(stream))
    found = tuple(_checkpoint(row, f"'{path}' line {number}") for number, row in enumerate(rows, start=2))
    names = [checkpoint.name for checkpoint in found]
    for name in names:
        if names.count(name) > 1:
            raise UserError(f"'{path}' has '{name}' twice; rename one.")
    return found


def _checkpoint(row: dict[str, Any], where: str) -> PublishedCheckpoint:
    try:
        found = PublishedCheckpoint(**{**row, "score": float(row["score"]) if row["score"] else None})
    except (TypeError, ValueError, KeyError) as error:
        raise UserError(f"{where} is not a checkpoint: {error}.") from error
    require_choice(f"{where}: kind", found.kind, KINDS)
    return found
