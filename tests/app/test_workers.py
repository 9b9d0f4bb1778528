"""Cells of a grid side by side: what they record is what they record one after another."""

from __future__ import annotations

import json
import os
import signal
import threading
import time
from collections.abc import Callable
from concurrent.futures import Future, ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from pathlib import Path
from typing import Any, ClassVar

import pytest

from harness.app.plan import RunRequest, plan
from harness.app.run import execute
from harness.app.workers import Outcome, Place, _one, _prepare, gpus_in_turn, run_cells, visible_gpus
from harness.cli.main import main
from harness.records.run_folder import METRICS_FILE

SMALL = {"train.batch_size": 8, "train.group_size": 4, "evaluation.items": 4, "budget": {"updates": 2}}


def request(runs: Path, seed: int = 0, **changes: object) -> RunRequest:
    return RunRequest(method="egspo", task="sudoku", seed=seed, runs=runs, overrides=SMALL | changes)


def is_finished(status: Path) -> bool:
    return bool(json.loads(status.read_text())["state"] == "finished")


def weights(folder: Path) -> bytes:
    (file,) = folder.glob("checkpoints/*/weights.safetensors")
    return file.read_bytes()


@pytest.mark.parametrize(
    ("visible", "processes", "expected"),
    [
        (["0", "1"], 5, ["0", "1", "0", "1", "0"]),
        (["3", "GPU-8932f937", "MIG-7"], 2, ["3", "GPU-8932f937"]),
        (["4"], 2, ["4", "4"]),
        ([], 2, ["", ""]),
    ],
)
def test_processes_take_the_gpus_in_turn(visible: list[str], processes: int, expected: list[str]) -> None:
    assert gpus_in_turn(visible, processes) == expected


@pytest.mark.parametrize(
    ("chosen", "count", "expected"),
    [
        (None, 3, ["0", "1", "2"]),
        ("2, 5,7", 3, ["2", "5", "7"]),
        ("GPU-8932f937,GPU-d72af5e4", 2, ["GPU-8932f937", "GPU-d72af5e4"]),
        ("1,-1,2", 1, ["1"]),
        ("", 0, []),
        ("0,1", 0, []),
    ],
)
def test_the_visible_gpus_are_those_of_cuda_s_variable(chosen: str | None, count: int, expected: list[str]) -> None:
    assert visible_gpus(chosen, count) == expected


class InThisProcess(ProcessPoolExecutor):
    """Stands for a pool of one process: what it works on ends as `<its GPU>`, and the first of seed 1 is lost."""

    lost: ClassVar[set[int]] = set()

    def __init__(self, size: int, *, mp_context: Any, initializer: Any, initargs: tuple[Any, Place]) -> None:
        self.place = initargs[1]

    def submit(self, work: Any, request: RunRequest) -> Future[Outcome]:  # type: ignore[override]
        done: Future[Outcome] = Future()
        if request.seed == 1 and not self.lost:
            self.lost.add(1)
            done.set_exception(BrokenProcessPool())
        else:
            done.set_result(Outcome(request=request, folder=Path(), seconds=0.0, error=self.place.gpu))
        return done

    def shutdown(self, *given: Any, **named: Any) -> None:
        pass


def gpus_by_seed(monkeypatch: pytest.MonkeyPatch, requests: list[RunRequest], jobs: int) -> dict[int, str]:
    """The GPU of each cell's process on a machine with the GPUs 4 and 6."""
    monkeypatch.setattr("harness.app.workers.ProcessPoolExecutor", InThisProcess)
    monkeypatch.setattr("torch.cuda.device_count", lambda: 2)
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "4,6")
    return {outcome.request.seed: outcome.error for outcome in run_cells(requests, jobs=jobs)}


