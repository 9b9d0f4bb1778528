"""A disk that is full at any write: one sentence, exit code 2, nothing half written, and the last checkpoint is whole.

Python's own writes fail at a chosen call; those of safetensors and torch, which no test can replace, fail on a file
system of a few kilobytes, made by bubblewrap.
"""

from __future__ import annotations

import errno
import itertools
import os
import shutil
import subprocess
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from safetensors.torch import load_file

from harness.cli.main import main
from harness.rl import checkpoint

SETTINGS = (
    "train.batch_size=16",
    "evaluation.items=2",
    "budget.updates=4",
    "budget.samples=0",
    "execution.checkpoint_every=1",
)
RUN = [
    "run",
    "--method",
    "egspo",
    "--task",
    "sudoku",
    *(part for text in SETTINGS for part in ("--set", text)),
    "--runs",
]
SFT = ["sft", "--task", "sudoku", "--steps", "2", "--batch-size", "4", "--out"]
SFT_FILE = ["sft", "--model", "tiny", "--steps", "2", "--batch-size", "2", "--data", "pairs.jsonl", "--out"]
EXPORT = ["export", "tiny", "--out"]
EVAL = ["eval", "--model", "tiny", "--task", "sudoku", "--items", "2", "--out"]
NO_SPACE = os.strerror(errno.ENOSPC)
RUNS_ON_DISKS = {
    "the-configuration-does-not-fit": 0,
    "the-weights-do-not-fit": 0,
    "the-optimiser-does-not-fit": 0,
    "the-second-weights-do-not-fit": 1,
    "the-second-optimiser-does-not-fit": 1,
}
"""How many checkpoints a run leaves on a disk that is full at that moment."""
COMMANDS_ON_DISKS = {
    "export": EXPORT,
    "sft-task": SFT,
    "sft-file": SFT_FILE,
    "eval": EVAL,
    "report": ["report", "runs", "--out"],
}
SIZES = dict(zip(RUNS_ON_DISKS, (4 << 10, 400_000, 1_600_000, 2_800_000, 4_000_000), strict=True))
SIZES |= dict.fromkeys(COMMANDS_ON_DISKS, 200_000) | {"eval": 4 << 10}
"""Bytes."""
COPY = "import shutil, sys; shutil.copytree(*sys.argv[1:])"

Capture = pytest.CaptureFixture[str]


def fail_at(monkeypatch: pytest.MonkeyPatch, function: str, call: int) -> None:
    """Lets the disk be full at the given call of a function of `os`, and at no other."""
    real, calls = getattr(os, function), itertools.count(1)

    def fails(*arguments: object, **options: object) -> object:
        if next(calls) == call:
            raise OSError(errno.ENOSPC, NO_SPACE)
        return real(*arguments, **options)

    monkeypatch.setattr(os, function, fails)


def assert_refused(code: int, said: str) -> None:
    assert code == 2
    line = said.rstrip().splitlines()[-1]
    assert line.startswith("harness: ")
    assert NO_SPACE in line
    assert "Traceback" not in said


def left_over(folder: Path) -> list[Path]:
    return [path for path in folder.rglob("*") if path.name.endswith((".tmp", ".old"))]


def last_weights(runs: Path) -> dict[str, bytes]:
    (place,) = runs.glob("sudoku/egspo/tiny/*/checkpoints/update-*")
    checkpoint.load_progress(place)  # refuses a checkpoint whose hashes do not fit
    return {name: weight.numpy().tobytes() for name, weight in load_file(place / checkpoint.WEIGHTS).items()}


@pytest.fixture(scope="module")
def undisturbed(tmp_path_factory: pytest.TempPathFactory) -> dict[str, bytes]:
    runs = tmp_path_factory.mktemp("undisturbed")
    assert main([*RUN, str(runs)]) == 0
    return last_weights(runs)


# fsync is called for the description and the status (1-3), the first evaluation (4), the weights, optimiser, counters
# and folder of the first checkpoint (5-8) and of the second (9-12), the last evaluation (13) and the status (14);
# replace the same, but not for the optimiser.
@pytest.mark.parametrize(
    ("function", "call"),
    [
        *(("fsync", call) for call in (5, 9, 10)),
        *(pytest.param("fsync", call, marks=pytest.mark.slow) for call in (1, 4, 6, 8, 13)),
        *(("replace", call) for call in (7, 10)),
        *(pytest.param("replace", call, marks=pytest.mark.slow) for call in (1, 5, 9, 11)),
    ],
)
def test_a_run_on_a_full_disk_stops_with_a_sentence_and_goes_on_where_it_was(
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: Capture,
    undisturbed: dict[str, bytes],
    function: str,
    call: int,
) -> None:
    with monkeypatch.context() as full:
        fail_at(full, function, call)
        code = main([*RUN, str(tmp_path)])
    assert_refused(code, capsys.readouterr().err)
    assert left_over(tmp_path) == []
    for place in tmp_path.glob("sudoku/egspo/tiny/*/checkpoints/update-*"):
        checkpoint.load_progress(place)
    assert main([*RUN, str(tmp_path)]) == 0
    assert last_weights(tmp_path) == undisturbed


