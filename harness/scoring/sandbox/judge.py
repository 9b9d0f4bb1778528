"""Inside the judge's sandbox: runs tests against stubs for the functions of a program in another sandbox.

    python judge.pyc CONTROL

CONTROL is a socket to the broker. Each message on it brings three descriptors: the job's socket, the pipe for
calls to the program, the pipe of its replies. A forked child runs the job, so that nothing one test does to the
interpreter outlives it; the first process only waits for the next job.

The job, one frame: a dict with `program`, `setup`, `tests`, `functions` (name in the tests to name in the
program) and limits. The answer, one frame per test: (passed, reason, whether the program is still there). After
a program has gone the child ends and leaves the remaining tests to a fresh start.

The tests are trusted, as data sets are: they come from the task, never from a model. What they see of the
program are values that crossed a pipe, so a test passes only where it runs to its end on these.
"""

from __future__ import annotations

import builtins
import importlib
import os
import resource
import signal
import socket
import sys
import types
from typing import Any

sys.path.insert(0, os.path.dirname(os.path.abspath(__file__)))
import frames  # type: ignore[import-not-found]
import values  # type: ignore[import-not-found]

del sys.path[0]

LARGEST_JOB = 1 << 30
# What tests import most; a forked child has them at once.
PRELOADED = ("collections", "copy", "functools", "heapq", "itertools", "math", "random", "re", "string", "typing")
REASON_LENGTH = 200


class ProgramGone(BaseException):
    """The program can answer no more. Not an Exception, so that no test catches it by accident."""


class ProgramError(Exception):
    """The program raised something that is no built-in exception, or returned something that is no plain value."""


class Link:
    """The two pipes to the program."""

    def __init__(self, calls: int, replies: int, reply_limit: int) -> None:
        self.calls = calls
        self.replies = replies
        self.reply_limit = reply_limit
        self.gone = ""

    def exchange(self, frame: bytes) -> object:
        """Sends a frame and returns the value that comes back.

        Raises what the program raised, ProgramError for what is not a plain value, and ProgramGone.
        """
        if self.gone:
            raise ProgramGone(self.gone)
        try:
            frames.send(self.calls, frame)
            reply = frames.receive(self.replies, self.reply_limit)
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
    job: Any = values.decode(frames.receive(job_descriptor, LARGEST_JOB))
    _limit(job)
    link = Link(calls, replies, job["reply_bytes"])
    reason = _attempt(lambda: link.exchange(job["program"].encode("utf-8", "surrogatepass")))
    stubs = {name: make_stub(link, target) for name, target in job["functions"].items()}
    for test in job["tests"]:
        outcome = reason or _run_test(job["setup"], test, stubs)
        # A test may have passed by catching the loss of the program; without it nothing counts.
        outcome = outcome or link.gone
        frames.send(job_descriptor, values.encode((not outcome, outcome[:REASON_LENGTH], not link.gone)))
        if link.gone:
            return


def _limit(job: Any) -> None:
    for name, value in ((resource.RLIMIT_CPU, job["cpu_seconds"]), (resource.RLIMIT_AS, job["memory_bytes"])):
        resource.setrlimit(name, (value, value))
    signal.signal(signal.SIGALRM, signal.SIG_DFL)
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


def main() -> None:
    """Waits for jobs until the broker closes its end."""
    signal.signal(signal.SIGCHLD, signal.SIG_IGN)
    for name in PRELOADED:
        importlib.import_module(name)
    control = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM, 0, fileno=int(sys.argv[1]))
    while True:
        message, descriptors, _, _ = socket.recv_fds(control, 1, 3)
        if not message:
            return
        if os.fork() == 0:
            control.close()
            try:
                run_job(*descriptors)
            except frames.ClosedError:
                pass
            finally:
                os._exit(0)
        for descriptor in descriptors:
            os.close(descriptor)


if __name__ == "__main__":
    main()
