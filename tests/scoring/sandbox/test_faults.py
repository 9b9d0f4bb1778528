"""Every job gets an answer, and a fault of the sandbox is never a verdict on a program."""

from __future__ import annotations

import contextlib
import os
import resource
import shutil
import signal
import threading
import time
from collections.abc import Callable
from dataclasses import replace

import pytest

from harness.cli.main import main
from harness.errors import SandboxError
from harness.scoring.sandbox import client
from harness.scoring.sandbox.client import Sandbox, missing
from harness.scoring.sandbox.job import KNOWN_GOOD, Limits, Program

pytestmark = pytest.mark.slow


needs_bwrap = pytest.mark.skipif(bool(missing()), reason=missing() or "-")
IMPORTING = replace(KNOWN_GOOD, source="import zlib, bz2, lzma, ctypes, hashlib\ndef f(x): return x + 1")


def slow(seconds: float) -> Program:
    source = f"import time\ndef f(x):\n    time.sleep({seconds})\n    return x + 1"
    return replace(KNOWN_GOOD, source=source, limits=Limits(idle_seconds=60))


def while_running(sandbox: Sandbox, programs: list[Program], act: Callable[[], bool]) -> list[bool] | str:
    """Whether the programs passed, or the error, with `act` called again and again while they run."""
    done: list[list[bool] | str] = []

    def run() -> None:
        try:
            done.append([verdict.passed for verdict in sandbox.run(programs)])
        except SandboxError as error:
            done.append(str(error))

    thread = threading.Thread(target=run)
    thread.start()
    while thread.is_alive() and act():
        time.sleep(0.02)
    thread.join()
    return done[0]


@pytest.mark.parametrize("sandbox", ["default", "unsafe"], indirect=True)
@pytest.mark.parametrize(
    "job",
    [
        replace(KNOWN_GOOD, tests=KNOWN_GOOD.tests * 1_000_001),
        replace(KNOWN_GOOD, functions={f"f{number}": "f" for number in range(500_001)}),
        replace(KNOWN_GOOD, limits=Limits(cpu_seconds="four")),
        replace(KNOWN_GOOD, limits=Limits(memory_mb=1 << 60)),
        replace(KNOWN_GOOD, limits=Limits(reply_mb="much")),
        replace(KNOWN_GOOD, limits=Limits(wall_seconds="long")),
        replace(KNOWN_GOOD, tests=(3,)),
        replace(KNOWN_GOOD, functions={"f": []}),
    ],
    ids=["tests", "functions", "processor", "memory", "size", "time", "test", "name"],
)
def test_a_job_that_cannot_be_done_is_an_error_or_a_failure_and_the_next_one_runs(sandbox, job):
    said = while_running(sandbox, [job], lambda: False)
    assert said == [False] or said.startswith("The sandbox has failed, so there is no verdict: ")
    assert sandbox.run([KNOWN_GOOD])[0].passed


@pytest.mark.parametrize(
    "source",
    [
        "import os\ndef f(x):\n    for d in range(3, 64):\n        try: os.write(d, b'\\x7f' * 8)\n"
        "        except OSError: pass\n    return 2",
        "import os\nfor d in range(3, 64):\n    try: os.write(d, (1 << 62).to_bytes(8, 'big'))\n"
        "    except OSError: pass\ndef f(x): return 2",
        "import os\ndef f(x):\n    for d in range(3, 64):\n        try: os.write(d, bytes(7))\n"
        "        except OSError: pass\n    os._exit(0)",
        "import os\ndef f(x):\n    for d in range(3, 64):\n        try: os.write(d, (99).to_bytes(8, 'big') + b'V')\n"
        "        except OSError: pass\n    os._exit(0)",
        "import os\ndef f(x):\n    for d in range(3, 64):\n        try: os.write(d, b'x' * (1 << 20))\n"
        "        except OSError: pass\n    return 2",
    ],
)
def test_a_forged_frame_is_the_program_s_failure(sandbox, source):
    forged, honest = sandbox.run([replace(KNOWN_GOOD, source=source), KNOWN_GOOD])
    assert (forged.passed, honest.passed) == (False, True)


@pytest.mark.parametrize("most", [7, 10, 13, 16, 20])
def test_too_few_descriptors_are_an_error_in_the_client_and_a_new_broker_has_enough(sandbox, processes, most):
    others = processes(os.getpid()).running("sandbox.broker")
    assert sandbox.run([KNOWN_GOOD])[0].passed
    (broker,) = set(processes(os.getpid()).running("sandbox.broker")) - set(others)
    resource.prlimit(broker, resource.RLIMIT_NOFILE, (most, most))
    said = while_running(sandbox, [KNOWN_GOOD] * 8, lambda: False)
    if isinstance(said, str):
        assert said.startswith("The sandbox has failed, so there is no verdict: ")
        assert sandbox.run([KNOWN_GOOD])[0].passed
    else:
        assert said == [True] * 8


