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
import sys
from collections.abc import Callable
from pathlib import Path

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


@pytest.fixture(scope="session")
def small_disk(tmp_path_factory: pytest.TempPathFactory) -> Callable[..., subprocess.CompletedProcess[str]]:
    """Runs a harness command with a file system of `size` bytes at `place`, and afterwards copies what is there."""
    probe = tmp_path_factory.mktemp("probe")
    if shutil.which("bwrap") is None:
        pytest.skip("bubblewrap is not installed, and nothing else makes a small file system without root")
    namespace = ["bwrap", "--dev-bind", "/", "/", "--size"]
    tried = subprocess.run([*namespace, "8192", "--tmpfs", str(probe), "true"], capture_output=True, text=True)
    if tried.returncode:
        pytest.skip(f"bubblewrap makes no file system here: {tried.stderr.strip()}")

    def run(size: int, command: list[str], *, place: Path, copy: Path) -> subprocess.CompletedProcess[str]:
        place.mkdir()
        script = '"$@"; code=$?; cp -a "$0"/. ' + f'"{copy}"; exit $code'
        harness = [sys.executable, "-m", "harness", *command]
        small = [*namespace, str(size), "--tmpfs", str(place), "sh", "-c", script, str(place), *harness]
        return subprocess.run(small, capture_output=True, text=True, cwd=place.parent)

    return run


@pytest.mark.slow
@pytest.mark.parametrize(
    ("size", "checkpoints"),
    [
        pytest.param(4 << 10, 0, marks=pytest.mark.slow, id="the-configuration-does-not-fit"),
        pytest.param(400_000, 0, marks=pytest.mark.slow, id="the-weights-do-not-fit"),
        pytest.param(1_600_000, 0, marks=pytest.mark.slow, id="the-optimiser-does-not-fit"),
        pytest.param(2_800_000, 1, marks=pytest.mark.slow, id="the-second-weights-do-not-fit"),
        pytest.param(4_000_000, 1, id="the-second-optimiser-does-not-fit"),
    ],
)
def test_a_run_on_a_disk_that_is_really_full_keeps_its_last_checkpoint(
    tmp_path: Path,
    small_disk: Callable[..., subprocess.CompletedProcess[str]],
    undisturbed: dict[str, bytes],
    size: int,
    checkpoints: int,
) -> None:
    runs = tmp_path / "copied"
    runs.mkdir()
    done = small_disk(size, [*RUN, str(tmp_path / "small")], place=tmp_path / "small", copy=runs)
    assert_refused(done.returncode, done.stderr)
    assert left_over(runs) == []
    assert len(list(runs.glob("sudoku/egspo/tiny/*/checkpoints/update-*"))) == checkpoints
    if checkpoints:
        last_weights(runs)
    assert main([*RUN, str(runs)]) == 0
    assert last_weights(runs) == undisturbed


@pytest.mark.slow
@pytest.mark.parametrize(
    "command",
    [
        pytest.param(EXPORT, id="export"),
        pytest.param(SFT, id="sft-task", marks=pytest.mark.slow),
        pytest.param(SFT_FILE, id="sft-file", marks=pytest.mark.slow),
        pytest.param(EVAL, id="eval", marks=pytest.mark.slow),
        pytest.param(["report", "runs", "--out"], id="report", marks=pytest.mark.slow),
    ],
)
def test_other_commands_on_a_disk_that_is_really_full_leave_nothing_half_written(
    tmp_path: Path, small_disk: Callable[..., subprocess.CompletedProcess[str]], command: list[str]
) -> None:
    (tmp_path / "pairs.jsonl").write_text('{"prompt": "1+1=", "answer": "2"}\n')
    if command[0] == "report":
        assert main([*RUN, str(tmp_path / "runs")]) == 0
    copy = tmp_path / "copied"
    copy.mkdir()
    size = 4 << 10 if command[0] == "eval" else 200_000
    place = tmp_path / "small"
    done = small_disk(size, [*command, str(place / "out")], place=place, copy=copy)
    assert_refused(done.returncode, done.stderr)
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
