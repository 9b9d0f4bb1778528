"""What stands behind the tables and figures of a paper: `baselines/reproductions/<arXiv number>.yaml` as checked
records. No torch."""

from __future__ import annotations

import itertools
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any

from harness.config.build import build
from harness.config.recipes import built_in_folder
from harness.config.resolve import read_yaml
from harness.errors import UserError, unknown_choice

FOLDER = "reproductions"
TABLE = "table"


@dataclass(frozen=True, kw_only=True)
class RunGroup:
    """Runs that belong together. set: dotted configuration key to values; every combination is a run for each seed."""

    method: tuple[str, ...]
    task: tuple[str, ...]
    reward: str = ""
    set: Mapping[str, Any] = field(default_factory=dict)

    @property
    def cells(self) -> Iterator[tuple[str, str, dict[str, Any]]]:
        """Task, method and overrides of each combination."""
        for task, method, *values in itertools.product(self.task, self.method, *self.set.values()):
            yield task, method, dict(zip(self.set, values, strict=True))


@dataclass(frozen=True, kw_only=True)
class Artefact:
    """A table or figure of the paper. kind: table, or one of the report's kinds of figures. only: of these figures the
    ones whose file names end so, all where it is empty. tasks: of a table. runs: names of the groups behind it."""

    title: str
    kind: str
    runs: tuple[str, ...]
    tasks: tuple[str, ...] = ()
    only: tuple[str, ...] = ()


@dataclass(frozen=True, kw_only=True)
class Reproduction:
    """A paper's tables and figures by name, and the runs behind them.

    paper: its name among the published values. protocol: how it evaluates. base: the model that it trains.
    checkpoints: methods of published checkpoints. seeds: of every run. printed: names in the paper's tables to methods
    here.
    """

    paper: str
    title: str
    protocol: str
    base: str
    checkpoints: tuple[str, ...]
    seeds: tuple[int, ...]
    printed: Mapping[str, str]
    runs: Mapping[str, Any]
    artefacts: Mapping[str, Any]

    def only(self, names: tuple[str, ...]) -> Mapping[str, Artefact]:
        """The artefacts called so, all where none is. Raises UserError for an unknown one."""
        for name in names:
            if name not in self.artefacts:
                raise unknown_choice("table or figure", name, self.artefacts)
        return {name: self.artefacts[name] for name in names or self.artefacts}


def reproductions() -> list[str]:
    """The arXiv numbers of the papers."""
    return sorted(path.stem for path in (built_in_folder() / FOLDER).glob("*.yaml"))


def load_reproduction(paper: str) -> Reproduction:
    """What stands behind a paper. Raises UserError for one that is not known."""
    if paper not in reproductions():
        raise unknown_choice("paper", paper, reproductions(), fix="Give its arXiv number.")
    path = built_in_folder() / FOLDER / f"{paper}.yaml"
    tree = read_yaml(path.read_text(encoding="utf-8"), f"'{path}'")
    runs = {name: build(RunGroup, values, f"runs.{name}") for name, values in tree["runs"].items()}
    artefacts = {name: build(Artefact, values, f"artefacts.{name}") for name, values in tree["artefacts"].items()}
    for name, artefact in artefacts.items():
        if unknown := [group for group in artefact.runs if group not in runs]:
            raise UserError(f"'{path}': artefacts.{name} names the runs '{unknown[0]}', which are not there.")
    found: Reproduction = build(Reproduction, {**tree, "runs": runs, "artefacts": artefacts}, "")
    return found
