"""Inside the judge's sandbox: runs tests against stubs for the functions of a program in another sandbox.

    python judge.pyc CONTROL [PACKAGES]

CONTROL is a socket to the broker. Each message on it brings three descriptors: the job's socket, the pipe for
calls to the program, the pipe of its replies. A forked child runs the job, so that nothing one test does to the
interpreter outlives it; the first process waits for jobs and for the ends of its children.

The job, one frame: a dict with `program`, `setup`, `tests`, `functions` (name in the tests to name in the
program) and limits. The answers, one frame each:

    waiting                            the program has not answered for another TICK
    outcome, passed, reason, present   of the next test, and whether the program is still there
    ended, status, seconds, bytes      from the first process: how the child ended, with its processor time and memory

After a program has gone the child ends and leaves the remaining tests to a fresh start.

The tests are trusted, as data sets are: they come from the task, never from a model. What they see of the
program are values that crossed a pipe, so a test passes only where it runs to its end on these.
"""

from __future__ import annotations

import builtins
import contextlib
import importlib
import os
import resource
import select
import signal
import socket
import sys
import types
from collections.abc import Callable
from typing import Any

sys.path.insert(0, os.path.dirname(os.path.abspath(__file__)))
import frames  # type: ignore[import-not-found]
import values  # type: ignore[import-not-found]

del sys.path[0]

LARGEST_JOB = 1 << 30
# What tests import most; a forked child has them at once.
PRELOADED = ("collections", "copy", "functools", "heapq", "itertools", "math", "random", "re", "string", "typing")
REASON_LENGTH = 200
TICK = 0.1


class ProgramGone(BaseException):
    """The program can answer no more. Not an Exception, so that no test catches it by accident."""


class ProgramError(Exception):
    """The program raised something that is no built-in exception, or returned something that is no plain value."""


class Link:
    """The two pipes to the program. on_wait: called for every TICK for which it keeps us waiting."""

    def __init__(self, calls: int, replies: int, reply_limit: int, on_wait: Callable[[], None]) -> None:
        self.calls = calls
        self.replies = replies
        self.reply_limit = reply_limit
        self.on_wait = on_wait
        self.gone = ""
        os.set_blocking(calls, False)
        os.set_blocking(replies, False)

    def exchange(self, frame: bytes) -> object:
        """Sends a frame and returns the value that comes back.

        Raises what the program raised, ProgramError for what is not a plain value, and ProgramGone.
        """
        if self.gone:
            raise ProgramGone(self.gone)
        try:
            frames.send(self.calls, frame, self._wait)
            reply = frames.receive(self.replies, self.reply_limit, self._wait)
            mark, body = reply[:1], reply[1:]
            content = body.decode("utf-8", "replace") if mark == b"U" else values.decode(body)
        except frames.ClosedError:
            self._lose("the program ended early")
        except ValueError as error:
            self._lose(f"the program's answer is no value: {error}")
        if mark == b"V":
            return content
        if mark == b"U":
            raise ProgramError(f"the program returned {content}, which cannot cross to the tests")
        if mark == b"E" and isinstance(content, tuple) and len(content) == 2:
            raise _exception(str(content[0]), str(content[1]))
        self._lose("the program's answer is no value: unknown mark")
        raise AssertionError("not reached")

    def _wait(self, descriptor: int, event: int) -> None:
        poll = select.poll()
        poll.register(descriptor, event)
        while not poll.poll(1000 * TICK):
            self.on_wait()

    def _lose(self, reason: str) -> None:
        self.gone = reason
        raise ProgramGone(reason)


def _exception(name: str, message: str) -> Exception:
    kind = getattr(builtins, name, None)
    if isinstance(kind, type) and issubclass(kind, Exception) and kind.__init__ is not UnicodeError.__init__:
        try:
            return kind(message)
        except TypeError:  # UnicodeDecodeError and its like take more than a message
            pass
    return ProgramError(f"{name}: {message}")


def make_stub(link: Link, name: str) -> Any:
    """A function that has the program's function `name` do the work."""

    def stub(*arguments: object, **keywords: object) -> object:
        return link.exchange(values.encode((name, arguments, keywords)))

    stub.__name__ = stub.__qualname__ = name
    return stub


