"""-h, --quiet and --verbose, before a command and after it, for every command in one way."""

from __future__ import annotations

import io
import logging
import os
import warnings
from collections.abc import Callable
from contextlib import redirect_stderr, redirect_stdout
from pathlib import Path
from typing import Any

import pytest
import typer

from harness.cli.main import SUBCOMMANDS, main
from harness.cli.terminal import feedback
from harness.cli.terminal.feedback import NO_BARS, detail, echo, progress_bar, say, speaking, warn
from harness.cli.terminal.tables import show_table
from harness.errors import UserError

Capture = pytest.CaptureFixture[str]
SMALL = ("train.batch_size=4", "train.group_size=2", "evaluation.items=4")
RUN = ("run", "--method", "espo", "--task", "sudoku", "--budget", "updates=2", *(f"--set={one}" for one in SMALL))


def act() -> None:
    """Says something of every kind."""
    say("heading")
    show_table("Title", ["A"], [["cell"]], numeric=[False])
    echo("result")
    detail("detail")
    warn("strange")
    logging.getLogger("harness.rl.loop").info("told")
    logging.getLogger("harness.rl.loop").warning("warned")
    logging.getLogger("other").warning("other library")
    warnings.warn("deprecated", DeprecationWarning, stacklevel=1)
    with progress_bar("work") as show:
        show(1, 2)
    raise UserError("wrong.")


@pytest.fixture
def acting(monkeypatch: pytest.MonkeyPatch) -> None:
    """`harness doctor` does as `act` does."""
    monkeypatch.setattr("harness.cli.doctor.doctor", act)
    monkeypatch.setattr(feedback, "PLAIN_INTERVAL", 0.0)


@pytest.mark.parametrize("name", ["", *(command.name for command in SUBCOMMANDS)])
def test_h_is_help(name: str, capsys: Capture) -> None:
    words = [name] if name else []
    assert main([*words, "--help"]) == main([*words, "-h"]) == 0
    shown = capsys.readouterr().out
    assert shown[: len(shown) // 2] == shown[len(shown) // 2 :]
    assert "-h, --help" in shown


def test_h_after_the_first_argument_of_lm_eval_is_passed_on(monkeypatch: pytest.MonkeyPatch) -> None:
    given: list[str] = []

    def pass_on(context: typer.Context) -> None:
        given.extend(context.args)

    monkeypatch.setattr("harness.cli.lm_eval.lm_eval", pass_on)
    assert main(["lm-eval", "run", "-h", "-q", "-v", "DEBUG"]) == 0
    assert given == ["run", "-h", "-q", "-v", "DEBUG"]


@pytest.mark.parametrize("words", [["-q", "doctor"], ["doctor", "-q"], ["--quiet", "doctor"], ["-q", "doctor", "-q"]])
def test_quiet_leaves_results_and_errors(words: list[str], acting: None, capsys: Capture) -> None:
    assert main(words) == 2
    shown = capsys.readouterr()
    assert shown.out == "A\n----\ncell\n\nresult\n"
    assert shown.err == "harness: wrong.\n"


@pytest.mark.parametrize("words", [["-v", "doctor"], ["doctor", "-v"], ["doctor", "--verbose"]])
def test_verbose_adds_details_on_standard_error(words: list[str], acting: None, capsys: Capture) -> None:
    with pytest.warns(DeprecationWarning, match="deprecated"):
        assert main(words) == 2
    shown = capsys.readouterr()
    assert shown.out == "heading\nTitle\nA\n----\ncell\n\nresult\n"
    assert shown.err.splitlines() == [
        "detail",
        "harness: warning: strange",
        "told",
        "warned",
        "work 1/2",
        "harness: wrong.",
    ]


def test_neither_says_no_details(acting: None, capsys: Capture) -> None:
    with pytest.warns(DeprecationWarning, match="deprecated"):
        assert main(["doctor"]) == 2
    said = capsys.readouterr().err.splitlines()
    assert "harness: warning: strange" in said
    assert not {"detail", "told"} & {*said}


@pytest.mark.parametrize("words", [["-q", "-v", "doctor"], ["-q", "doctor", "-v"], ["doctor", "-vq"]])
def test_both_at_once_are_refused(words: list[str], acting: None, capsys: Capture) -> None:
    assert main(words) == 2
    assert capsys.readouterr().err == "harness: --quiet and --verbose are opposites; leave out one of them.\n"


def test_afterwards_all_is_as_before(monkeypatch: pytest.MonkeyPatch) -> None:
    logger = logging.getLogger("harness")
    monkeypatch.setenv(NO_BARS, "0")

    def state() -> Any:
        disabled = logging.root.manager.disable
        return logger.level, [*logger.handlers], logger.propagate, disabled, [*warnings.filters], os.environ[NO_BARS]

    before = state()
    for asked in ({"quiet": True}, {"verbose": True}, {}):
        with pytest.raises(RuntimeError), speaking(**asked):
            raise RuntimeError
        assert state() == before
        assert not feedback.is_quiet()
        assert not feedback.is_verbose()


@pytest.fixture(scope="module")
def said(tmp_path_factory: pytest.TempPathFactory) -> Callable[..., tuple[str, str]]:
    """What a run prints with an option, and on standard error."""

    def run(option: str) -> tuple[str, str]:
        out, err = io.StringIO(), io.StringIO()
        runs = tmp_path_factory.mktemp("runs") / "runs"
        with redirect_stdout(out), redirect_stderr(err):
            assert main([*RUN, "--runs", str(runs), option]) == 0
        return out.getvalue().replace(str(runs), "RUNS"), err.getvalue().replace(str(runs), "RUNS")

    return run


def test_a_quiet_run_prints_its_results_alone(said: Callable[..., tuple[str, str]]) -> None:
    out, err = said("--quiet")
    first, second = out.splitlines()
    assert first.startswith("  last @    2 updates: exact_match ")
    assert second.startswith("RUNS/sudoku/espo/tiny/")
    assert err == ""


def test_a_verbose_run_tells_what_is_decided_and_why(said: Callable[..., tuple[str, str]]) -> None:
    out, err = said("--verbose")
    assert out.startswith("espo on sudoku, tiny, seed 0\n  base @    0 updates: ")
    told = err.splitlines()
    assert told[0].startswith("Folder: RUNS/sudoku/espo/tiny/")
    assert told[1] == "Recipe: tiny; budget updates=2; device auto"
    assert "  budget.updates = 2 (command line)" in told
    assert "  method.inner_updates = 2 (recipe)" in told
    assert "Data: 4,096 training examples from builtin; 4 items of split test from builtin, 0 for validation" in told
    assert any(line.startswith("Model: tiny in ") and "201,536 weights" in line for line in told)
    assert any(line.startswith("Checkpoint: RUNS/") and line.endswith("update-000002") for line in told)
    assert told[-1].startswith("Seconds up to the last update: eval ")


def test_every_command_but_lm_eval_has_both_options() -> None:
    for command in SUBCOMMANDS:
        options = {option for one in command.built().params for option in one.opts}
        assert ({"-q", "--quiet", "-v", "--verbose"} <= options) == (not command.passes_on)


def test_no_command_has_an_option_of_these_letters_itself() -> None:
    for command in SUBCOMMANDS:
        options = [option for one in command.built().params for option in one.opts]
        assert len(options) == len({*options}), command.name


def test_the_flags_alone_show_the_overview(capsys: Capture, tmp_path: Path) -> None:
    assert main(["-q"]) == 0
    assert "Commands:" in capsys.readouterr().out
