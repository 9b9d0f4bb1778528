"""Every command that no mark leaves out is executed, page by page in order: long ones in a short form."""

from __future__ import annotations

import functools
import re
import runpy
import shutil
import sys
from collections.abc import Iterator, Mapping
from pathlib import Path

import pytest

from harness import registry
from harness.cli.main import main

from ..app.fake_server import completion, serving
from .pages import CHECKOUT, PAGES, Command, blocks, commands
from .reading import is_part
from .workshop import Workshop, furnish, train

LONG = re.compile(r"harness (diagnose|plan .*LLaDA.*|lm-eval ls tasks)|python bench/memory\.py")
"""What takes ten seconds or more in its shortest form."""
IN_ORDER = "new"
"""The subcommand that is executed on every page that has it: what follows there needs its files."""
Capture = pytest.CaptureFixture[str]


@functools.cache
def executed() -> Mapping[str, list[Command]]:
    """Page to its commands that are executed; a command that several pages have is the first one's."""
    seen: set[tuple[str, ...]] = set()
    found: dict[str, list[Command]] = {page: [] for page in PAGES}
    for page in PAGES:
        for command in commands(page):
            if command.words not in seen and command.is_ours and not command.marks and not is_part(command):
                found[page].append(command)
                seen.update([] if command.harness[:1] == (IN_ORDER,) else [command.words])
    return found


@pytest.fixture(scope="module")
def furnished(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[Path, Workshop]]:
    """A folder with a finished run and what else the pages name, and its workshop, with a server that knows nothing."""
    folder = tmp_path_factory.mktemp("workshop")
    with pytest.MonkeyPatch.context() as patch, serving(lambda request: completion("I do not know.")) as server:
        patch.chdir(folder)
        furnish()
        yield folder, Workshop(run=train(), server=server.url)


@pytest.fixture
def workshop(furnished: tuple[Path, Workshop], tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Workshop:
    """The workshop, in a copy of the folder."""
    shutil.copytree(furnished[0], tmp_path, dirs_exist_ok=True)
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(registry, "_included", [])
    monkeypatch.setattr(sys, "argv", ["harness"])
    monkeypatch.syspath_prepend(CHECKOUT / "bench")
    monkeypatch.setattr("datasets.config.HF_DATASETS_CACHE", tmp_path / "datasets")
    return furnished[1]


def is_long(command: Command) -> bool:
    return LONG.fullmatch(" ".join(command.words)) is not None


def execute(command: Command, workshop: Workshop) -> None:
    """Executes the short form; a fault names the command."""
    if command.program == "python":
        sys.argv = workshop.script(command)
        if sys.argv[0] == "-m":
            runpy.run_module(sys.argv.pop(1), run_name="__main__", alter_sys=True)
        else:
            runpy.run_path(sys.argv[0], run_name="__main__")
        return
    assert main(workshop.words(command)) == 0, str(command)


@pytest.fixture
def without_lm_eval_s_tasks(monkeypatch: pytest.MonkeyPatch) -> None:
    """lm-eval does not read its fourteen thousand tasks for a command that names others."""
    from lm_eval.tasks import _index

    build = _index.TaskIndex.build
    theirs = Path(_index.__file__).parent
    own = staticmethod(lambda folders: build([one for one in folders if Path(one) != theirs]))
    monkeypatch.setattr(_index.TaskIndex, "build", own)


@pytest.mark.slow
@pytest.mark.usefixtures("without_lm_eval_s_tasks")
@pytest.mark.parametrize("page", PAGES)
def test_the_commands_of_a_page_can_be_given_one_after_another(page: str, workshop: Workshop) -> None:
    for command in executed()[page]:
        if not is_long(command):
            execute(command, workshop)


@pytest.mark.long
@pytest.mark.parametrize("page", PAGES)
def test_so_can_those_that_take_long(page: str, workshop: Workshop) -> None:
    for command in executed()[page]:
        if is_long(command):
            execute(command, workshop)


@pytest.mark.slow
def test_the_program_for_a_server_runs(workshop: Workshop, capsys: Capture) -> None:
    (program,) = (block.text for block in blocks("served.md") if block.kind == "python")
    for shown, here in (
        ("http://localhost:8000", workshop.server),
        ("DATA", "builtin"),
        ('out="evals"', 'items=2, out="x"'),
    ):
        assert shown in program
        program = program.replace(shown, here)
    exec(compile(program, "docs/served.md", "exec"), {})
    assert capsys.readouterr().out == "0.0 None\n"
