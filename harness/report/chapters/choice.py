"""What of its runs a report shows, and the command that shows it."""

from __future__ import annotations

import shlex
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from harness.errors import unknown_choice
from harness.report.figures.frame import KINDS
from harness.report.read.runs import Collection


@dataclass(frozen=True, kw_only=True)
class Choice:
    """metric: the headline metric where a task has it. methods: none for all. figures: kinds of figures.

    style: a matplotlib style file. runs, include: as the command line named them.
    """

    metric: str | None = None
    methods: tuple[str, ...] = ()
    figures: tuple[str, ...] = KINDS
    style: Path | None = None
    runs: tuple[str, ...] = ()
    include: tuple[str, ...] = ()

    def command(self, kind: str) -> str:
        """What makes the figures of a kind, quoted for a shell."""
        words = ["harness", "report", *self.runs, *(word for path in self.include for word in ("--include-path", path))]
        words += ["--metric", self.metric] if self.metric else []
        words += ["--methods", ",".join(self.methods)] if self.methods else []
        words += ["--figures", kind]
        return shlex.join([*words, *(["--style", str(self.style)] if self.style else [])])


def with_methods(collection: Collection, methods: Sequence[str]) -> Collection:
    """The runs of `methods`, of all where none is named. Raises UserError for a method without a finished run."""
    if not methods:
        return collection
    require_known("method", methods, {run.identity.method for run in collection.runs})
    return replace(collection, runs=tuple(run for run in collection.runs if run.identity.method in methods))


def require_known(kind: str, names: Iterable[str], known: Iterable[str]) -> None:
    """Raises UserError for the first of `names` that is unknown."""
    choices = set(known)
    for name in names:
        if name not in choices:
            raise unknown_choice(kind, name, choices)
