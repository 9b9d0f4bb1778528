"""Processes that the broker starts: each in a session of its own, ended as a group."""

from __future__ import annotations

import contextlib
import os
import select
import signal
import subprocess
import time
from dataclasses import dataclass
from pathlib import Path

# The low bits of the number of a process's clock, as clock_getcpuclockid makes it: precise, all threads.
PROCESS_CLOCK = 2


def computed_seconds(pid: int) -> float | None:
    """Processor time that a process has used; None for one that has just ended."""
    try:
        return time.clock_gettime((~pid << 3) | PROCESS_CLOCK)
    except OSError:
        return None


def wants_processor(pid: int) -> bool:
    """Whether a thread of a process runs or waits for its turn to; false for a process that has just ended."""
    with contextlib.suppress(OSError):
        for thread in Path(f"/proc/{pid}/task").iterdir():
            if (thread / "stat").read_text(errors="replace").rpartition(")")[2].split()[0] == "R":
                return True
    return False


@dataclass(frozen=True, kw_only=True)
class Ending:
    """How a process ended. status: its exit status, or minus the number of the signal that ended it.

    cpu_seconds, memory_bytes: processor time and largest resident memory, of the processes inside a sandbox too.
    """

    status: int
    cpu_seconds: float
    memory_bytes: int


class Child:
    """A running process."""

    def __init__(self, process: subprocess.Popen[bytes]) -> None:
        self._process = process
        self._ending: Ending | None = None

    def wait(self, seconds: float) -> Ending | None:
        """Waits for the end, for so long. None where the process goes on."""
        if self._ending is None:
            descriptor = os.pidfd_open(self._process.pid)
            try:
                poll = select.poll()
                poll.register(descriptor, select.POLLIN)
                if not poll.poll(1000 * seconds):
                    return None
            finally:
                os.close(descriptor)
            self._collect()
        return self._ending

    def kill(self) -> None:
        """Ends the process and what it started, at whatever moment of its start, and waits until it is gone."""
        if self._ending is None:
            self.kill_group()
            self._collect()

    def kill_group(self) -> None:
        """Ends the process and what it started, without waiting."""
        with contextlib.suppress(ProcessLookupError):
            os.killpg(self._process.pid, signal.SIGKILL)

    def _collect(self) -> None:
        _, status, usage = os.wait4(self._process.pid, 0)
        self._process.returncode = os.waitstatus_to_exitcode(status)
        self._ending = Ending(
            status=self._process.returncode,
            cpu_seconds=usage.ru_utime + usage.ru_stime,
            memory_bytes=usage.ru_maxrss << 10,
        )
