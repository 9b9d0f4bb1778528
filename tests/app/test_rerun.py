"""A recorded run made again: bit for bit on the recorded kind of machine, within tolerances elsewhere."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import pytest
import torch

from harness.app.rerun import compare
from harness.cli.main import main
from harness.records.jsonl import read_lines

SMALL = ["--budget", "updates=2", "--set", "evaluation.items=16"]


@pytest.fixture(scope="module")
def record(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A finished run of two updates."""
    runs = tmp_path_factory.mktemp("recorded")
    assert main(["run", "--method", "egspo-sa", "--task", "sudoku", "--runs", str(runs), *SMALL]) == 0
    return next(runs.glob("sudoku/egspo-sa/tiny/*"))


@pytest.fixture
def again(record: Path, tmp_path: Path) -> Path:
    """A copy of the run, to be changed."""
    return Path(shutil.copytree(record, tmp_path / record.name))


def change(file: Path, line: int, **values: object) -> None:
    lines = [dict(one) for one in read_lines(file)]
    lines[line].update(values)
    file.write_text("".join(json.dumps(one) + "\n" for one in lines))


def change_place(folder: Path) -> None:
    file = folder / "environment.json"
    file.write_text(json.dumps(json.loads(file.read_text()) | {"processor": "Another"}))


def right(folder: Path, line: int, count: float) -> None:
    """Sets how many of the 16 items an evaluation has right."""
    metrics = [dict(one) for one in read_lines(folder / "eval.jsonl")][line]["metrics"]
    change(folder / "eval.jsonl", line, metrics=metrics | {"exact_match": metrics["exact_match"] | {"part": count}})


def test_a_record_is_made_again_bit_for_bit_and_left_as_it_was(
    record: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    before = {path: path.read_bytes() for path in record.rglob("*") if path.is_file()}
    threads = torch.get_num_threads()
    assert main(["reproduce", str(record), "--out", str(tmp_path / "again")]) == 0
    assert torch.get_num_threads() == threads
    assert "Reproduced bit for bit: 2 updates and 2 evaluations." in capsys.readouterr().out
    assert {path: path.read_bytes() for path in record.rglob("*") if path.is_file()} == before
    (made,) = (tmp_path / "again").glob("sudoku/egspo-sa/tiny/*")
    assert made.name == record.name


def test_a_dry_run_names_the_folder_and_makes_nothing(
    record: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["reproduce", str(record), "--out", str(tmp_path / "again"), "--dry-run"]) == 0
    assert f"{tmp_path}/again/sudoku/egspo-sa/tiny/{record.name}" in capsys.readouterr().out
    assert not (tmp_path / "again").exists()


def test_one_other_number_on_the_same_kind_of_machine_is_no_reproduction(record: Path, again: Path) -> None:
    change(again / "metrics.jsonl", 1, loss=0.25)
    found = compare(record, again)
    assert not found.holds
    assert found.first_difference.startswith("update 2, loss: 0.25, recorded ")


def test_times_and_the_host_do_not_count(record: Path, again: Path) -> None:
    change(again / "metrics.jsonl", 0, seconds={"total": 1e6})
    change(again / "eval.jsonl", 0, seconds=1e6, tokens_per_second=1.0)
    assert compare(record, again).holds
    assert compare(record, again).first_difference == ""


def test_a_missing_evaluation_is_a_difference(record: Path, again: Path) -> None:
    lines = (again / "eval.jsonl").read_text().splitlines(keepends=True)
    (again / "eval.jsonl").write_text(lines[1])
    assert compare(record, again).first_difference.startswith("evaluation 1, checkpoint: last, recorded base")


@pytest.mark.parametrize(("line", "off", "holds"), [(1, 1, True), (1, 2, False), (0, 0, True), (0, 1, False)])
def test_elsewhere_two_points_before_training_and_ten_after_it_are_allowed(
    record: Path, again: Path, line: int, off: int, holds: bool
) -> None:
    # One of 16 items is 6.25 points.
    for folder in (record, again):
        right(folder, 1, 8)
        right(folder, 0, 4)
    change_place(again)
    right(again, line, (8 if line else 4) + off)
    change(again / "metrics.jsonl", 0, loss=0.25)
    found = compare(record, again)
    assert found.elsewhere[0].startswith("processor Another, recorded ")
    assert found.holds is holds


def test_what_is_no_finished_run_is_refused_in_one_sentence(
    record: Path, again: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    status = again / "status.json"
    status.write_text(json.dumps(json.loads(status.read_text()) | {"state": "interrupted"}))
    for folder, said in (
        (again, "is not a finished run"),
        (record / "checkpoints", "has no config.yaml; name the folder of a finished run"),
        (record.parent / "none", "has no config.yaml"),
    ):
        assert main(["reproduce", str(folder)]) == 2
        assert said in capsys.readouterr().err
