"""harness eval from the command line: what is printed, what is written, where warnings go."""

from __future__ import annotations

from pathlib import Path

import pytest

from harness.cli.main import main
from harness.records.jsonl import read_lines
from harness.records.schema import EvalRecord

Capture = pytest.CaptureFixture[str]


@pytest.fixture(autouse=True)
def no_progress_however_slow_the_machine_is(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("harness.cli.terminal.feedback.PLAIN_INTERVAL", float("inf"))


def evaluate(tmp_path: Path, *arguments: str) -> int:
    return main(["eval", "--task", "sudoku", "--items", "4", "--out", str(tmp_path / "out"), *arguments])


def test_a_batch_size_and_a_dtype_make_lines_of_their_own_and_the_same_again_none(
    tmp_path: Path, capsys: Capture
) -> None:
    for options in ((), ("--batch-size", "2"), ("--dtype", "bfloat16"), ("--batch-size", "2")):
        assert evaluate(tmp_path, *options) == 0
    folder = tmp_path / "out" / "sudoku" / "tiny"
    kept = [EvalRecord.from_json(line) for line in read_lines(folder / "eval.jsonl")]
    assert [(one.batch_size, one.dtype) for one in kept] == [(64, "float32"), (2, "float32"), (64, "bfloat16")]
    assert all((folder / str(one.samples_file)).is_file() for one in kept)
    shown = capsys.readouterr()
    assert shown.out.splitlines()[0].split()[0] == "exact_match"
    assert shown.out.count(f"; in {folder}\n") == 3
    assert shown.out.endswith(f"; in {folder}; it was there already (--fresh does it again)\n")
    assert shown.err == ""


def test_what_a_cache_changes_is_told_and_no_agreement_leaves_it_out(tmp_path: Path, capsys: Capture) -> None:
    dual = ("--set", "cache=dual", "--set", "block_length=4")
    assert evaluate(tmp_path, *dual, "--no-agreement") == 0
    assert "as exact" not in capsys.readouterr().out
    assert evaluate(tmp_path, *dual) == 0
    shown = {line[:14].strip(): line[15:] for line in capsys.readouterr().out.splitlines()}
    found = EvalRecord.from_json(list(read_lines(tmp_path / "out" / "sudoku" / "tiny" / "eval.jsonl"))[-1]).agreement
    assert found is not None
    assert shown["as exact"] == f"{found.tokens:7.2%} of tokens, {found.completions:.2%} of completions"
    assert shown["difference"].endswith(f"points of exact_match, p = 1.000; exact {found.exact_value:.2%}")
    assert shown["log-prob gap"].endswith("nats over 64 tokens")
    assert shown["cost"] == f"{found.cost:7.2f} times the FLOPs of exact decoding"


def test_a_warning_about_the_model_is_one_line_on_standard_error(
    tmp_path: Path, capsys: Capture, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("harness.models.checkpoints.warnings", lambda *about: ("It looks odd.",))
    assert evaluate(tmp_path) == 0
    assert capsys.readouterr().err == "harness: warning: It looks odd.\n"


def test_without_a_terminal_progress_is_a_line_now_and_then(
    tmp_path: Path, capsys: Capture, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("harness.cli.terminal.feedback.PLAIN_INTERVAL", 0.0)
    assert evaluate(tmp_path, "--batch-size", "2") == 0
    assert capsys.readouterr().err == "eval 2/4 sudoku, 16 tokens\neval 4/4 sudoku, 16 tokens\n"


def test_layers_are_compiled_where_there_is_a_compiler_and_not_beside_cuda_graphs(
    tmp_path: Path, capsys: Capture, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("CXX", "no-such-compiler")
    assert evaluate(tmp_path, "--compile") == 2
    assert "Compiled layers need a compiler, and no-such-compiler is not on this machine" in (
        " ".join(capsys.readouterr().err.split())
    )
    assert evaluate(tmp_path, "--compile", "--cuda-graphs") == 2
    assert "--compile and --cuda-graphs have not been tried together" in " ".join(capsys.readouterr().err.split())
