"""What torchrun's job comes to where one of its processes hangs or is lost."""

from __future__ import annotations

import contextlib
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
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
Job = tuple[subprocess.Popen[bytes], Path]
"""A launcher and the folder that it works in."""
DEADLINE = 600
"""Seconds; torchrun gives processes 30 to end, and the timeout below is 12."""


def words(runs: Path, mark: Path, number: str, rank: str, timeout: float) -> list[str]:
    """A run of which one process sends itself a signal, unless `mark` exists."""
    run = [*RUN, "--runs", str(runs), "--set", f"execution.timeout_minutes={timeout}"]
    return [str(STRUCK), str(mark), number, rank, str(CALLS[rank]), *run]


def torchrun(folder: Path, number: str, rank: str, *options: str, timeout: float = 5) -> subprocess.Popen[bytes]:
    """A job of two processes that writes what it says of errors into the folder."""
    command = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc_per_node", "2", *options]
    command += words(folder / "runs", folder / "mark", number, rank, timeout)
    with open(folder / "said", "w") as said:
        return subprocess.Popen(
            command,
            stdout=subprocess.DEVNULL,
            stderr=said,
            env={**os.environ, "OMP_NUM_THREADS": "1"},
            start_new_session=True,
        )


def undisturbed(forks: Any, folder: Path) -> dict[str, Any]:
    """What is left when two processes begin the run of a folder, or go on with it, and end it."""
    (folder / "mark").touch()
    ended = forks.run(2, *words(folder / "runs", folder / "mark", "SIGKILL", "1", 5))
    assert ended.codes == [0, 0], ended.err
    return result(folder / "runs")


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
def whole(forks: Any, tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    """What an undisturbed run of two processes leaves."""
    return undisturbed(forks, tmp_path_factory.mktemp("whole"))


@pytest.fixture(scope="module")
def hanging(
    tmp_path_factory: pytest.TempPathFactory,
) -> Iterator[Callable[[str], Job]]:
    """The job in which the process of a rank hangs: it ends by itself; others run until then."""
    jobs: dict[str, Job] = {}

    def job(rank: str) -> Job:
        if rank not in jobs:
            folder = tmp_path_factory.mktemp("hanging")
            jobs[rank] = torchrun(folder, "SIGSTOP", rank, timeout=0.2), folder
            while jobs[rank][0].poll() is None and not (folder / "mark").exists():
                time.sleep(0.1)
        return jobs[rank]

    yield job
    for process, folder in jobs.values():
        with contextlib.suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGKILL)
        # torchrun's processes lead groups of their own, and one that is stopped outlives it.
        with contextlib.suppress(ProcessLookupError, FileNotFoundError):
            os.kill(int((folder / "mark").read_text()), signal.SIGKILL)


def is_gone(process: int) -> bool:
    """Whether no such process runs."""
    try:
        os.kill(process, 0)
    except ProcessLookupError:
        return True
    return False


@pytest.mark.slow
def test_torchrun_starts_a_job_that_lost_a_process_again_and_it_ends_as_an_undisturbed_one(
    tmp_path: Path, hanging: Callable[[str], object], whole: dict[str, Any]
) -> None:
    hanging("1")  # waits, for the test below
    job = torchrun(tmp_path, "SIGKILL", "1", "--max-restarts", "1")
    assert job.wait(DEADLINE) == 0, (tmp_path / "said").read_text()
    assert (tmp_path / "mark").exists()
    assert result(tmp_path / "runs") == whole


@pytest.mark.parametrize("rank", [pytest.param("0", marks=pytest.mark.long), pytest.param("1", marks=pytest.mark.slow)])
def test_a_process_that_hangs_ends_the_job_after_the_timeout_and_the_same_command_goes_on(
    forks: Any, hanging: Callable[[str], Job], whole: dict[str, Any], rank: str
) -> None:
    job, folder = hanging(rank)
    assert job.wait(DEADLINE) != 0
    said = [line for line in (folder / "said").read_text().splitlines() if line.startswith("harness: ")]
    assert said == [
        "harness: Another process of this run has ended, or has not answered for execution.timeout_minutes=0.2; the "
        "same command goes on from the last checkpoint."
    ]
    assert is_gone(int((folder / "mark").read_text()))
    assert len(list(read_lines(found(folder / "runs") / METRICS_FILE))) == 4
    assert undisturbed(forks, folder) == whole
