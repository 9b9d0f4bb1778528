"""One start of a program: its tests up to the one in which it ends, and whose fault an end is.

A program is wrong where it ends itself, uses up what it has, or answers with what is not a value. Where its sandbox
does not start, or the system kills it or the judge within their limits, that is a FaultError and no verdict. The two
can be told apart: a program cannot send itself SIGKILL, being the first process of its name space, nor end with a
status that looks like it (seccomp.py), and nothing of it runs before its sandbox has greeted.
"""

from __future__ import annotations

import select
import signal
import socket
import struct
import time
from collections.abc import Callable
from typing import Any

from harness.scoring.sandbox import frames, values
from harness.scoring.sandbox.job import Outcome, Program
from harness.scoring.sandbox.processes import Child, Ending, computed_seconds, wants_processor
from harness.scoring.sandbox.stage import SLACK_SECONDS, Actor, Stage

OUT_OF_TIME = "out of time"
USED_UP = "processor time used up"
LARGEST_MESSAGE = 1 << 16
SIGNAL_BASE = 128
EXIT_SECONDS = 0.5
CREDENTIALS = struct.Struct("3i")
START_SECONDS = 60.0
JUDGE_EXTRA_SECONDS = 1.0
TICK = 0.1
# Who takes no more of a processor than this, and does not wait for more, is idle.
IDLE_SHARE = 0.05
# A kill by the kernel near a limit on processor time is the limit's.
NEARLY = 0.9
# A process that the system kills while it holds so much of its memory was killed for it.
GREEDY = 0.5


class FaultError(Exception):
    """The sandbox has failed, not the program. verdict: what to say of the program where the same happens again."""

    def __init__(self, message: str, *, verdict: str = "") -> None:
        super().__init__(message)
        self.verdict = verdict


class _LateError(Exception):
    """The deadline has passed."""