def test_a_cell_runs_on_its_process_s_gpu_and_a_new_process_takes_that_of_a_lost_one(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(InThisProcess, "lost", set())
    first = gpus_by_seed(monkeypatch, [request(tmp_path, seed) for seed in (0, 1)], jobs=2)
    assert first[0] == "4"
    assert "the system ended its process" in first[1]
    assert gpus_by_seed(monkeypatch, [request(tmp_path, seed) for seed in (0, 2)], jobs=3) == {0: "4", 2: "6"}
    monkeypatch.setattr(InThisProcess, "lost", set())
    alone = gpus_by_seed(monkeypatch, [request(tmp_path, seed) for seed in (1, 0)], jobs=1)
    assert alone[0] == "4"


def test_a_cell_that_names_its_gpu_keeps_all_of_them_visible(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(InThisProcess, "lost", {1})
    for device, expected in (("cuda:1", ""), ("cpu", ""), ("cuda", "4")):
        cell = request(tmp_path, **{"execution.device": device})
        assert gpus_by_seed(monkeypatch, [cell], jobs=2) == {0: expected}


def test_a_process_sees_its_gpu_alone_before_it_uses_any(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("torch.set_num_threads", lambda threads: None)
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "4,6")
    _prepare([], Place(threads=1))
    assert os.environ["CUDA_VISIBLE_DEVICES"] == "4,6"
    _prepare([], Place(threads=1, gpu="6"))
    assert os.environ["CUDA_VISIBLE_DEVICES"] == "6"


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
    assert [outcome.seconds for outcome in run_cells(together, jobs=1)] == [0.0, 0.0, 0.0]


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


def _killed(request: RunRequest) -> Outcome:
    if request.seed == 1:
        os.kill(os.getpid(), signal.SIGKILL)
    return _one(request)


def _asked_to_end(request: RunRequest) -> Outcome:
    metrics = plan(request).folder / METRICS_FILE

    def ask() -> None:
        while not metrics.exists():
            time.sleep(0.05)
        os.kill(os.getpid(), signal.SIGTERM)

    if request.seed == 1:
        threading.Thread(target=ask, daemon=True).start()
    return _one(request)


@pytest.mark.slow
@pytest.mark.parametrize(
    ("instead", "reason"),
    [(_killed, "the system ended its process"), (_asked_to_end, "interrupted by SIGTERM")],
    ids=["SIGKILL", "SIGTERM"],
)
def test_a_cell_whose_process_is_ended_is_named_and_the_others_finish(
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    instead: Callable[[RunRequest], Outcome],
    reason: str,
) -> None:
    monkeypatch.setattr("harness.app.workers._one", instead)
    options = [part for key, value in SMALL.items() if key != "budget" for part in ("--set", f"{key}={value}")]
    command = ["run", "--method", "egspo", "--task", "sudoku", "--seed", "0,1,2", "--budget", "updates=40", *options]
    assert main([*command, "--jobs", "2", "--runs", str(tmp_path)]) == 1
    said = capsys.readouterr().err
    assert "1 of 3 runs failed:" in said
    (named,) = (line for line in said.splitlines() if reason in line)
    assert "-seed1: " in named
    assert "the same command goes on from the last checkpoint" in named
    finished = [path.parent.name[-1] for path in tmp_path.rglob("status.json") if is_finished(path)]
    assert sorted(finished) == ["0", "2"]


@pytest.mark.slow
def test_a_grid_that_is_asked_to_end_begins_no_other_cell_and_names_what_is_left(tmp_path: Path, forks: Any) -> None:
    command = ["-m", "harness", "run", "--method", "egspo", "--task", "sudoku", "--seed", "0,1,2,3,4"]
    command += ["--jobs", "2", "--budget", "updates=4000", "--runs", str(tmp_path)]
    grid = forks.start(1, *command)
    end = time.monotonic() + 300
    while len(list(tmp_path.rglob(METRICS_FILE))) < 2 and time.monotonic() < end:
        time.sleep(0.1)
    grid.signal(signal.SIGTERM)
    ended = grid.end()
    assert ended.codes == [143]
    assert "5 of 5 runs are unfinished:" in ended.err
    assert ended.err.endswith("harness: interrupted by SIGTERM; the same command goes on from the last checkpoint\n")
    states = [json.loads(path.read_text())["state"] for path in tmp_path.rglob("status.json")]
    assert states == ["interrupted", "interrupted"]
