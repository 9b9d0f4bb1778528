"""The harness's side of the sandbox: programs with their tests in, verdicts out.

    sandbox = open_sandbox()
    verdicts = sandbox.run([Program(source=text, tests=("assert f(2) == 4",), functions={"f": "f"})])

Without bubblewrap nothing runs: `open_sandbox()` refuses and says what to install. `unsafe_local_exec` runs
programs as plain processes of the user with limits on time and memory, and nothing else between them and the
machine.

A verdict is about the program. Where the sandbox fails, after a second try, there is none: SandboxError.
"""

from __future__ import annotations

import atexit
import contextlib
import functools
import json
import os
import platform
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import threading
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

from harness.errors import SandboxError, UserError
from harness.scoring.sandbox import bubblewrap, frames, packages, seccomp
from harness.scoring.sandbox.job import KNOWN_GOOD, Outcome, Program, ProgramVerdict

INSTALL = "install it (Debian, Ubuntu: apt-get install bubblewrap; Fedora: dnf install bubblewrap)"
WAY_OUT = "or accept the risk with --unsafe-local-exec, which runs model-written code with your own rights"
STARTER = (
    "import json, sys; paths, *options = json.loads(sys.argv[1]); sys.path[:] = paths; "
    "from harness.scoring.sandbox.broker import main; main(*options)"
)
BROKERS = 2
CLOSE_SECONDS = 5
CLOSED = "it was closed while programs ran"
LARGEST_REPLY = 1 << 30


@dataclass(frozen=True, kw_only=True)
class _Broker:
    """The broker's process, or that of the bwrap around it, our end of the socket to it, and its folder."""

    process: subprocess.Popen[bytes]
    socket: socket.socket
    folder: Path

    def end(self) -> None:
        """Ends it and everything that it started, if need be by force."""
        with contextlib.suppress(OSError):  # it is gone already
            self.socket.shutdown(socket.SHUT_RDWR)
        try:
            self.process.wait(CLOSE_SECONDS)
        except subprocess.TimeoutExpired:
            os.killpg(self.process.pid, signal.SIGKILL)
            self.process.wait()
        self.socket.close()
        if self.folder != bubblewrap.PRIVATE_FOLDER:
            shutil.rmtree(self.folder, ignore_errors=True)


class Sandbox:
    """Runs programs in a broker, a process of its own that is replaced when it dies. Made by `open_sandbox`, which
    checks the machine first."""

    def __init__(self, bwrap: str | None, workers: int, allowed: Sequence[str] = ()) -> None:
        self._lock = threading.Lock()
        self._closes = False
        self._options = (bwrap, workers, list(allowed))
        self._broker: _Broker | None = None

    def run(self, programs: Sequence[Program]) -> list[ProgramVerdict]:
        """Runs all programs, several at a time, and returns their verdicts in the given order.

        Raises SandboxError where the sandbox fails. Interrupted, it ends what runs.
        """
        verdicts: dict[int, ProgramVerdict] = {}
        with self._lock:
            for number in range(1, BROKERS + 1):
                try:
                    self._collect(programs, verdicts)
                    break
                except frames.ClosedError as error:
                    self._end()
                    if self._closes:
                        raise SandboxError(CLOSED) from error
                    if number == BROKERS:
                        raise SandboxError(f"its broker was killed {BROKERS} times; start again") from error
                except BaseException:
                    self._end()
                    raise
        return [verdicts[number] for number in range(len(programs))]

    def close(self) -> None:
        """Ends the broker and everything it started; where another thread waits for verdicts, SandboxError is raised
        there. Programs that are run later get a new broker."""
        self._closes = True
        broker = self._broker
        if broker is not None:
            with contextlib.suppress(OSError):  # it is gone already
                broker.socket.shutdown(socket.SHUT_RDWR)
        try:
            with self._lock:
                self._end()
        finally:
            self._closes = False

    def _collect(self, programs: Sequence[Program], verdicts: dict[int, ProgramVerdict]) -> None:
        """Sends the programs without a verdict and adds their verdicts as they come. Raises ClosedError."""
        broker = self._running()
        if self._closes:  # it was closed before there was a broker to end
            raise SandboxError(CLOSED)
        waiting = {number: program for number, program in enumerate(programs) if number not in verdicts}
        threading.Thread(target=_send, args=(broker.socket.dup(), waiting), daemon=True).start()
        for _ in waiting:
            reply = json.loads(frames.receive(broker.socket.fileno(), LARGEST_REPLY))
            if "fault" in reply:
                raise SandboxError(reply["fault"])
            outcomes = tuple(Outcome(passed=passed, reason=reason) for passed, reason in reply["outcomes"])
            verdicts[reply["id"]] = ProgramVerdict(outcomes=outcomes)

    def _running(self) -> _Broker:
        """The broker, a new one where there is none or it has ended."""
        if self._broker is not None and self._broker.process.poll() is not None:
            self._end()
        if self._broker is None:
            self._broker = _start_broker(*self._options)
        return self._broker

    def _end(self) -> None:
        broker, self._broker = self._broker, None
        if broker is not None:
            broker.end()


