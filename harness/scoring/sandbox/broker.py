"""The broker: a small process of its own that runs jobs in sandboxes, several at a time.

It is started before torch and CUDA are loaded, so that no large process ever forks. Requests come as frames of JSON
over the socket on standard input; each is answered by one frame, in the order in which they are ready: with outcomes,
or with a fault, which is never the program's. The end of the socket or of the harness ends the broker and everything
that it started.
"""

from __future__ import annotations

import json
import os
import resource
import select
import socket
import threading
import time
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

from harness.errors import UserError
from harness.scoring.sandbox import frames
from harness.scoring.sandbox.attempt import OUT_OF_TIME, USED_UP, Attempt, FaultError
from harness.scoring.sandbox.job import KNOWN_GOOD, Limits, Outcome, Program
from harness.scoring.sandbox.stage import Stage

NOT_RUN = "not run: an earlier test failed"
LARGEST_REQUEST = 1 << 30
# A program that runs out of time in so many tests is not started again for the others.
PATIENCE = 2
# Jobs at a time for each turn: those that linger leave their turn to others.
JOBS_PER_TURN = 3


class Broker:
    """Runs jobs from several threads. workers: jobs at a time that do not linger."""

    def __init__(self, stage: Stage, workers: int) -> None:
        self._stage = stage
        self._turns = threading.Semaphore(workers)

    def run(self, job: Program) -> list[Outcome]:
        """One outcome per test. A program that ends in the middle is started again for the tests left.

        Raises FaultError where the sandbox fails, OSError where it cannot be started, ValueError for a job too large.
        """
        outcomes: list[Outcome] = []
        turn = _Turn(self._turns)
        deadline = time.monotonic() + job.limits.wall_seconds
        try:
            while len(outcomes) < len(job.tests):
                if not job.every_test and not all(outcome.passed for outcome in outcomes):
                    return _filled(outcomes, job, NOT_RUN)
                seconds = deadline - time.monotonic() if outcomes else job.limits.wall_seconds
                if seconds <= 0 or sum(map(_late, outcomes)) >= PATIENCE:
                    return _filled(outcomes, job, OUT_OF_TIME)
                outcomes += self._attempt(job, len(outcomes), seconds, turn.leave)
        finally:
            turn.leave()
        return outcomes

    def _attempt(self, job: Program, first: int, seconds: float, give_way: Callable[[], None]) -> list[Outcome]:
        """Tries twice, and trusts a failure only where the image of the sandbox is whole."""

        def run() -> list[Outcome]:
            return Attempt(self._stage, job, first, seconds, give_way).run()

        try:
            outcomes = run()
        except (FaultError, OSError):
            outcomes = self._again(run)
        damage = "" if all(outcome.passed for outcome in outcomes) else self._damage()
        if damage:
            raise FaultError(damage)
        return outcomes

    def _again(self, run: Callable[[], list[Outcome]]) -> list[Outcome]:
        """The second try. What the system does twice to a greedy program is a verdict, where the sandbox is proven."""
        try:
            return run()
        except (FaultError, OSError) as error:
            problem = self._problem()
            if isinstance(error, FaultError) and error.verdict and not problem:
                return [Outcome(passed=False, reason=error.verdict)]
            raise FaultError(f"{error}, twice; {problem or 'a known-good program passes'}") from error

    def _problem(self) -> str:
        """What is wrong with the sandbox itself, by its image and a known-good program; empty where nothing is."""
        try:
            outcomes = Attempt(self._stage, KNOWN_GOOD, 0, KNOWN_GOOD.limits.wall_seconds).run()
        except (FaultError, OSError) as error:
            return self._damage() or f"a known-good program fails too: {error}"
        return "" if outcomes[0].passed else f"a known-good program fails: {outcomes[0].reason}"

    def _damage(self) -> str:
        changed = self._stage.image.damage()
        return f"{changed} was changed or removed while the sandbox ran" if changed else ""


class _Turn:
    """One of the turns; left early by a job that lingers."""

    def __init__(self, turns: threading.Semaphore) -> None:
        self._turns = turns
        self._held = turns.acquire()

    def leave(self) -> None:
        """Lets the next job begin."""
        if self._held:
            self._held = False
            self._turns.release()


def _late(outcome: Outcome) -> bool:
    return outcome.reason == OUT_OF_TIME or USED_UP in outcome.reason


def _filled(outcomes: Sequence[Outcome], job: Program, reason: str) -> list[Outcome]:
    left = len(job.tests) - len(outcomes)
    return [*outcomes, *[Outcome(passed=False, reason=reason)] * left]


class Service:
    """Answers what comes over the socket on standard input."""

    def __init__(self) -> None:
        self._socket = socket.socket(fileno=0)
        self._lock = threading.Lock()

    def serve(self, broker: Broker, pool: ThreadPoolExecutor) -> None:
        """Returns when the socket ends."""
        while True:
            try:
                request = json.loads(frames.receive(self._socket.fileno(), LARGEST_REQUEST))
            except frames.ClosedError:
                return
            pool.submit(self._answer, broker, request)

    def say(self, number: int | None, **reply: Any) -> None:
        """Sends an answer, if anybody still wants it. number: of the request; None for a fault before any."""
        try:
            with self._lock:
                frames.send(self._socket.fileno(), json.dumps({"id": number, **reply}).encode())
        except frames.ClosedError:
            return

    def end_with(self, harness: int) -> None:
        """Ends the socket with the harness, whose forked children may keep theirs open. harness: its pid descriptor."""
        poll = select.poll()
        poll.register(harness, select.POLLIN)
        poll.poll()
        self._socket.shutdown(socket.SHUT_RDWR)

    def _answer(self, broker: Broker, request: dict[str, Any]) -> None:
        number, limits = request.pop("id"), Limits(**request.pop("limits"))
        try:
            outcomes = broker.run(Program(**request, limits=limits))
        except Exception as error:  # whatever it is, somebody waits for an answer
            self.say(number, fault=_describe(error))
        else:
            self.say(number, outcomes=[[outcome.passed, outcome.reason] for outcome in outcomes])


def _describe(error: Exception) -> str:
    return str(error) if isinstance(error, FaultError | OSError | UserError) else f"{type(error).__name__}: {error}"


def main(bwrap: str | None, workers: int, packages: Sequence[str], folder: str, harness: int) -> None:
    """Serves requests until the socket or the harness ends. harness: its pid descriptor."""
    service = Service()
    threading.Thread(target=service.end_with, args=(harness,), daemon=True).start()
    _, most = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (most, most))
    try:
        with Stage(bwrap, packages, Path(folder)) as stage:
            service.serve(Broker(stage, workers), ThreadPoolExecutor(JOBS_PER_TURN * workers))
    except OSError as error:
        service.say(None, fault=f"{error}; set TMPDIR to a folder with more room than {Path(folder).parent}")
    except Exception as error:  # the harness says it in a sentence
        service.say(None, fault=_describe(error))
    # Not by the usual way, which waits for what is queued.
    os._exit(0)
