"""Every command of a page is taken by its command line as it stands, and every run that it names can be planned."""

from __future__ import annotations

import subprocess
from collections import Counter
from collections.abc import Iterator
from dataclasses import fields
from pathlib import Path

import pytest
import typer

from harness import registry
from harness.app.new import new
from harness.app.plan import plan
from harness.cli.options.cells import CellOptions

from .pages import PAGES, Command, commands
from .reading import is_part, parser_of, read
from .workshop import Workshop, furnish

MARKED = {"needs-gpu": 16, "needs-network": 27, "needs-cluster": 6}
"""Commands that no test executes, by what a machine needs for them. Each further one has to be counted here."""
READ_ALONE = {"make", "tensorboard", "pip"}
"""Programs of others that need no mark: make says what each target would do, and `.ci/run` executes most of them."""


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """A folder with the files that commands name, on a machine that has every tracker."""
    folder = tmp_path_factory.mktemp("read")
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(registry, "_included", [])
        patch.setattr("harness.app.plan.check_tracker", lambda name: None)
        patch.chdir(folder)
        furnish()
        new("method", "mine", Path("mine"))
        new("task", "backwards", Path("backwards"))
        yield folder


def cells(command: Command) -> CellOptions:
    """What a command runs or plans, with stand-ins for what it leaves to the reader."""
    name, *words = Workshop(run="RUN").words(command, is_short=False)
    options = parser_of(name).make_context(name, words).params
    return CellOptions(**{one.name: options[one.name] for one in fields(CellOptions)})


@pytest.mark.parametrize("page", PAGES)
def test_every_command_is_read_and_every_run_planned(page: str, place: Path) -> None:
    for command in commands(page):
        if is_part(command):
            assert command.is_span or command.is_abridged, f"{command} is not whole"
        elif command.harness[:1] in (("run",), ("plan",)) and "--method" in command.harness:
            for request in {(one.task, one.method): one for one in cells(command).requests()}.values():
                assert plan(request).identity.task == request.task


def test_all_but_the_marked_ones_are_executed() -> None:
    every = [command for page in PAGES for command in commands(page)]
    assert Counter(mark for command in every for mark in command.marks) == MARKED
    whole = [command for command in every if not command.marks and not is_part(command)]
    assert {command.program for command in whole} == {"harness", "python", *READ_ALONE}
    abridged = [command for command in every if not command.marks and not command.is_span and is_part(command)]
    assert [command.page for command in abridged] == ["lm-eval.md"] * 2


@pytest.mark.parametrize(
    ("words", "error", "said"),
    [
        ("harness run --methd egspo", typer.TyperException, "No such option"),
        ("harness lm-eval run --modle x", SystemExit, "2"),
        ("torchrun --processes 8 -m harness run ...", SystemExit, "2"),
        ("torchrun --nproc-per-node 8 -m harness run --steps 3", typer.TyperException, "No such option"),
        ("make tets", subprocess.CalledProcessError, "make.*tets"),
        ("python bench/sampler.py --sizes", AssertionError, "has no option --sizes"),
        ("pip install .[gpus]", AssertionError, ""),
        ("brew install harness", AssertionError, "is of no known program"),
    ],
)
def test_a_wrong_command_is_refused(words: str, error: type[BaseException], said: str) -> None:
    with pytest.raises(error, match=said or None):
        read(Command(page="page", line=1, words=tuple(words.split()), marks=frozenset()))