def _start_broker(bwrap: str | None, workers: int, allowed: Sequence[str]) -> _Broker:
    private = bwrap is not None and bubblewrap.nests(bwrap)
    around = [bwrap, *bubblewrap.PRIVATE, "--"] if bwrap is not None and private else []
    folder = bubblewrap.PRIVATE_FOLDER if private else Path(tempfile.mkdtemp(prefix="harness-sandbox-"))
    ours, theirs = socket.socketpair()
    harness = os.pidfd_open(os.getpid())
    try:
        with theirs:
            options = json.dumps([sys.path, bwrap, workers, allowed, str(folder), harness])
            process = subprocess.Popen(
                [*around, sys.executable, "-P", "-c", STARTER, options],
                stdin=theirs.fileno(),
                stdout=subprocess.DEVNULL,
                pass_fds=(harness,),
                start_new_session=True,
            )
    finally:
        os.close(harness)
    return _Broker(process=process, socket=ours, folder=folder)


def _send(connection: socket.socket, programs: Mapping[int, Program]) -> None:
    """Through a connection of its own: the number of a closed one may by then be that of the next broker's."""
    try:
        with connection:
            for number, program in programs.items():
                frames.send(connection.fileno(), json.dumps({"id": number, **asdict(program)}).encode())
    except frames.ClosedError:  # whoever reads the answers sees it too
        return


@functools.cache
def open_sandbox(*, unsafe_local_exec: bool = False, allowed: tuple[str, ...] = (), workers: int = 0) -> Sandbox:
    """The sandbox of this process for these packages, started on the first call.

    allowed: installed packages that programs may import beside the standard library.
    workers: programs at a time, 0 for two per core, shared among the processes of a launcher; those that linger are
        not counted.

    Raises UserError where the machine cannot sandbox and `unsafe_local_exec` is off, for an unknown package, and on
    systems other than Linux.
    """
    if platform.system() != "Linux":
        raise UserError(
            f"Model-written code runs on Linux alone, with --unsafe-local-exec too, and this is {platform.system()}: "
            "use a container or WSL 2, or another task."
        )
    problem = "" if unsafe_local_exec else missing()
    if problem:
        raise UserError(f"Model-written code needs a sandbox: {problem}; {WAY_OUT}.")
    packages.locate(allowed)
    sandbox = Sandbox(None if unsafe_local_exec else bubblewrap.find(), workers or _workers(), allowed)
    atexit.register(sandbox.close)
    try:
        reason = sandbox.run([KNOWN_GOOD])[0].reason
    except SandboxError as error:
        reason = error.fault
    if reason:
        raise UserError(f"The sandbox does not start here ({reason}); see harness doctor, {WAY_OUT}.")
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