@needs_bwrap
@pytest.mark.parametrize("sandbox", ["private", "plain"], indirect=True)
@pytest.mark.parametrize(
    "name",
    ["scripts/candidate.pyc", "scripts/values.pyc", "scripts/frames.pyc", "python/bin/python", "libs/libz.so.*", "*"],
)
def test_a_file_of_the_image_that_is_gone_is_never_a_verdict(sandbox, image, name):
    assert sandbox.run([IMPORTING])[0].passed
    folder = image(sandbox)
    for path in sorted(folder.glob(name)):
        shutil.rmtree(path) if path.is_dir() and not path.is_symlink() else path.unlink()
    with pytest.raises(SandboxError, match=r"image/.* was changed or removed while the sandbox ran"):
        sandbox.run([IMPORTING] * 20)
    assert all(verdict.passed for verdict in sandbox.run([IMPORTING] * 5))


@needs_bwrap
@pytest.mark.parametrize("sandbox", ["private", "plain"], indirect=True)
@pytest.mark.parametrize("script", ["judge.pyc", "candidate.pyc"])
def test_what_the_system_kills_once_is_tried_again(sandbox, processes, script):
    assert sandbox.run([KNOWN_GOOD])[0].passed
    killed: list[int] = []

    def kill() -> bool:
        if not processes(os.getpid()).running("candidate.pyc"):
            return True
        for pid in processes(os.getpid()).running(script):
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)
                killed.append(pid)
        return not killed

    assert while_running(sandbox, [slow(1)] * 2, kill) == [True, True]
    assert killed


@needs_bwrap
@pytest.mark.parametrize("sandbox", ["private", "plain"], indirect=True)
@pytest.mark.parametrize("script", ["judge.pyc", "candidate.pyc"])
def test_what_the_system_kills_again_and_again_is_an_error(sandbox, processes, script):
    def kill() -> bool:
        for pid in processes(os.getpid()).running(script):
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)
        return True

    said = while_running(sandbox, [slow(1)] * 4, kill)
    assert isinstance(said, str)
    assert said.startswith("The sandbox has failed, so there is no verdict: ")
    assert sandbox.run([KNOWN_GOOD])[0].passed


@needs_bwrap
@pytest.mark.parametrize(
    "ending",
    [
        "os._exit(137)",
        "os._exit(-119)",
        "os.kill(os.getpid(), 9)",
        "signal.raise_signal(9)",
        "ctypes.CDLL(None).syscall(231, 137)",
        "ctypes.CDLL(None).syscall(60, 137)",
        "os.execv(sys.executable, [sys.executable, '-c', 'import os; os._exit(137)'])",
    ],
)
@pytest.mark.parametrize("sandbox", ["private", "plain"], indirect=True)
def test_a_program_cannot_pass_for_one_that_the_system_killed(sandbox, ending):
    source = f"import ctypes, os, signal, sys\ndef f(x):\n    {ending}\n    return 0"
    verdict = sandbox.run([replace(KNOWN_GOOD, source=source)])[0]
    assert not verdict.passed


@needs_bwrap
def test_a_command_ends_in_one_sentence_and_exit_code_2(monkeypatch, tmp_path, capsys):
    def fail(self: Sandbox, programs: object) -> None:
        raise SandboxError("it is broken")

    file = tmp_path / "one.jsonl"
    file.write_text(
        '{"prompt": "Q", "completion": "```python\\ndef f(x): return 2\\n```", "target": ["assert f(1) == 2"]}\n'
    )
    client.open_sandbox(unsafe_local_exec=False, allowed=())
    monkeypatch.setattr(Sandbox, "run", fail)
    assert main(["grade", str(file), "--task", "mbpp"]) == 2
    assert capsys.readouterr().err.splitlines()[-1] == (
        "harness: The sandbox has failed, so there is no verdict: it is broken."
    )


def test_a_sandbox_that_is_closed_while_another_thread_waits_ends_what_runs_there_and_runs_what_comes_later(
    sandbox, processes
):
    def close() -> bool:
        running = processes(os.getpid()).running("candidate.pyc")
        if running:
            sandbox.close()
        return not running

    said = while_running(sandbox, [slow(50)] * 3, close)
    assert said == "The sandbox has failed, so there is no verdict: it was closed while programs ran."
    assert processes(os.getpid()).running("candidate.pyc") == []
    assert sandbox.run([KNOWN_GOOD])[0].passed