class Attempt:
    """Outcomes of the tests from number `first` on, up to the one in which the program ended, at least one.

    give_way: lets another job begin; called when this one lingers, and when what is left of it is cleaning up.
    """

    def __init__(
        self, stage: Stage, job: Program, first: int, seconds: float, give_way: Callable[[], None] = lambda: None
    ) -> None:
        self._stage = stage
        self._job = job
        self._first = first
        self._seconds = seconds
        self._give_way = give_way
        self._deadline = time.monotonic() + START_SECONDS
        self._pid = 0
        self._idle = self._computed = 0.0
        self.outcomes: list[Outcome] = []
        self.gone = False

    def run(self) -> list[Outcome]:
        """Raises FaultError; OSError where something cannot be started; NotPlainError for a job that is too large."""
        frame = self._frame()
        with self._stage.program(self._job.limits) as actor:
            self._greet(actor)
            ours, theirs = socket.socketpair()
            with ours:
                with theirs:
                    judge = self._stage.hand_over(theirs.fileno(), actor.calls, actor.replies)
                ours.setblocking(False)
                try:
                    frames.send(ours.fileno(), frame, self._wait)
                    while not self._complete():
                        self._take(ours, actor)
                except frames.ClosedError as error:
                    self._stage.replace(judge)
                    raise FaultError("the system killed the judge") from error
                except _LateError:
                    self._end(OUT_OF_TIME)
            self._give_way()
        return self.outcomes

    def _greet(self, actor: Actor) -> None:
        """Waits until the program's sandbox has started; the kernel says as which process."""
        actor.greeting.setblocking(False)
        try:
            self._wait(actor.greeting.fileno(), select.POLLIN)
        except _LateError as error:
            raise FaultError(f"a sandbox did not start within {START_SECONDS:.0f} seconds") from error
        greeting, credentials, _, _ = actor.greeting.recvmsg(1, socket.CMSG_SPACE(CREDENTIALS.size))
        if not greeting:
            raise FaultError("a program's sandbox did not start")
        self._pid, _, _ = CREDENTIALS.unpack(credentials[0][2])
        self._deadline = time.monotonic() + self._seconds

    def _frame(self) -> bytes:
        job, limits = self._job, self._job.limits
        return values.encode(
            {
                "program": job.source,
                "setup": job.setup,
                "tests": list(job.tests[self._first :]),
                "functions": dict(job.functions),
                "every_test": job.every_test,
                "reply_bytes": limits.reply_mb << 20,
                "memory_bytes": limits.memory_mb << 20,
                "cpu_seconds": limits.judge_cpu_seconds + SLACK_SECONDS,
                "wall_seconds": self._seconds + JUDGE_EXTRA_SECONDS,
            }
        )

    def _complete(self) -> bool:
        """Whether there is nothing more to come of this start."""
        failed = any(not outcome.passed for outcome in self.outcomes)
        left = len(self._job.tests) - self._first - len(self.outcomes)
        return self.gone or left <= 0 or (failed and not self._job.every_test)

    def _take(self, judge: socket.socket, actor: Actor) -> None:
        """The judge's next message."""
        kind, *details = self._message(judge)
        if kind == "waiting":
            self._linger()
        elif kind == "outcome":
            passed, reason, present = details
            if present:
                self.outcomes.append(Outcome(passed=bool(passed), reason=str(reason)))
            else:
                self._end(f"{reason} {self._program_s_end(actor.child)}")
        else:
            self._end(self._judge_s_end(*details))

    def _message(self, judge: socket.socket) -> tuple[Any, ...]:
        try:
            message = values.decode(frames.receive(judge.fileno(), LARGEST_MESSAGE, self._wait))
        except ValueError as error:
            raise FaultError(f"the judge sent what is not a message: {error}") from error
        if not isinstance(message, tuple) or not message:
            raise FaultError("the judge sent what is not a message")
        return message

    def _wait(self, descriptor: int, event: int) -> None:
        poll = select.poll()
        poll.register(descriptor, event)
        if not poll.poll(1000 * TICK):
            if self._pid:
                self._give_way()
            if not poll.poll(max(0.0, 1000 * (self._deadline - time.monotonic()))):
                raise _LateError

    def _linger(self) -> None:
        """Looks at the clocks after a tick for which the program has not answered; charges it where it was idle."""
        computed = computed_seconds(self._pid)
        if computed is None:
            return
        if computed - self._computed < IDLE_SHARE * TICK and not wants_processor(self._pid):
            self._idle += TICK
        self._computed = computed
        if computed > self._job.limits.cpu_seconds:
            self._end(f"killed: {USED_UP}")
        elif self._idle > self._job.limits.idle_seconds:
            self._end(OUT_OF_TIME)

    def _end(self, reason: str) -> None:
        """The outcome of the test in which program or judge ended."""
        self.outcomes.append(Outcome(passed=False, reason=reason))
        self.gone = True

    def _program_s_end(self, program: Child) -> str:
        ending = program.wait(EXIT_SECONDS)
        if ending is None:
            return "(its pipe is closed, its process goes on)"
        number = ending.status - SIGNAL_BASE if ending.status > SIGNAL_BASE else -ending.status
        if number <= 0:
            return f"(with status {ending.status})"
        if number == signal.SIGKILL and ending.cpu_seconds >= NEARLY * self._job.limits.cpu_seconds:
            return f"(killed: {USED_UP})"
        if number == signal.SIGKILL and self._stage.image.bwrap is not None:
            raise self._killed("a program", ending)
        return f"(by signal {number})"

    def _judge_s_end(self, status: int, cpu_seconds: float, memory_bytes: int) -> str:
        if cpu_seconds >= NEARLY * self._job.limits.judge_cpu_seconds:
            return f"the tests' {USED_UP}"
        if status == -signal.SIGKILL:
            ending = Ending(status=status, cpu_seconds=cpu_seconds, memory_bytes=memory_bytes)
            raise self._killed("a judge", ending)
        return f"the tests ended their own process (status {status})"

    def _killed(self, who: str, ending: Ending) -> FaultError:
        """An end by the system, within the limits."""
        megabytes = ending.memory_bytes >> 20
        message = f"the system killed {who} at {megabytes} MB and {ending.cpu_seconds:.1f} s"
        greedy = megabytes > GREEDY * self._job.limits.memory_mb
        return FaultError(message, verdict=f"{message}, twice" if greedy else "")
