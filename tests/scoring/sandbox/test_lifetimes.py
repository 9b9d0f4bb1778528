"""Nothing of the sandbox outlives what it was started for, however that ends."""

from __future__ import annotations

import contextlib
import json
import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from dataclasses import replace

import pytest

from harness.errors import SandboxError
from harness.evaluation.beside import Scoring
from harness.registry import get_task
from harness.scoring.code import CodeTask
from harness.scoring.sandbox import bubblewrap
from harness.scoring.sandbox.client import missing
from harness.scoring.sandbox.job import KNOWN_GOOD, Limits
from harness.scoring.sandbox.stage import Stage
from harness.task.base import Score, TaskOptions

pytestmark = pytest.mark.slow

needs_bwrap = pytest.mark.skipif(bool(missing()), reason=missing() or "-")
# The stated bounds are 2 seconds after an interruption and 5 after a kill.
INTERRUPTED_SECONDS, KILLED_SECONDS = 20, 50
HARNESS = """
import signal, sys
signal.signal(signal.SIGINT, signal.default_int_handler)
from harness.cli import main
from harness.errors import SandboxError
from harness.evaluation.beside import Scoring
from harness.registry import get_task
from harness.scoring.code import CodeTask
from harness.scoring.sandbox import bubblewrap
private = sys.argv[1] == "private"
bubblewrap.nests = lambda bwrap: private
from harness.scoring.sandbox.job import Limits
from harness.scoring import code
code.CodeTask.limits = lambda self, example: Limits(idle_seconds=90, wall_seconds=95)
sys.exit(main.main(sys.argv[2:]))
"""


def until(condition, seconds: float) -> bool:
    end = time.monotonic() + seconds
    while not condition() and time.monotonic() < end:
        time.sleep(0.05)
    return condition()


@pytest.fixture(params=["private", "plain", "unsafe"])
def harness(request: pytest.FixtureRequest, tmp_path, processes) -> Iterator[subprocess.Popen[str]]:
    """`harness grade` of 20 programs that sleep, once some of them do."""
    if request.param != "unsafe" and missing():
        pytest.skip(missing())
    if request.param == "private" and not bubblewrap.nests(str(bubblewrap.find())):
        pytest.skip("sandboxes do not nest here")
    rows = [
        {"completion": f"```python\nimport time\ndef f(x):\n    time.sleep({60 + number})\n```"} for number in range(20)
    ]
    file = tmp_path / "sleepers.jsonl"
    text = "".join(json.dumps({**row, "prompt": "Q", "target": ["assert f(1) == 2"]}) + "\n" for row in rows)
    file.write_text(text)
    flags = ["--unsafe-local-exec"] if request.param == "unsafe" else []
    command = [sys.executable, "-c", HARNESS, request.param, "grade", str(file), "--task", "mbpp", *flags]
    with subprocess.Popen(
        command, stderr=subprocess.PIPE, text=True, env={**os.environ, "TMPDIR": str(tmp_path)}
    ) as run:
        assert until(lambda: len(processes(run.pid).running("candidate.pyc")) > 3, 60)
        yield run
        run.kill()


def test_an_interruption_ends_the_command_without_a_traceback(harness, processes, tmp_path):
    family = processes(harness.pid)
    harness.send_signal(signal.SIGINT)
    assert harness.wait(INTERRUPTED_SECONDS) == 130
    assert "Traceback" not in harness.stderr.read()
    assert until(lambda: not family.alive(), INTERRUPTED_SECONDS)
    assert list(tmp_path.glob("harness-sandbox-*")) == []


def test_after_the_harness_is_killed_nothing_of_the_sandbox_goes_on(harness, processes, tmp_path):
    family = processes(harness.pid)
    assert len(family.pids) > 5
    harness.kill()
    harness.wait()
    assert until(lambda: not family.alive(), KILLED_SECONDS)
    assert until(lambda: list(tmp_path.glob("harness-sandbox-*")) == [], KILLED_SECONDS)


def test_programs_that_are_graded_beside_a_generation_end_with_it(processes, monkeypatch):
    monkeypatch.setattr(CodeTask, "limits", lambda self, example: Limits(idle_seconds=90, wall_seconds=95))
    task = get_task("mbpp")(TaskOptions(unsafe_local_exec=bool(missing())))
    task.prepare()
    example = task.example_for("Q", ["assert f(1) == 2"])

    def generate() -> None:
        with Scoring[int, Score](task, task.score) as scoring:
            scoring.add([(0, example, "```python\nimport time\ndef f(x):\n    time.sleep(60)\n```")])
            assert until(lambda: processes(os.getpid()).running("candidate.pyc"), 60)
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        generate()
    assert processes(os.getpid()).running("candidate.pyc") == []
    assert task.score([example], ["```python\ndef f(x):\n    return x + 1\n```"])[0].correct


