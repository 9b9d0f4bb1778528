"""The commands of docs/scaling.md: each is accepted as it stands, and each run fits the card named before it."""

from __future__ import annotations

import re
import shlex
from collections.abc import Iterator
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Any

import pytest
import typer

from harness.app.plan import plan
from harness.app.preflight import preflight
from harness.cli.cells import CellOptions
from harness.cli.main import SUBCOMMANDS
from harness.config.together import check_processes

PAGE = (Path(__file__).parents[2] / "docs" / "scaling.md").read_text(encoding="utf-8")
MEMORY = 80
"""GiB of a card, where the page names none before a command."""


@dataclass(frozen=True, kw_only=True)
class Command:
    """A command of the page. launcher: its words before `harness`; memory: GiB of the card that it is for."""

    launcher: tuple[str, ...]
    name: str
    arguments: tuple[str, ...]
    memory: int

    @property
    def options(self) -> dict[str, Any]:
        """What the command line makes of it. Raises typer's error for what it does not take."""
        application = typer.Typer(add_completion=False)
        application.command()(next(one for one in SUBCOMMANDS if one.name == self.name).load())
        return typer.main.get_command(application).make_context(self.name, list(self.arguments)).params

    @property
    def devices(self) -> int:
        """How many share each run."""
        words, options = dict(zip(self.launcher, self.launcher[1:], strict=False)), self.options
        nodes = int(words.get("--nodes", options.get("nodes", 1)))
        a_node = words.get("--nproc_per_node") or words.get("--ntasks-per-node") or options.get("gpus_per_node")
        return int(options.get("devices") or nodes * int(a_node or 1))

    @property
    def cells(self) -> CellOptions:
        """What is run."""
        return CellOptions(**{one.name: self.options[one.name] for one in fields(CellOptions)})


def commands() -> Iterator[Command]:
    memory = MEMORY
    for part in re.split(r"^(```\n.*?^```)$", PAGE, flags=re.M | re.S):
        if not part.startswith("```"):
            memory = int((re.findall(r"(\d+) GB", part) or [memory if "\n#" not in part else MEMORY])[-1])
            continue
        for line in part.strip("`\n").replace("\\\n", " ").splitlines():
            words = shlex.split(line)
            if "harness" in words:
                at = words.index("harness")
                yield Command(
                    launcher=tuple(words[:at]), name=words[at + 1], arguments=tuple(words[at + 2 :]), memory=memory
                )


COMMANDS = list(commands())
RUNS = [command for command in COMMANDS if command.name in ("run", "plan")]


@pytest.fixture(autouse=True)
def somewhere(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The folder of data that some commands name, on a machine that has every tracker."""
    (tmp_path / "DATA").mkdir()
    monkeypatch.setattr("harness.app.plan.check_tracker", lambda name: None)
    monkeypatch.chdir(tmp_path)


def shown(command: Command) -> str:
    return " ".join([*command.launcher, command.name, *command.arguments])


def test_the_page_has_commands_for_every_kind_of_machine() -> None:
    assert {(command.devices, command.memory) for command in RUNS} >= {(1, 24), (1, 80), (8, 80), (32, 80)}
    assert {"run", "plan", "data", "list"} <= {command.name for command in COMMANDS}


@pytest.mark.parametrize("command", COMMANDS, ids=shown)
def test_every_command_is_taken_and_its_processes_can_share_its_runs(command: Command) -> None:
    assert command.options
    for request in command.cells.requests() if command in RUNS else ():
        planned = plan(request)
        check_processes(planned.resolved.config, planned.resolved.execution, command.devices)


@pytest.mark.long
@pytest.mark.parametrize("command", RUNS, ids=shown)
def test_every_run_fits_the_card_that_it_is_for(command: Command) -> None:
    for request in command.cells.requests():
        if not request.seed:
            found = preflight(
                plan(request),
                devices=command.devices,
                memory_gib=command.options.get("memory") or command.memory,
                tflops=100,
            )
            assert found.fits, found.verdict
