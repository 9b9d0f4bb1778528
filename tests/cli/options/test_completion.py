"""Completion by the shells' own way: an environment variable, words, and what is printed; nothing heavy is imported."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from harness import registry
from harness.cli import main as command_line
from harness.cli.main import SUBCOMMANDS, main
from harness.cli.options.completion import LISTS, OFFERS

CHECKOUT = Path(__file__).resolve().parents[3]
SHELLS = ("bash", "zsh", "fish")


@pytest.fixture
def completed(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Any:
    """What a shell is offered behind the words of a command line, the last of which may be unfinished."""

    def complete(line: str, shell: str = "bash") -> list[str]:
        words = line.split(" ")
        with monkeypatch.context() as place:
            place.setenv("_HARNESS_COMPLETE", f"complete_{shell}")
            place.setenv("COMP_WORDS", line)
            place.setenv("COMP_CWORD", str(len(words) - 1))
            place.setenv("_TYPER_COMPLETE_ARGS", line)
            place.setenv("_TYPER_COMPLETE_FISH_ACTION", "get-args")
            with pytest.raises(SystemExit) as ended:
                main([])
        assert ended.value.code == 0
        shown = capsys.readouterr()
        assert shown.err == ""
        return shown.out.split("\n")[:-1] if shown.out != "\n" else []

    return complete


@pytest.mark.parametrize("shell", SHELLS)
def test_a_shell_is_offered_the_commands_without_importing_one(
    shell: str, completed: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(command_line.Subcommand, "load", lambda command: pytest.fail("was imported"))
    offered = completed("harness re", shell)
    assert len(offered) == 2
    assert all(name in text for name, text in zip(("reproduce", "report"), offered, strict=True))
    assert len(completed("harness ", shell)) == len(SUBCOMMANDS)


def test_the_options_of_a_command_are_offered_by_importing_it_alone(
    completed: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    loaded = []
    load = command_line.Subcommand.load
    monkeypatch.setattr(command_line.Subcommand, "load", lambda command: loaded.append(command.name) or load(command))
    assert completed("harness run --dr") == ["--dry-run"]
    assert completed("harness -q run --meth") == ["--method"]
    assert completed("harness run --qu") == ["--quiet"]
    assert loaded == ["run"] * 3


@pytest.mark.parametrize(
    ("line", "offered"),
    [
        ("harness run --task s", ["sudoku"]),
        ("harness run --method egspo", ["egspo", "egspo-sa"]),
        ("harness run --method egspo,es", ["egspo,espo"]),
        ("harness run --method espo,esp", []),
        ("harness run --method espo --recipe ", ["tiny", "small", "laptop", "paper"]),
        ("harness run --recipe espo:t", ["espo:tiny"]),
        ("harness run --keep ", ["last", "all", "best=validation", "every="]),
        ("harness run --set optimizer.learning_rate", ["optimizer.learning_rate="]),
        ("harness eval --set num_s", ["num_steps="]),
        ("harness eval --protocol egs", ["egspo"]),
        ("harness eval --checkpoints ", ["last", "all"]),
        ("harness compare --against egspo/sud", ["egspo/sudoku"]),
        ("harness list m", ["methods", "models"]),
        ("harness show gdsd", ["gdsd", "gdsd:tiny", "gdsd:small", "gdsd:laptop", "gdsd:paper"]),
        ("harness data p", ["pull", "prompts"]),
        ("harness nonsense --x", []),
        ("harness run --method espo --out", []),
    ],
)
def test_values_are_offered(line: str, offered: list[str], completed: Any) -> None:
    assert completed(line) == offered


def test_methods_of_one_s_own_are_offered_and_a_wrong_folder_says_nothing(
    completed: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "mine.py").write_text('@method("zebra", title="Zebra")\nclass Zebra:\n    pass\n')
    assert completed("harness run --include-path /no/such --method z") == []
    monkeypatch.setattr(registry, "_included", [])
    assert completed(f"harness run --include-path {tmp_path} --method z") == ["zebra"]


def test_every_offer_is_one_of_a_parameter_that_some_command_has() -> None:
    known = {one.name for command in SUBCOMMANDS for one in command.built().params}
    assert OFFERS.keys() | LISTS.keys() <= known


@pytest.mark.parametrize("shell", SHELLS)
def test_the_script_of_a_shell_asks_for_this_command(
    shell: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr("typer.completion._get_shell_name", lambda: shell)
    with pytest.raises(SystemExit):
        main(["--show-completion"])
    assert f"_HARNESS_COMPLETE=complete_{shell}" in capsys.readouterr().out


def test_completion_is_installed_into_the_home_folder(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.setattr("typer._completion_shared._get_shell_name", lambda: "bash")
    with pytest.raises(SystemExit):
        main(["--install-completion"])
    assert "_HARNESS_COMPLETE=complete_bash" in (tmp_path / ".bash_completions" / "harness.sh").read_text()
    assert "harness.sh" in (tmp_path / ".bashrc").read_text()
    assert "bash completion installed" in capsys.readouterr().out


def test_a_completion_imports_nothing_heavy(tmp_path: Path) -> None:
    heavy = ("torch", "transformers", "pandas", "matplotlib", "rich")
    lines = ("run --method e", "run --method espo --recipe ", "eval --checkpoint e", "show e", "plan --set o", "list ")
    code = (
        "import os, sys\nfrom harness.cli.main import main\n"
        f"for line in {lines!r}:\n"
        "    os.environ |= {'COMP_WORDS': f'harness {line}', 'COMP_CWORD': str(line.count(' ') + 1)}\n"
        "    try:\n        main([])\n    except SystemExit:\n        pass\n"
        f"print([name for name in {heavy!r} if name in sys.modules])"
    )
    done = subprocess.run(
        [sys.executable, "-c", code],
        cwd=tmp_path,
        env={**os.environ, "PYTHONPATH": str(CHECKOUT), "_HARNESS_COMPLETE": "complete_bash"},
        capture_output=True,
        text=True,
        check=True,
    )
    assert done.stdout.splitlines()[-1] == "[]"
    assert "egspo-sa:paper" in done.stdout
