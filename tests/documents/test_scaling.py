"""The commands of docs/scaling.md: processes can share each run, and each run fits the card named before it."""

from __future__ import annotations

import itertools
import re
from collections.abc import Iterator
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Any

import pytest

from harness.app.plan import plan
from harness.app.preflight import preflight
from harness.cli.options.cells import CellOptions
from harness.config.together import check_processes

from .pages import Block, Command, commands_of, parts
from .reading import read_harness

PAGE = "scaling.md"
MEMORY = 80
"""GiB of a card, where the page names none before a command."""


@dataclass(frozen=True, kw_only=True)
class Planned:
    """A run or a plan of the page. memory: GiB of the card that it is for."""

    command: Command
    memory: int

    @property
    def options(self) -> dict[str, Any]:
        """What the command line makes of it."""
        return read_harness(self.command.harness)

    @property
    def devices(self) -> int:
        """How many share each run."""
        launcher, options = self.command.launcher, self.options
        words = dict(itertools.pairwise(launcher))
        nodes = int(words.get("--nodes", options.get("nodes", 1)))
        a_node = words.get("--nproc_per_node") or words.get("--ntasks-per-node") or options.get("gpus_per_node")
        return int(options.get("devices") or nodes * int(a_node or 1))

    @property
    def cells(self) -> CellOptions:
        """What is run."""
        return CellOptions(**{one.name: self.options[one.name] for one in fields(CellOptions)})


def planned() -> Iterator[Planned]:
    memory = MEMORY
    for _, part in parts(PAGE):
        if not isinstance(part, Block):
            memory = int((re.findall(r"(\d+) GB", part) or [memory if "\n#" not in part else MEMORY])[-1])
            continue
        for command in commands_of(part):
            if command.harness[:1] in (("run",), ("plan",)):
                yield Planned(command=command, memory=memory)


RUNS = list(planned())


@pytest.fixture(autouse=True)
def somewhere(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The folder of data that some commands name, on a machine that has every tracker."""
    (tmp_path / "DATA").mkdir()
    monkeypatch.setattr("harness.app.plan.check_tracker", lambda name: None)
    monkeypatch.chdir(tmp_path)


def shown(run: Planned) -> str:
    return " ".join(run.command.words)


def test_the_page_has_runs_for_every_kind_of_machine() -> None:
    assert {(run.devices, run.memory) for run in RUNS} >= {(1, 24), (1, 80), (8, 80), (32, 80)}


@pytest.mark.parametrize("run", RUNS, ids=shown)
def test_processes_can_share_every_run(run: Planned) -> None:
    for request in run.cells.requests():
        resolved = plan(request).resolved
        check_processes(resolved.config, resolved.execution, run.devices)


@pytest.mark.long
@pytest.mark.parametrize("run", RUNS, ids=shown)
def test_every_run_fits_the_card_that_it_is_for(run: Planned) -> None:
    for request in run.cells.requests():
        if not request.seed:
            memory = run.options.get("memory") or run.memory
            found = preflight(plan(request), devices=run.devices, memory_gib=memory, tflops=100)
            assert found.fits, found.verdict
