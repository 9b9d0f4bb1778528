"""The broker: a small process of its own that starts sandboxes, hands jobs to the judge and keeps the clocks.

It is started before torch and CUDA are loaded, so that no large process ever forks. Requests come as JSON lines
on standard input, verdicts leave as JSON lines on standard output, in the order in which they are ready; the
end of standard input ends it and everything it started.
"""

from __future__ import annotations

import json
import os
import socket
import subprocess
import sys
import tempfile
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

from harness.scoring.sandbox import frames, values
from harness.scoring.sandbox.bubblewrap import build_image, filter_bytes
from harness.scoring.sandbox.job import Limits, Outcome, Program

OUT_OF_TIME = "out of time"
JUDGE_EXTRA_SECONDS = 1.0
LARGEST_OUTCOME = 1 << 16
KILLED, SIGNAL_BASE = 137, 128
EXIT_SECONDS = 0.5


class Broker:
    """Runs jobs from several threads at once. Use as a context manager."""

    def __init__(self, bwrap: str | None) -> None:
        self._folder = tempfile.TemporaryDirectory(prefix="harness-sandbox-")
        self._image = build_image(Path(self._folder.name), bwrap)
        self._filters = {judge: self._memory_file(judge=judge) if bwrap else -1 for judge in (False, True)}
        self._lock = threading.Lock()
        self._start_judge()

    def __enter__(self) -> Broker:
        return self

    def __exit__(self, *details: object) -> None:
        self._control.close()
        self._judge.kill()
        self._judge.wait()
        self._folder.cleanup()

    def run(self, job: Program) -> list[Outcome]:
        """One outcome per test. A program that ends in the middle is started again for the tests left."""
        deadline = time.monotonic() + job.limits.wall_seconds
        outcomes: list[Outcome] = []
        while len(outcomes) < len(job.tests):
            if time.monotonic() >= deadline:
                return [*outcomes, *[Outcome(passed=False, reason=OUT_OF_TIME)] * (len(job.tests) - len(outcomes))]
            outcomes += self._attempt(job, len(outcomes), deadline)
        return outcomes

    def _attempt(self, job: Program, first: int, deadline: float) -> list[Outcome]:
        """Outcomes of the tests from number `first` up to the one in which the program ended, at least one."""
        calls_out, calls_in = os.pipe()
        replies_out, replies_in = os.pipe()
        program = self._start("candidate", calls_out, replies_in, limits=job.limits, judge=False)
        os.close(calls_out)
        os.close(replies_in)
        ours, theirs = socket.socketpair()
        with ours:
            self._hand_over(theirs, calls_in, replies_out)
            try:
                return self._outcomes(job, first, ours, program, deadline)
            finally:
                program.kill()
                program.wait()

    def _outcomes(
        self, job: Program, first: int, judge: socket.socket, program: subprocess.Popen[bytes], deadline: float
    ) -> list[Outcome]:
        outcomes: list[Outcome] = []
        clock = threading.Timer(max(0.0, deadline - time.monotonic()), judge.shutdown, [socket.SHUT_RDWR])
        clock.daemon = True
        clock.start()
        try:
            frames.send(judge.fileno(), _frame(job, first, deadline - time.monotonic() + JUDGE_EXTRA_SECONDS))
            while first + len(outcomes) < len(job.tests):
                passed, reason, present = _parse_outcome(frames.receive(judge.fileno(), LARGEST_OUTCOME))
                outcomes.append(Outcome(passed=passed, reason=reason if present else f"{reason} {_ending(program)}"))
                if not present:
                    break
        except frames.ClosedError:
            late = time.monotonic() >= deadline
            outcomes.append(
                Outcome(passed=False, reason=OUT_OF_TIME if late else "the judge ran out of time or memory")
            )
        finally:
            clock.cancel()
        return outcomes

    def _hand_over(self, job: socket.socket, calls: int, replies: int) -> None:
        """Sends the job's descriptors to the judge and closes them here."""
        try:
            with self._lock:
                if self._judge.poll() is not None:
                    self._control.close()
                    self._start_judge()
                socket.send_fds(self._control, [b"j"], [job.fileno(), calls, replies])
        finally:
            job.close()
            os.close(calls)
            os.close(replies)

    def _start_judge(self) -> None:
        self._control, theirs = socket.socketpair()
        with theirs:
            self._judge = self._start("judge", theirs.fileno(), limits=Limits(), judge=True)

    def _start(self, script: str, *descriptors: int, limits: Limits, judge: bool) -> subprocess.Popen[bytes]:
        bounds = () if judge else (limits.cpu_seconds, limits.memory_mb << 20, limits.file_mb << 20)
        # bwrap reads the filter to the end of its file, so each sandbox gets an opening of its own.
        memory_file = self._filters[judge]
        extra = os.open(f"/proc/self/fd/{memory_file}", os.O_RDONLY) if memory_file >= 0 else None
        try:
            return subprocess.Popen(
                self._image.command(
                    self._image.script(script, *descriptors, *bounds), limits=limits, filter_descriptor=extra or -1
                ),
                pass_fds=(*descriptors, *([] if extra is None else [extra])),
                stdin=subprocess.DEVNULL,
                stdout=subprocess.DEVNULL,
                stderr=subprocess.DEVNULL,
                cwd=self._image.folder / "tmp",
                env={},
                start_new_session=True,
            )
        finally:
            if extra is not None:
                os.close(extra)

    def _memory_file(self, *, judge: bool) -> int:
        descriptor = os.memfd_create("seccomp")
        os.write(descriptor, filter_bytes(judge=judge))
        return descriptor


def _frame(job: Program, first: int, wall_seconds: float) -> bytes:
    """The judge's frame for the tests from number `first` on."""
    limits = job.limits
    return values.encode(
        {
            "program": job.source,
            "setup": job.setup,
            "tests": list(job.tests[first:]),
            "functions": dict(job.functions),
            "reply_bytes": limits.reply_mb << 20,
            "memory_bytes": limits.memory_mb << 20,
            "cpu_seconds": limits.cpu_seconds,
            "wall_seconds": wall_seconds,
        }
    )


def _parse_outcome(frame: bytes) -> tuple[bool, str, bool]:
    outcome = values.decode(frame)
    assert isinstance(outcome, tuple)
    passed, reason, present = outcome
    return bool(passed), str(reason), bool(present)


def _ending(program: subprocess.Popen[bytes]) -> str:
    """How the process of a program that answers no more came to its end."""
    try:
        status = program.wait(EXIT_SECONDS)
    except subprocess.TimeoutExpired:
        return "(its pipe is closed, its process goes on)"
    if status in (KILLED, KILLED - SIGNAL_BASE, -9):
        return "(killed: processor time or memory used up)"
    if status > SIGNAL_BASE or status < 0:
        return f"(by signal {status - SIGNAL_BASE if status > 0 else -status})"
    return f"(with status {status})"


def main(bwrap: str | None, workers: int) -> None:
    """Serves requests until standard input ends."""
    lock = threading.Lock()
    with Broker(bwrap) as broker, ThreadPoolExecutor(workers) as pool:

        def answer(request: dict[str, Any]) -> None:
            number, limits = request.pop("id"), Limits(**request.pop("limits"))
            outcomes = broker.run(Program(**request, limits=limits))
            line = json.dumps({"id": number, "outcomes": [[one.passed, one.reason] for one in outcomes]}) + "\n"
            with lock:
                sys.stdout.write(line)
                sys.stdout.flush()

        for line in sys.stdin:
            pool.submit(answer, json.loads(line))