def run_job(job_descriptor: int, calls: int, replies: int) -> None:
    """Runs one job to its end, or until the program is gone."""

    def tell(*message: object) -> None:
        frames.send(job_descriptor, values.encode(message))

    job: Any = values.decode(frames.receive(job_descriptor, LARGEST_JOB))
    _limit(job)
    link = Link(calls, replies, job["reply_bytes"], lambda: tell("waiting"))
    reason = _attempt(lambda: link.exchange(job["program"].encode("utf-8", "surrogatepass")))
    stubs = {name: make_stub(link, target) for name, target in job["functions"].items()}
    for test in job["tests"]:
        outcome = reason or _run_test(job["setup"], test, stubs)
        # A test may have passed by catching the loss of the program; without it nothing counts.
        outcome = outcome or link.gone
        tell("outcome", not outcome, outcome[:REASON_LENGTH], not link.gone)
        if link.gone or (outcome and not job["every_test"]):
            return


def _limit(job: Any) -> None:
    for name, value in ((resource.RLIMIT_CPU, job["cpu_seconds"]), (resource.RLIMIT_AS, job["memory_bytes"])):
        resource.setrlimit(name, (value, value))
    signal.setitimer(signal.ITIMER_REAL, job["wall_seconds"])


def _run_test(setup: str, test: str, stubs: dict[str, Any]) -> str:
    solution = types.ModuleType("solution")
    solution.__dict__.update(stubs)
    sys.modules["solution"] = solution
    namespace: dict[str, Any] = {"__name__": "tests"}
    broken = _attempt(lambda: exec(compile(setup, "<setup>", "exec", dont_inherit=True), namespace))
    if broken:
        return f"the tests' own setup fails: {broken}"
    namespace.update(stubs)
    return _attempt(lambda: exec(compile(test, "<test>", "exec", dont_inherit=True), namespace))


def _attempt(action: Any) -> str:
    """Runs `action`; empty where it went through, otherwise the reason that it did not."""
    try:
        action()
    except values.NotPlainError as error:
        return f"the tests pass {error}, which cannot cross to the program"
    except AssertionError as error:
        return f"assertion failed: {error}" if str(error) else "assertion failed"
    except (ProgramGone, ProgramError) as error:
        return str(error)
    except BaseException as error:  # a test may raise anything
        return f"{type(error).__name__}: {error}"
    return ""


class Children:
    """The forked children: the job's socket of each, to say on it how the child ended, by its pid descriptor."""

    def __init__(self) -> None:
        self.jobs: dict[int, tuple[int, int]] = {}

    def start(self, control: socket.socket, descriptors: list[int]) -> None:
        """Forks a child for a job and keeps its socket."""
        pid = os.fork()
        if pid == 0:
            # Kernels that share processors out by session would let one job's tests hold up all others. Only in a
            # sandbox, which ends all of its sessions with itself.
            if os.getppid() == 1:
                os.setsid()
            control.close()
            _run_and_end(descriptors)
        for descriptor in descriptors[1:]:
            os.close(descriptor)
        self.jobs[os.pidfd_open(pid)] = pid, descriptors[0]

    def collect(self, child: int) -> None:
        """Reports the end of a child."""
        pid, job = self.jobs.pop(child)
        _, status, usage = os.wait4(pid, 0)
        ending = os.waitstatus_to_exitcode(status), usage.ru_utime + usage.ru_stime, usage.ru_maxrss << 10
        with contextlib.suppress(frames.ClosedError):  # the broker has what it wanted
            frames.send(job, values.encode(("ended", *ending)))
        os.close(job)
        os.close(child)


def _run_and_end(descriptors: list[int]) -> None:
    """What a forked child does: it never returns."""
    try:
        run_job(*descriptors)
    except frames.ClosedError:
        pass
    finally:
        os._exit(0)


def main() -> None:
    """Waits for jobs until the broker closes its end."""
    sys.path += sys.argv[2:]
    for name in PRELOADED:
        importlib.import_module(name)
    control = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM, 0, fileno=int(sys.argv[1]))
    children = Children()
    while True:
        poll = select.poll()
        for descriptor in (control.fileno(), *children.jobs):
            poll.register(descriptor, select.POLLIN)
        for descriptor, _ in poll.poll():
            if descriptor != control.fileno():
                children.collect(descriptor)
                continue
            message, received, _, _ = socket.recv_fds(control, 1, 3)
            if not message:
                return
            children.start(control, received)


if __name__ == "__main__":
    main()
