"""Cells of a grid side by side: what they record is what they record one after another."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from harness.app.plan import RunRequest, plan
from harness.app.run import execute
from harness.app.workers import run_cells
from harness.cli.main import main
from harness.errors import UserError

SMALL = {"train.batch_size": 8, "train.group_size": 4, "evaluation.items": 4, "budget": {"updates": 2}}


def request(runs: Path, seed: int = 0, **changes: object) -> RunRequest:
    return RunRequest(method="egspo", task="sudoku", seed=seed, runs=runs, overrides=SMALL | changes)


def weights(folder: Path) -> bytes:
    (file,) = folder.glob("checkpoints/*/weights.safetensors")
    return file.read_bytes()


@pytest.mark.slow
def test_two_at_a_time_give_the_bits_of_one_after_another_and_a_failure_stops_no_other(tmp_path: Path) -> None:
    together = [request(tmp_path / "together", seed) for seed in (0, 1, 2)]
    broken = request(tmp_path / "together", 3, **{"evaluation.items": 9999})
    outcomes = list(run_cells([broken, *together], jobs=2))
    errors = {outcome.request.seed: outcome.error for outcome in outcomes}
    assert "has 512; lower it with --set evaluation.items=512" in errors.pop(3)
    assert errors == {0: "", 1: "", 2: ""}
    for one in together:
        alone = plan(request(tmp_path / "alone", one.seed))
        execute(alone, lambda event: None)
        assert weights(plan(one).folder) == weights(alone.folder)
    assert [outcome.seconds for outcome in run_cells(together, jobs=2)] == [0.0, 0.0, 0.0]


@pytest.mark.slow
def test_the_command_line_runs_a_grid_side_by_side(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    options = [part for key, value in SMALL.items() if key != "budget" for part in ("--set", f"{key}={value}")]
    command = ["run", "--method", "egspo", "--task", "sudoku", "--seed", "0,1", "--budget", "updates=2", "--jobs", "2"]
    assert main([*command, "--runs", str(tmp_path), *options]) == 0
    assert "[2/2]" in capsys.readouterr().out
    states = [json.loads(path.read_text())["state"] for path in tmp_path.rglob("status.json")]
    assert states == ["finished", "finished"]
    assert main([*command, "--runs", str(tmp_path), *options]) == 0
    assert "2 of 2 cells are finished already" in capsys.readouterr().out


def _end_at_once(request: RunRequest) -> None:
    import os

    os._exit(9)


@pytest.mark.slow
def test_a_process_that_the_system_ends_is_one_sentence(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("harness.app.workers._one", _end_at_once)
    with pytest.raises(UserError, match="The system ended one of the 2 processes"):
        list(run_cells([request(tmp_path)], jobs=2))
