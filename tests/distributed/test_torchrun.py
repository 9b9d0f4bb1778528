"""What torchrun's job comes to where one of its processes hangs or is lost."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from harness.records.jsonl import read_lines
from harness.records.run_folder import EVAL_FILE, METRICS_FILE, TRACE_FILE, read_status

STRUCK = Path(__file__).with_name("struck.py")
TIMES = ("seconds", "eval_seconds", "tokens_per_second")
SETTINGS = {"train.batch_size": 8, "train.group_size": 4, "evaluation.items": 4, "execution.checkpoint_every": 1}
RUN = ["run", "--method", "egspo-sa", "--task", "sudoku", "--budget", "updates=8"]
RUN += [part for key, value in SETTINGS.items() for part in ("--set", f"{key}={value}")]
CALLS = {"0": 53, "1": 15}
"""By rank, the call with which the preparation of the third rollout's updates begins; the first process writes, too."""
DEADLINE = 600
"""Seconds; torchrun gives processes 30 to end, and the timeout below is 12."""


def torchrun(
    runs: Path,
    mark: Path,
    number: str = "SIGKILL",
    rank: str = "1",
    *,
    options: tuple[str, ...] = (),
    timeout: float = 5,
) -> subprocess.CompletedProcess[str]:
    """A job of two processes, of which one sends itself a signal, unless `mark` exists."""
    command = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc_per_node", "2", *options]
    command += [str(STRUCK), str(mark), number, rank, str(CALLS[rank]), *RUN, "--runs", str(runs)]
    command += ["--set", f"execution.timeout_minutes={timeout}"]
    environment = {**os.environ, "OMP_NUM_THREADS": "1"}
    return subprocess.run(command, capture_output=True, text=True, timeout=DEADLINE, env=environment)


def found(runs: Path) -> Path:
    """The folder of the run."""
    return next(runs.rglob(METRICS_FILE)).parent


def result(runs: Path) -> dict[str, Any]:
    """All that a finished run leaves, but for times."""
    folder = found(runs)
    status = read_status(folder)
    assert status is not None
    records = {
        name: [{key: value for key, value in line.items() if key not in TIMES} for line in read_lines(folder / name)]
        for name in (METRICS_FILE, EVAL_FILE, TRACE_FILE)
    }
    (weights,) = folder.glob("checkpoints/*/weights.safetensors")
    return {**records, "state": status.state, "weights": weights.read_bytes()}


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    """What an undisturbed run of two processes leaves."""
    folder = tmp_path_factory.mktemp("whole")
    (folder / "mark").touch()
    done = torchrun(folder / "runs", folder / "mark")
    assert done.returncode == 0, done.stderr
    return result(folder / "runs")


def is_gone(process: int) -> bool:
    """Whether no such process runs."""
    try:
        os.kill(process, 0)
    except ProcessLookupError:
        return True
    return False


@pytest.mark.parametrize("rank", [pytest.param("0", marks=pytest.mark.long), pytest.param("1", marks=pytest.mark.slow)])
def test_a_process_that_hangs_ends_the_job_after_the_timeout_and_the_same_command_goes_on(
    tmp_path: Path, whole: dict[str, Any], rank: str
) -> None:
    mark, runs = tmp_path / "mark", tmp_path / "runs"
    done = torchrun(runs, mark, "SIGSTOP", rank, timeout=0.2)
    assert done.returncode != 0
    said = [line for line in done.stderr.splitlines() if line.startswith("harness: ")]
    assert said == [
        "harness: Another process of this run has ended, or has not answered for execution.timeout_minutes=0.2; the "
        "same command goes on from the last checkpoint."
    ]
    assert is_gone(int(mark.read_text()))
    assert len(list(read_lines(found(runs) / METRICS_FILE))) == 4
    done = torchrun(runs, mark)
    assert done.returncode == 0, done.stderr
    assert result(runs) == whole


@pytest.mark.slow
def test_torchrun_starts_a_job_that_lost_a_process_again_and_it_ends_as_an_undisturbed_one(
    tmp_path: Path, whole: dict[str, Any]
) -> None:
    mark, runs = tmp_path / "mark", tmp_path / "runs"
    done = torchrun(runs, mark, "SIGKILL", "1", options=("--max-restarts", "1"))
    assert mark.exists()
    assert done.returncode == 0, done.stderr
    assert result(runs) == whole