@pytest.mark.parametrize(
    ("command", "calls"),
    [(SFT, (1, 2)), (SFT_FILE, (1,)), (EXPORT, (1,)), (EVAL, (1, 2))],
    ids=lambda value: str(value[0]),
)
@pytest.mark.parametrize("function", ["fsync", "replace"])
def test_what_is_written_on_a_full_disk_is_written_whole_or_not_at_all(
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: Capture,
    command: list[str],
    calls: tuple[int, ...],
    function: str,
) -> None:
    monkeypatch.chdir(tmp_path)
    Path("pairs.jsonl").write_text('{"prompt": "1+1=", "answer": "2"}\n')
    assert main([*command, "whole"]) == 0
    files = {path.relative_to("whole"): path.read_bytes() for path in Path("whole").rglob("*") if path.is_file()}
    for call in calls:
        shutil.rmtree("out", ignore_errors=True)
        with monkeypatch.context() as full:
            fail_at(full, function, call)
            code = main([*command, "out"])
        assert_refused(code, capsys.readouterr().err)
        assert left_over(tmp_path) == []
        written = {path.relative_to("out"): path.read_bytes() for path in Path("out").rglob("*") if path.is_file()}
        written = {path: content for path, content in written.items() if not path.parent.name.startswith(".partial-")}
        assert written.keys() < files.keys()
        assert all(content == files[path] for path, content in written.items())


@pytest.mark.parametrize("call", [1, 2])
def test_a_model_that_is_trained_again_stays_as_it_was_where_the_new_one_finds_no_room(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, call: int
) -> None:
    assert main([*SFT, str(tmp_path / "out")]) == 0
    before = (tmp_path / "out" / "config.json").read_bytes()
    with monkeypatch.context() as full:
        fail_at(full, "replace", call)
        assert main([*SFT, str(tmp_path / "out"), "--seed", "7"]) == 2
    assert (tmp_path / "out" / "config.json").read_bytes() == before
    assert main(["export", str(tmp_path / "out"), "--out", str(tmp_path / "again")]) == 0


@pytest.fixture(scope="module")
def small_disks(
    tmp_path_factory: pytest.TempPathFactory, forks_around: Callable[..., Any]
) -> Callable[..., tuple[int, str]]:
    """Runs a harness command whose last word is the place of a small file system, and copies what it leaves there."""
    if shutil.which("bwrap") is None:
        pytest.skip("bubblewrap is not installed, and nothing else makes a small file system without root")
    places, namespace = tmp_path_factory.mktemp("disks"), ["bwrap", "--dev-bind", "/", "/"]
    for name, size in SIZES.items():
        (places / name).mkdir()
        namespace += ["--size", str(size), "--tmpfs", str(places / name)]
    tried = subprocess.run([*namespace, "true"], capture_output=True, text=True)
    if tried.returncode:
        pytest.skip(f"bubblewrap makes no file system here: {tried.stderr.strip()}")
    forks = forks_around(namespace)

    def run(name: str, command: list[str], *, inside: str, copy: Path, cwd: Path) -> tuple[int, str]:
        ended = forks.run(1, "-m", "harness", *command, places / name / inside, cwd=cwd)
        assert forks.run(1, "-c", COPY, places / name, copy).codes == [0]
        return ended.codes[0], ended.err

    return run


@pytest.mark.slow
@pytest.mark.parametrize("disk", RUNS_ON_DISKS)
def test_a_run_on_a_disk_that_is_really_full_keeps_its_last_checkpoint(
    tmp_path: Path, small_disks: Callable[..., tuple[int, str]], undisturbed: dict[str, bytes], disk: str
) -> None:
    runs = tmp_path / "copied"
    assert_refused(*small_disks(disk, RUN, inside="", copy=runs, cwd=tmp_path))
    assert left_over(runs) == []
    assert len(list(runs.glob("sudoku/egspo/tiny/*/checkpoints/update-*"))) == RUNS_ON_DISKS[disk]
    if RUNS_ON_DISKS[disk]:
        last_weights(runs)
    assert main([*RUN, str(runs)]) == 0
    assert last_weights(runs) == undisturbed


@pytest.mark.slow
@pytest.mark.parametrize("disk", COMMANDS_ON_DISKS)
def test_other_commands_on_a_disk_that_is_really_full_leave_nothing_half_written(
    tmp_path: Path, small_disks: Callable[..., tuple[int, str]], disk: str
) -> None:
    (tmp_path / "pairs.jsonl").write_text('{"prompt": "1+1=", "answer": "2"}\n')
    if disk == "report":
        assert main([*RUN, str(tmp_path / "runs")]) == 0
    copy = tmp_path / "copied"
    assert_refused(*small_disks(disk, COMMANDS_ON_DISKS[disk], inside="out", copy=copy, cwd=tmp_path))
    assert left_over(copy) == []
    assert not list(copy.rglob("*.safetensors"))


def test_no_folder_for_temporary_files_is_one_sentence(capsys: Capture, monkeypatch: pytest.MonkeyPatch) -> None:
    def none(*arguments: object) -> None:
        raise FileNotFoundError(errno.ENOENT, "No usable temporary directory found in ['/nowhere']")

    monkeypatch.setattr("harness.cli.main._execute", none)
    assert main(["doctor"]) == 2
    assert capsys.readouterr().err == (
        "harness: No folder for temporary files can be used: No usable temporary directory found in ['/nowhere']. "
        "Set TMPDIR to one.\n"
    )


def test_another_file_that_is_missing_is_a_fault_of_ours(monkeypatch: pytest.MonkeyPatch) -> None:
    def none(*arguments: object) -> None:
        raise FileNotFoundError(errno.ENOENT, "No such file", "x")

    monkeypatch.setattr("harness.cli.main._execute", none)
    with pytest.raises(FileNotFoundError):
        main(["doctor"])