def test_a_forked_child_of_the_harness_does_not_keep_the_broker(processes):
    code = (
        "import os, sys, time\nfrom harness.scoring.sandbox.client import open_sandbox\n"
        "sandbox = open_sandbox(unsafe_local_exec=True)\n"
        "if os.fork() == 0:\n    time.sleep(60)\n    os._exit(0)\n"
        "print('ready', flush=True)\ntime.sleep(60)\n"
    )
    with subprocess.Popen([sys.executable, "-c", code], stdout=subprocess.PIPE, text=True) as run:
        assert run.stdout.readline() == "ready\n"
        family = processes(run.pid)
        (broker,) = family.running("sandbox.broker")
        run.kill()
        assert until(lambda: broker not in family.alive(), KILLED_SECONDS)
        for pid in family.alive():
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)


def test_a_broker_that_dies_between_two_calls_is_replaced(sandbox, processes):
    for _ in range(3):
        assert sandbox.run([KNOWN_GOOD])[0].passed
        family = processes(os.getpid())
        for pid in family.running("sandbox.broker"):
            os.kill(pid, signal.SIGKILL)


@pytest.mark.parametrize("times", [1, 2])
def test_a_broker_that_dies_during_a_call_is_replaced_once(sandbox, processes, times):
    program = replace(
        KNOWN_GOOD,
        source="import time\ndef f(x):\n    time.sleep(1)\n    return x + 1",
        limits=Limits(idle_seconds=30),
    )
    done: list[object] = []

    def run() -> None:
        try:
            done.extend(verdict.passed for verdict in sandbox.run([program] * 3))
        except Exception as error:
            done.append(f"{type(error).__name__}: {error}")

    thread = threading.Thread(target=run)
    thread.start()
    killed: set[int] = set()

    def at_work() -> list[int]:
        """The broker that has not been killed, once it runs programs."""
        brokers = set(processes(os.getpid()).running("sandbox.broker")) - killed
        return [pid for pid in brokers if len(processes(pid).running("candidate.pyc")) > 1]

    for _ in range(times):
        assert until(at_work, 60)
        killed.update(at_work())
        for pid in killed & set(processes(os.getpid()).running("sandbox.broker")):
            os.kill(pid, signal.SIGKILL)
    thread.join()
    expected = {1: [True] * 3, 2: [f"SandboxError: {SandboxError('its broker was killed 2 times; start again')}"]}
    assert done == expected[times]
    assert sandbox.run([KNOWN_GOOD])[0].passed


@needs_bwrap
def test_sandboxes_that_are_ended_while_they_start_leave_nothing(tmp_path, processes):
    """Two hundred, each ended a little later after its start than the one before."""
    with Stage(bubblewrap.find(), (), tmp_path) as stage:
        for number in range(200):
            with stage.program(Limits()):
                time.sleep(number / 10_000)
        assert until(lambda: len(processes.of_command(str(tmp_path))) == 1, KILLED_SECONDS)  # the bwrap of the judge
    assert until(lambda: not processes.of_command(str(tmp_path)), KILLED_SECONDS)


@needs_bwrap
@pytest.mark.parametrize(
    "source",
    [
        "import os\nos._exit(0)",
        "import os\nos.closerange(0, 64)\ndef f(x): return 2",
        "import ctypes\nctypes.string_at(0)",
        "raise SystemExit",
        "import os, sys\nos.execv(sys.executable, [sys.executable, '-c', ''])",
    ],
)
def test_programs_that_end_at_once_leave_nothing(sandbox, processes, source):
    assert not any(verdict.passed for verdict in sandbox.run([replace(KNOWN_GOOD, source=source)] * 20))
    assert until(lambda: not processes(os.getpid()).running("candidate.pyc"), KILLED_SECONDS)


def test_a_closed_sandbox_has_no_processes(sandbox, processes):
    assert sandbox.run([KNOWN_GOOD])[0].passed
    family = processes(sandbox._broker.process.pid)
    assert family.pids
    sandbox.close()
    assert until(lambda: not family.alive(), INTERRUPTED_SECONDS)
    assert sandbox.run([KNOWN_GOOD])[0].passed
