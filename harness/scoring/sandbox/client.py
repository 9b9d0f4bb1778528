"""The harness's side of the sandbox: programs with their tests in, verdicts out.

    sandbox = open_sandbox()
    verdicts = sandbox.run([Program(source=text, tests=("assert f(2) == 4",), functions={"f": "f"})])

Without bubblewrap nothing runs: `open_sandbox()` refuses and says what to install. `unsafe_local_exec` runs
programs as plain processes of the user with limits on time and memory, and nothing else between them and the
machine.
"""

from __future__ import annotations

import atexit
import functools
import itertools
import json
import os
import platform
import subprocess
import sys
import threading
from collections.abc import Mapping, Sequence
from dataclasses import asdict

from harness.errors import UserError
from harness.scoring.sandbox import bubblewrap, seccomp
from harness.scoring.sandbox.job import Outcome, Program, ProgramVerdict

INSTALL = "install it (Debian, Ubuntu: apt-get install bubblewrap; Fedora: dnf install bubblewrap)"
WAY_OUT = "or accept the risk with --unsafe-local-exec, which runs model-written code with your own rights"
STARTER = (
    "import json, sys; paths, bwrap, workers = json.loads(sys.argv[1]); sys.path[:] = paths; "
    "from harness.scoring.sandbox.broker import main; main(bwrap, workers)"
)
CLOSE_SECONDS = 10


class Sandbox:
    """A running broker. Made by `open_sandbox`, which checks the machine first."""

    def __init__(self, bwrap: str | None, workers: int) -> None:
        self._lock = threading.Lock()
        self._numbers = itertools.count()
        self._broker = subprocess.Popen(
            [sys.executable, "-P", "-c", STARTER, json.dumps([sys.path, bwrap, workers])],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
            encoding="ascii",
            start_new_session=True,
        )

    def run(self, programs: Sequence[Program]) -> list[ProgramVerdict]:
        """Runs all programs, several at a time, and returns their verdicts in the given order."""
        replies = self._broker.stdout
        assert replies is not None
        with self._lock:
            numbered = {next(self._numbers): program for program in programs}
            verdicts: dict[int, ProgramVerdict] = {}
            writer = threading.Thread(target=self._send, args=(numbered,), daemon=True)
            writer.start()
            while len(verdicts) < len(numbered):
                line = replies.readline()
                if not line:
                    raise RuntimeError(f"the sandbox's broker ended with status {self._broker.wait()}")
                reply = json.loads(line)
                # An interrupted call before this one may have left replies behind.
                if reply["id"] in numbered:
                    outcomes = (Outcome(passed=passed, reason=reason) for passed, reason in reply["outcomes"])
                    verdicts[reply["id"]] = ProgramVerdict(outcomes=tuple(outcomes))
            writer.join()
        return [verdicts[number] for number in numbered]

    def close(self) -> None:
        """Ends the broker and everything it started."""
        if self._broker.stdin is not None:
            self._broker.stdin.close()
        self._broker.wait(CLOSE_SECONDS)
        if self._broker.stdout is not None:
            self._broker.stdout.close()

    def _send(self, numbered: Mapping[int, Program]) -> None:
        calls = self._broker.stdin
        assert calls is not None
        for number, program in numbered.items():
            calls.write(json.dumps({"id": number, **asdict(program)}) + "\n")
        calls.flush()


@functools.cache
def open_sandbox(*, unsafe_local_exec: bool = False, workers: int = 0) -> Sandbox:
    """The sandbox of this process, started on the first call.

    workers: programs at a time, 0 for two per core, shared among the processes of a launcher.

    Raises UserError where the machine cannot sandbox and `unsafe_local_exec` is off.
    """
    problem = "" if unsafe_local_exec else missing()
    if problem:
        raise UserError(f"Model-written code needs a sandbox: {problem}; {WAY_OUT}.")
    bwrap = None if unsafe_local_exec else bubblewrap.find()
    sandbox = Sandbox(bwrap, workers or _workers())
    atexit.register(sandbox.close)
    works = sandbox.run([Program(source="def f(x): return x + 1", tests=("assert f(1) == 2",), functions={"f": "f"})])
    if not works[0].passed:
        raise UserError(f"The sandbox does not start here ({works[0].reason}); see harness doctor, {WAY_OUT}.")
    return sandbox


def _workers() -> int:
    processes = int(os.environ.get("LOCAL_WORLD_SIZE", "1"))
    return max(2, 2 * (os.cpu_count() or 1) // processes)


def missing() -> str:
    """What keeps this machine from sandboxing, with the fix; empty where nothing does."""
    if platform.system() != "Linux":
        return f"bubblewrap runs on Linux, this is {platform.system()}"
    if not seccomp.supported(platform.machine()):
        return f"there is no system-call filter for the processor '{platform.machine()}'"
    bwrap = bubblewrap.find()
    if bwrap is None:
        return f"bubblewrap is not installed; {INSTALL}"
    return _namespaces(bwrap)


def _namespaces(bwrap: str) -> str:
    """Whether bubblewrap may make its name spaces; its own words where it may not."""
    command = [bwrap, *bubblewrap.ISOLATION, "--ro-bind", "/", "/", "--", "true"]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    if done.returncode == 0:
        return ""
    return (
        f"bubblewrap may not make name spaces ({done.stderr.strip()}); allow user name spaces (sysctl "
        "kernel.unprivileged_userns_clone=1; Ubuntu 24.04: kernel.apparmor_restrict_unprivileged_userns=0; in a "
        "container: run it with them allowed)"
    )
