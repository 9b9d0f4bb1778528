"""--json: standard output holds one JSON document, whatever a command has to say besides."""

from __future__ import annotations

import json
import math
from pathlib import Path
from typing import Any

import pytest

import harness
from harness import registry
from harness.cli.main import main
from harness.cli.terminal.document import clear_output, show_document
from harness.records.jsonl import read_lines

Capture = pytest.CaptureFixture[str]
PLAN = ("plan", "--method", "espo", "--task", "sudoku", "--rate", "1", "--device", "cpu", "--json")
LOUD = """
from harness.registry import task
from harness.task.base import Task

print("loaded")


@task("loud")
class Loud(Task):
    name = "loud"
    metrics = ("right",)

    def examples(self, split, source):
        return []

    def prompt(self, example):
        return []

    def score(self, examples, completions):
        return []
"""


@pytest.fixture(autouse=True)
def no_progress_however_slow_the_machine_is(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("harness.cli.terminal.feedback.PLAIN_INTERVAL", float("inf"))


def strict(text: str) -> Any:
    """The document, as a parser reads it that knows no NaN."""

    def refuse(word: str) -> None:
        raise AssertionError(word)

    return json.loads(text, parse_constant=refuse)


def test_what_json_has_no_number_for_is_null(capsys: Capture) -> None:
    show_document({"a": [math.nan, (math.inf, 1.5)], "b": {"c": -math.inf, "d": Path("e/f")}})
    assert strict(capsys.readouterr().out) == {"a": [None, [None, 1.5]], "b": {"c": None, "d": "e/f"}}


def test_of_several_processes_the_first_prints(capsys: Capture, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("RANK", "1")
    show_document([])
    assert capsys.readouterr().out == ""


def test_what_is_printed_meanwhile_goes_to_standard_error(capsys: Capture) -> None:
    for wanted in (True, False):
        with clear_output(wanted):
            print("aside")
    assert capsys.readouterr() == ("aside\n", "aside\n")


def test_a_task_that_prints_leaves_the_document_alone(
    tmp_path: Path, capsys: Capture, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(registry, "_included", [])
    (tmp_path / "loud.py").write_text(LOUD)
    assert main(["show", "loud", "--include-path", str(tmp_path), "--json"]) == 0
    shown = capsys.readouterr()
    found = strict(shown.out)
    assert (found["task"], shown.err) == ("loud", "loaded\n")
    assert found["rewards"] == [{"profile": name, "meaning": ""} for name in ("official", "correctness")]
    assert (found["data"], found["generator"], found["prompt"]) == ([], None, None)


def test_evaluations_are_the_lines_of_their_files(tmp_path: Path, capsys: Capture) -> None:
    command = ["eval", "--task", "sudoku", "--items", "4", "--out", str(tmp_path), "--json"]
    assert main(command) == 0
    (first,) = strict(capsys.readouterr().out)
    assert main([*command, "--length", "8,16"]) == 0
    shown = capsys.readouterr()
    short, known = strict(shown.out)
    folder = tmp_path / "sudoku" / "tiny"
    assert [known["record"], short["record"]] == list(read_lines(folder / "eval.jsonl"))
    assert [one["already_there"] for one in (first, short, known)] == [False, False, True]
    assert known == {**first, "already_there": True}
    assert (first["task"], first["folder"]) == ("sudoku", str(folder))
    assert first["metrics"]["exact_match"] == {
        "n": 4,
        "value": 0.0,
        "low": 0.0,
        "high": pytest.approx(0.4899, abs=1e-4),
    }
    assert shown.err == ""


def test_a_comparison_has_its_evaluations_its_pairs_and_its_files(tmp_path: Path, capsys: Capture) -> None:
    harness.export("tiny", tmp_path / "copy")
    places = ["--evaluations", str(tmp_path / "evals"), "--out", str(tmp_path / "out")]
    command = ["compare", "--task", "sudoku", "--items", "4", "--against", "tiny", "--mine", str(tmp_path / "copy")]
    assert main([*command, *places, "--noise-batch-sizes", "2", "--noise-dtypes", "float32", "--json"]) == 0
    shown = capsys.readouterr()
    found = strict(shown.out)
    assert [(one["checkpoint"], one["batch_size"], one["dtype"], one["n"]) for one in found["evaluations"]] == [
        ("copy", 64, "float32", 4),
        ("tiny", 64, "float32", 4),
    ]
    assert [one["at_other_settings"][0]["batch_size"] for one in found["evaluations"]] == [2, 2]
    assert found["evaluations"][0]["noise"] == {"items_flipped": 0, "moved": 0.0}
    (pair,) = found["pairs"]
    assert (pair["first"], pair["second"], pair["items"], pair["difference"], pair["p"]) == (
        "copy",
        "tiny",
        4,
        0.0,
        1.0,
    )
    assert pair["difference_low"] <= 0 <= pair["difference_high"]
    assert pair["verdict"] == "not shown to differ"
    assert found["files"] == [str(tmp_path / "out" / name) for name in ("comparison.md", "comparison.csv")]
    assert all(Path(name).is_file() for name in found["files"])
    assert shown.err == ""


def test_a_plan_has_an_entry_per_cell_and_still_refuses_what_cannot_fit(tmp_path: Path, capsys: Capture) -> None:
    assert main([*PLAN, "--seed", "0,1", "--runs", str(tmp_path), "--memory", "0.1", "--config"]) == 2
    shown = capsys.readouterr()
    found = strict(shown.out)
    assert (found["recipes"], [one["seed"] for one in found["cells"]]) == ([], [0, 1])
    cell = found["cells"][1]
    assert (cell["method"], cell["task"], cell["finished"]) == ("espo", "sudoku", False)
    assert (cell["compute"]["rollouts"], cell["compute"]["updates"]) == (24, 48)
    assert cell["compute"]["flops"] == sum(part["flops"] for part in cell["compute"]["phases"].values())
    assert cell["compute"]["hours"] == pytest.approx(cell["compute"]["flops"] / 1e12 / 3600)
    memory = cell["memory_per_device"]
    assert memory["peak_bytes"] == sum(memory["held_bytes"].values()) + memory["phases"]["update"]["bytes"]
    assert (cell["fits"], cell["fixes"]) == (False, ["execution.activation_checkpointing=true"])
    assert cell["peak_bytes_with_fixes"] < cell["device"]["bytes"] == round(0.1 * 2**30) < memory["peak_bytes"]
    assert cell["disk"]["needed_bytes"] == 2 * cell["disk"]["checkpoint_bytes"]
    assert {"key": "train.batch_size", "value": 64, "from": "protocol"} in cell["config"]
    assert shown.err.startswith("harness: espo on sudoku, tiny: It does not fit")
    assert shown.err.count("\n") == 1


def test_a_recipe_that_is_checked_on_all_tasks_names_them(tmp_path: Path, capsys: Capture) -> None:
    own = tmp_path / "own.yaml"
    own.write_text("budget: {updates: 1}\n")
    assert main(["plan", str(own), "--method", "espo", "--json"]) == 0
    tasks = ["countdown", "gsm8k", "humaneval", "math500", "mbpp", "sudoku"]
    recipes = [{"recipe": str(own), "method": "espo", "right_on": tasks}]
    assert strict(capsys.readouterr().out) == {"cells": [], "recipes": recipes}


@pytest.mark.parametrize(
    "command",
    [
        ("eval", "nowhere", "--task", "sudoku"),
        ("compare", "--task", "sudoku", "--against", "tiny,nonsense"),
        ("plan", "--method", "espo", "--task", "sudoku,chess"),
        ("report", "missing"),
    ],
    ids=" ".join,
)
def test_after_an_error_there_is_no_document(
    tmp_path: Path, capsys: Capture, monkeypatch: pytest.MonkeyPatch, command: tuple[str, ...]
) -> None:
    monkeypatch.chdir(tmp_path)
    assert main([*command, "--json"]) == 2
    shown = capsys.readouterr()
    assert (shown.out, shown.err.count("\n")) == ("", 1)
