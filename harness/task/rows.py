"""Tasks whose data sets are rows: files in a folder, or data sets on the hub."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import Any

from harness.data.hub import read_hub
from harness.data.sources import DataSource, read_rows
from harness.errors import UserError
from harness.task.base import Example, Task, TextTask, require_split


class RowsTask(TextTask):
    """A text task whose data sets are rows: one file per split in a folder, or a data set on the hub."""

    def examples(self, split: str, source: DataSource) -> list[Example]:
        """The rows of the split, or the generated problems.

        Raises UserError for a split or source that there is not.
        """
        require_split(split)
        if source.kind == "builtin":
            return self.builtin_examples(split)
        rows = [row for row in source_rows(self, split, source) if self.takes(row, split)]
        return [replace(self.read_row(row), id=f"{self.name}-{split}-{number}") for number, row in enumerate(rows)]

    def builtin_examples(self, split: str) -> list[Example]:
        """The generated problems of a split. Raises UserError where the task has none."""
        raise UserError(f"{self.name} has no builtin data; use --data DIR.")


def source_rows(task: Task, split: str, source: DataSource) -> list[Mapping[str, Any]]:
    """The rows of a split in a folder or on the hub. Raises UserError where there is no such split."""
    if source.kind == "hub" and split in task.hub:
        return read_hub(task.hub[split]).rows
    if source.kind == "dir" and split in task.files:
        return read_rows(source.file(task.files[split]))
    raise no_split(task, split, source)


def no_split(task: Task, split: str, source: DataSource) -> UserError:
    """The error for a split that a source does not have, with the sources that do."""
    option = "--data" if split == "test" else "--train-data"
    known = {"DIR": task.files, "hub": task.hub}
    others = [f"{option} {name}" for name, splits in known.items() if split in splits]
    choices = " or ".join([*others, f"{option} builtin"])
    fetch = " (`harness data pull --to DIR` fills a folder)" if split in task.files else ""
    return UserError(f"{task.name} has no {split} split from '{source.label}'; use {choices}{fetch}.")
