"""A grid under Slurm: the scripts, what is refused, and a whole grid on a real Slurm with preemption and a time-out."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from harness.app import launch
from harness.app.launch import SlurmOptions, in_queue, minutes, scripts, submit
from harness.app.plan import PlannedRun, RunRequest, plan
from harness.app.run import execute
from harness.cli.main import main
from harness.errors import UserError
from harness.records.run_folder import METRICS_FILE, read_status

SMALL = {"train.batch_size": 8, "train.group_size": 4, "evaluation.items": 4, "execution.grace_seconds": 60}
SHORT, LONG = 12, 1200
"""Updates; the long cell outlasts the half minute after which Slurm looks at times again."""


def cells(runs: Path, count: int = 6) -> list[RunRequest]:
    return [
        RunRequest(
            method="egspo",
            task="sudoku",
            seed=seed,
            runs=runs,
            overrides=SMALL | {"budget": {"updates": LONG if seed == 5 else SHORT}},
        )
        for seed in range(count)
    ]


def serial(forks: Any, runs: Path, seeds: str, updates: int) -> Any:
    """Starts a process that runs cells one after another."""
    settings = [word for key, value in SMALL.items() for word in ("--set", f"{key}={value}")]
    command = ["run", "--method", "egspo", "--task", "sudoku", "--seed", seeds, "--budget", f"updates={updates}"]
    return forks.start(1, "-m", "harness", *command, "--runs", runs, *settings)


def updates(cell: PlannedRun) -> list[dict[str, object]]:
    """The lines of metrics.jsonl without what a clock says."""
    path = cell.folder / METRICS_FILE
    lines = [json.loads(line) for line in path.read_text().splitlines()] if path.exists() else []
    return [{key: value for key, value in line.items() if key != "seconds"} for line in lines]


def weights(cell: PlannedRun) -> bytes:
    return max(cell.folder.glob("checkpoints/*/weights.safetensors")).read_bytes()


def finished(cell: PlannedRun) -> bool:
    status = read_status(cell.folder)
    return status is not None and status.state == "finished"


@pytest.mark.slow
def test_a_grid_that_is_preempted_and_timed_out_ends_as_a_serial_one(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, slurm: Any, forks: Any
) -> None:
    monkeypatch.setenv("PYTHONPATH", str(Path(__file__).resolve().parents[2]))
    requests = cells(tmp_path / "runs")
    planned = [plan(request) for request in requests]
    options = SlurmOptions(partition="low", minutes=120, sbatch={"signal": "USR1@45"})
    jobs = [one.job for one in submit(requests, planned, options)]
    assert len(in_queue(tmp_path / "runs")) == 6
    assert submit(requests, planned, options) == []

    slurm.await_that(lambda: updates(planned[0]) and updates(planned[1]), "an update of the first two cells")
    slurm.ask("sbatch", "--partition", "high", "--ntasks", "2", "--output", "/dev/null", "--wrap", "true")
    slurm.await_that(lambda: updates(planned[5]), "an update of the long cell")
    alone = [serial(forks, tmp_path / "serial", *what) for what in (("0,1,2,3,4", SHORT), ("5", LONG))]
    elapsed = slurm.ask("squeue", "--noheader", "--jobs", jobs[5], "--format", "%M")
    slurm.ask("scontrol", "update", f"JobId={jobs[5]}", f"TimeLimit={minutes('0:' + elapsed.strip())}")
    slurm.await_that(lambda: slurm.restarts(jobs[5]), "the time-out")
    slurm.ask("scontrol", "update", f"JobId={jobs[5]}", "TimeLimit=120")
    for cell in planned:
        slurm.await_that(lambda cell=cell: finished(cell), f"the end of {cell.folder}")  # type: ignore[misc]
    assert [slurm.restarts(job) > 0 for job in jobs] == [True, True, False, False, False, True]

    assert [job.end().codes for job in alone] == [[0], [0]]
    for cell, request in zip(planned, cells(tmp_path / "serial"), strict=True):
        assert updates(cell) == updates(plan(request)) != []
        assert weights(cell) == weights(plan(request))
    assert submit(requests, planned, options) == []


def test_the_scripts_ask_slurm_for_what_was_asked_for(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    command = ["run", "--method", "egspo,d1", "--task", "sudoku", "--seed", "0,1", "--runs", str(tmp_path / "runs")]
    command += ["--launcher", "slurm", "--partition", "gpu", "--time", "4:00:00", "--gpus-per-node", "8"]
    assert main([*command, "--nodes", "2", "--array-parallelism", "3", "--sbatch", "account=lab", "--dry-run"]) == 0
    lines = capsys.readouterr().out.splitlines()
    expected = ["account=lab", "array=0-3%3", "gpus-per-node=8", "nodes=2", "ntasks-per-node=8", "partition=gpu"]
    expected += ["requeue", "signal=USR1@80", "time=240"]
    assert [f"#SBATCH --{option}" for option in expected if f"#SBATCH --{option}" not in lines] == []
    assert "export SUBMITIT_PREEMPT_SIGNAL=USR1" in lines
    assert not (tmp_path / "runs").exists()


def test_one_cell_is_no_array_and_a_finished_one_is_not_submitted(tmp_path: Path) -> None:
    requests = cells(tmp_path, 1)
    planned = [plan(requests[0])]
    (script,) = scripts(requests, planned, SlurmOptions())
    assert "--array" not in script
    assert "--gpus-per-node" not in script
    execute(planned[0], lambda event: None)
    assert list(scripts(requests, planned, SlurmOptions())) == []


def test_rows_that_the_processes_cannot_share_are_refused_before_anything_is_submitted(tmp_path: Path) -> None:
    requests = cells(tmp_path, 1)
    with pytest.raises(UserError, match="batch_size=8 rows cannot be shared equally by 3 processes; start 2 or 4, or"):
        submit(requests, [plan(requests[0])], SlurmOptions(nodes=3))


def test_without_slurm_a_submission_is_one_sentence(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(launch.shutil, "which", lambda name: None)
    requests = cells(tmp_path, 1)
    with pytest.raises(UserError, match="Slurm's sbatch was not found; submit from a login node"):
        submit(requests, [plan(requests[0])], SlurmOptions())


@pytest.mark.parametrize(
    ("text", "expected"),
    [("90", 90), ("30:01", 31), ("4:00:00", 240), ("0:59:01", 60), ("2-0", 2880), ("1-12:30", 2190), ("0:05", 1)],
)
def test_times_are_read_as_slurm_reads_them(text: str, expected: int) -> None:
    assert minutes(text) == expected


@pytest.mark.parametrize("text", ["", "4h", "0", "1:2:3:4", "-5"])
def test_other_times_are_refused(text: str) -> None:
    with pytest.raises(UserError, match="--time"):
        minutes(text)


@pytest.mark.parametrize(
    ("options", "reason"),
    [
        (["--partition", "gpu"], "--partition is for Slurm; add --launcher slurm"),
        (["--launcher", "slrum"], "slurm"),
        (["--launcher", "slurm", "--sbatch", "account"], "--sbatch 'account' is not of the form option=value"),
    ],
)
def test_options_that_do_not_go_together_are_refused(
    options: list[str], reason: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["run", "--method", "egspo", "--task", "sudoku", "--runs", str(tmp_path), *options]) == 2
    assert reason in capsys.readouterr().err
