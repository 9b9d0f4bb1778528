"""The command line's frame: exit codes, one sentence for what the user can mend, a quick overview."""

from __future__ import annotations

import errno
import importlib
import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest
import typer

from harness import __version__
from harness.cli import main as command_line
from harness.errors import UserError
from harness.records.jsonl import RecordError

CHECKOUT = Path(__file__).resolve().parents[2]

Outcome = Callable[[], object]
SetOutcome = Callable[[Outcome], None]
Capture = pytest.CaptureFixture[str]


FAKES = """
def act(count: Annotated[int, typer.Option(help="How often.")] = 1) -> None:
    \"\"\"Does what the test says.

    At once.
    \"\"\"
    for _ in range(count):
        action()

def rest() -> None:
    \"\"\"Does nothing.\"\"\"
"""


@pytest.fixture
def outcome(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> SetOutcome:
    """Replaces the table by two subcommands, `act` and `rest`; the given function is what `act` does."""
    (tmp_path / "fake_subcommands.py").write_text(f"from typing import Annotated\nimport typer\n{FAKES}")
    monkeypatch.syspath_prepend(str(tmp_path))
    monkeypatch.delitem(sys.modules, "fake_subcommands", raising=False)
    table = tuple(
        command_line.Subcommand(name=name, module="fake_subcommands", function=name) for name in ("act", "rest")
    )
    monkeypatch.setattr(command_line, "SUBCOMMANDS", table)

    def set_outcome(action: Outcome) -> None:
        monkeypatch.setattr(importlib.import_module("fake_subcommands"), "action", action, raising=False)

    return set_outcome


def raises(error: BaseException) -> Outcome:
    def action() -> None:
        raise error

    return action


def one_line(capsys: Capture) -> str:
    """What was said on stderr, which must be one line, with nothing on stdout."""
    captured = capsys.readouterr()
    assert captured.out == ""
    assert captured.err.count("\n") == 1
    return captured.err.rstrip("\n")


def test_a_command_that_returns_is_exit_code_0(outcome: SetOutcome, capsys: Capture) -> None:
    outcome(lambda: print("done"))
    assert command_line.main(["act"]) == 0
    assert capsys.readouterr().out == "done\n"


def test_options_reach_the_function(outcome: SetOutcome, capsys: Capture) -> None:
    outcome(lambda: print("x"))
    assert command_line.main(["act", "--count", "3"]) == 0
    assert capsys.readouterr().out == "x\nx\nx\n"


@pytest.mark.parametrize("kind", [UserError, RecordError])
def test_bad_input_is_one_sentence_and_exit_code_2(outcome: SetOutcome, capsys: Capture, kind: type[Exception]) -> None:
    outcome(raises(kind("Unknown task 'x'. Choices: y.")))
    assert command_line.main(["act"]) == 2
    assert one_line(capsys) == "harness: Unknown task 'x'. Choices: y."


def test_a_message_of_several_lines_is_shown_as_one(outcome: SetOutcome, capsys: Capture) -> None:
    outcome(raises(UserError("first\n  second")))
    assert command_line.main(["act"]) == 2
    assert one_line(capsys) == "harness: first second"


@pytest.mark.parametrize(
    "code",
    [
        errno.EACCES,
        errno.EPERM,
        errno.EROFS,
        errno.ENOSPC,
        errno.EDQUOT,
        errno.ENOTDIR,
        errno.EISDIR,
        errno.EEXIST,
    ],
)
def test_a_place_that_cannot_be_written_to_is_one_sentence(outcome: SetOutcome, capsys: Capture, code: int) -> None:
    outcome(raises(OSError(code, os.strerror(code), "/somewhere/config.yaml")))
    assert command_line.main(["act"]) == 2
    said = one_line(capsys)
    assert said.startswith(f"harness: Cannot read or write '/somewhere/config.yaml': {os.strerror(code)}.")


@pytest.mark.parametrize("command", [("sft", "--task", "sudoku", "--steps", "1"), ("export", "tiny")])
@pytest.mark.parametrize("below", ["model", "."])
def test_a_folder_in_the_place_of_a_file_or_below_one_is_one_sentence(
    tmp_path: Path, capsys: Capture, command: tuple[str, ...], below: str
) -> None:
    file = tmp_path / "file"
    file.write_text("kept")
    assert command_line.main([*command, "--out", str(file / below)]) == 2
    assert one_line(capsys).startswith("harness: ")
    assert file.read_text() == "kept"


def test_a_full_disk_without_a_file_name_is_one_sentence_too(outcome: SetOutcome, capsys: Capture) -> None:
    outcome(raises(OSError(errno.ENOSPC, "No space left on device")))
    assert command_line.main(["act"]) == 2
    assert one_line(capsys).startswith("harness: Cannot read or write a file: No space left on device.")


def test_another_system_error_keeps_its_traceback(outcome: SetOutcome) -> None:
    outcome(raises(OSError(errno.EDEADLK, "Resource deadlock avoided")))
    with pytest.raises(OSError, match="Resource deadlock avoided"):
        command_line.main(["act"])


def test_a_plain_value_error_is_our_own_fault_and_keeps_its_traceback(outcome: SetOutcome) -> None:
    outcome(raises(ValueError("shapes differ")))
    with pytest.raises(ValueError, match="shapes differ"):
        command_line.main(["act"])


def test_an_interrupt_is_exit_code_130_and_one_line(outcome: SetOutcome, capsys: Capture) -> None:
    outcome(raises(KeyboardInterrupt()))
    assert command_line.main(["act"]) == 130
    assert one_line(capsys) == "harness: interrupted"


def test_a_command_may_choose_its_exit_code(outcome: SetOutcome, capsys: Capture) -> None:
    outcome(raises(typer.Exit(3)))
    assert command_line.main(["act"]) == 3
    assert capsys.readouterr().err == ""


def test_an_unknown_command_is_answered_with_the_nearest(outcome: SetOutcome, capsys: Capture) -> None:
    outcome(lambda: None)
    assert command_line.main(["actt"]) == 2
    assert one_line(capsys).startswith("harness: Unknown command 'actt'. Did you mean 'act'? Choices: act, rest.")


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["act", "--cuont", "3"], "--cuont"),
        (["act", "--count", "three"], "valid integer"),
        (["act", "--count"], "--count"),
        (["act", "more"], "more"),
        (["--nope"], "--nope"),
    ],
)
def test_a_wrong_option_is_one_sentence(outcome: SetOutcome, capsys: Capture, arguments: list[str], said: str) -> None:
    outcome(lambda: None)
    assert command_line.main(arguments) == 2
    assert said in one_line(capsys)


