"""harness compare from the command line: what is printed, what is written, and what is refused in one sentence."""

from __future__ import annotations

import csv
from pathlib import Path

import pytest

import harness
from harness.cli.main import main

Capture = pytest.CaptureFixture[str]


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A short run in float64."""
    changes = {"train.batch_size": 8, "train.group_size": 4, "evaluation.items": 8, "model.dtype": "float64"}
    runs = tmp_path_factory.mktemp("runs")
    return harness.run(method="egspo", task="sudoku", budget="updates=2", overrides=changes, runs=runs).folder


def compare(tmp_path: Path, *arguments: str) -> int:
    places = ["--evaluations", str(tmp_path / "evals"), "--out", str(tmp_path / "out")]
    task = [] if "--task" in arguments else ["--task", "sudoku"]
    return main(["compare", *task, "--items", "16", *places, *arguments])


def test_a_comparison_is_a_table_on_the_terminal_and_two_files(run: Path, tmp_path: Path, capsys: Capture) -> None:
    options = ("--dtype", "float32", "--noise-batch-sizes", "1,8", "--noise-dtypes", "float32")
    assert compare(tmp_path, "--mine", str(run), "--against", "tiny", *options) == 0
    shown = capsys.readouterr()
    assert "harness:" not in shown.err
    evaluations, differences = shown.out.split("\n\nDifferences\n")
    assert evaluations.splitlines()[0] == "Evaluations, dtype float32, metric exact match"
    assert [line.split("  ")[0] for line in evaluations.splitlines()[3:9]] == ["Sudoku, 16 tokens"] * 6
    assert f"egspo-{run.name}" in differences.splitlines()[2]
    with open(tmp_path / "out" / "comparison.csv", newline="") as stream:
        (row,) = csv.DictReader(stream)
    assert (row["first"], row["second"], row["items"]) == (f"egspo-{run.name}", "tiny", "16")
    assert (row["items_flipped"], row["noise_floor"]) == ("0", "0")
    text = (tmp_path / "out" / "comparison.md").read_text()
    assert text.count("| Sudoku, 16 tokens |") == 7
    assert "Holm: adjusted for the number of tests here, 1" in text


def test_without_noise_the_table_says_that_it_was_not_measured(tmp_path: Path, capsys: Capture) -> None:
    harness.export("tiny", tmp_path / "copy")
    assert compare(tmp_path, "--against", f"tiny,{tmp_path / 'copy'}") == 0
    assert "The noise of this machine was not measured: --noise" in capsys.readouterr().out
    with open(tmp_path / "out" / "comparison.csv", newline="") as stream:
        (row,) = csv.DictReader(stream)
    assert (row["difference"], row["p"], row["noise_floor"], row["verdict"]) == ("0", "1", "", "not shown to differ")


def test_checkpoints_that_would_be_evaluated_differently_are_refused(
    run: Path, tmp_path: Path, capsys: Capture
) -> None:
    assert compare(tmp_path, "--against", f"tiny,{run}") == 2
    assert capsys.readouterr().err == (
        f"harness: 'tiny' and 'egspo-{run.name}' are not evaluated alike on sudoku: dtype is float32 for one and "
        "float64 for the other. Name one for all with --dtype.\n"
    )
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["--against", "tiny"], "A comparison needs two checkpoints or more"),
        (["--against", "tiny", "--mine", "tiny"], "'tiny' is named 2 times"),
        (["--against", "tiny,nonsense"], "Unknown checkpoint 'nonsense'. Choices: coupled-grpo, dirl-8b, egspo, "),
        (["--against", "tiny", "--mine", "missing"], "Unknown checkpoint 'missing'. Choices: coupled-grpo, dirl-8b, "),
        (["--against", "tiny,nonsense", "--task", "chess"], "Unknown task 'chess'"),
        (["--against", "tiny,nonsense", "--noise-batch-sizes", "x"], "--noise-batch-sizes 'x' is neither"),
    ],
)
def test_bad_input_is_one_sentence(tmp_path: Path, capsys: Capture, arguments: list[str], words: str) -> None:
    assert compare(tmp_path, *arguments) == 2
    shown = capsys.readouterr()
    assert words in shown.err
    assert (shown.out, shown.err.count("\n")) == ("", 1)
    assert not list(tmp_path.iterdir())


def test_long_work_shows_progress(tmp_path: Path, capsys: Capture, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("harness.cli.terminal.feedback.PLAIN_INTERVAL", 0.0)
    harness.export("tiny", tmp_path / "copy")
    assert compare(tmp_path, "--against", f"tiny,{tmp_path / 'copy'}") == 0
    assert capsys.readouterr().err == (
        "compare 16/16 tiny (1 of 2): sudoku, 16 tokens\ncompare 16/16 copy (2 of 2): sudoku, 16 tokens\n"
    )