@pytest.mark.parametrize("arguments", [[], ["--help"]])
def test_the_overview_lists_every_command_with_its_sentence(
    outcome: SetOutcome, capsys: Capture, arguments: list[str]
) -> None:
    outcome(lambda: None)
    assert command_line.main(arguments) == 0
    shown = capsys.readouterr().out
    assert "act" in shown
    assert "Does what the test says." in shown
    assert "Does nothing." in shown
    assert "At once." not in shown


def test_an_option_before_the_command_is_refused_and_nothing_is_run(outcome: SetOutcome, capsys: Capture) -> None:
    outcome(lambda: pytest.fail("was run"))
    assert command_line.main(["--", "act"]) == 2
    assert "The command comes first" in one_line(capsys)


def test_a_command_has_its_own_help(outcome: SetOutcome, capsys: Capture) -> None:
    outcome(lambda: None)
    assert command_line.main(["act", "--help"]) == 0
    assert "How often." in capsys.readouterr().out


def test_only_the_command_that_is_asked_for_is_imported(outcome: SetOutcome, monkeypatch: pytest.MonkeyPatch) -> None:
    outcome(lambda: None)
    missing = command_line.Subcommand(name="missing", module="no_such_module_here", function="f")
    monkeypatch.setattr(command_line, "SUBCOMMANDS", (*command_line.SUBCOMMANDS, missing))
    assert command_line.main(["act"]) == 0
    with pytest.raises(ModuleNotFoundError, match="no_such_module_here"):
        command_line.main(["missing"])


def test_the_version_is_the_package_s(outcome: SetOutcome, capsys: Capture) -> None:
    outcome(lambda: None)
    assert command_line.main(["--version"]) == 0
    assert capsys.readouterr().out == f"harness {__version__}\n"


@pytest.mark.parametrize("command", command_line.SUBCOMMANDS, ids=lambda command: command.name)
def test_every_command_of_the_table_is_there_and_has_a_help_text(
    command: command_line.Subcommand, capsys: Capture
) -> None:
    assert command.summary
    assert (command.load().__doc__ or "").startswith(command.summary)
    assert command_line.main([command.name, "--help"]) == 0
    assert f"harness {command.name}" in capsys.readouterr().out


def test_python_m_harness_is_the_same_command(tmp_path: Path) -> None:
    environment = {**os.environ, "PYTHONPATH": str(CHECKOUT)}
    done = subprocess.run(
        [sys.executable, "-m", "harness", "nonsense"],
        cwd=tmp_path,
        env=environment,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 2
    assert done.stderr.startswith("harness: Unknown command 'nonsense'.")


def test_the_overview_imports_nothing_heavy(tmp_path: Path) -> None:
    heavy = ("torch", "transformers", "pandas", "matplotlib", "scipy", "numpy")
    code = (
        "import sys; from harness.cli.main import main; main(['--help'])\n"
        f"print([name for name in {heavy!r} if name in sys.modules])"
    )
    done = subprocess.run(
        [sys.executable, "-c", code],
        cwd=tmp_path,
        env={**os.environ, "PYTHONPATH": str(CHECKOUT)},
        capture_output=True,
        text=True,
        check=True,
    )
    assert done.stdout.splitlines()[-1] == "[]"
