"""A program with its tests, what it may use, and what became of it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field


@dataclass(frozen=True, kw_only=True)
class Limits:
    """Bounds on one program and on the judge of its tests.

    cpu_seconds: processor time of the program, over all of its tests until it has to be started again.
    idle_seconds: for how long a program that is called may compute nothing and not answer: it sleeps, or waits for
        what never comes. A program that gets no processor on a busy machine is not idle.
    wall_seconds: time by the clock for everything together, the last resort.
    judge_cpu_seconds: processor time of the tests themselves.
    memory_mb: address space. file_mb: largest file. tmp_mb, tmp_files: everything under /tmp together.
    reply_mb: largest value that a call may return, as bytes on the pipe.
    """

    cpu_seconds: int = 1
    idle_seconds: float = 1.0
    wall_seconds: float = 30.0
    judge_cpu_seconds: int = 4
    memory_mb: int = 512
    file_mb: int = 8
    tmp_mb: int = 32
    tmp_files: int = 1000
    reply_mb: int = 8


@dataclass(frozen=True, kw_only=True)
class Program:
    """A program that nobody trusts and the tests that it has to pass.

    source: the program, Python.
    tests: each is judged on its own: it passes where it runs to its end. Trusted, as the data set is.
    setup: trusted source that runs before each test, in the tests' process: imports, helper functions.
    functions: the functions that tests call, by their name in the tests, to their name in the program. They are
        called with plain values alone (see values.py), and changes to arguments don't come back.
    every_test: whether tests run after one has failed. Off where only `ProgramVerdict.passed` counts.
    """

    source: str
    tests: Sequence[str]
    setup: str = ""
    functions: Mapping[str, str] = field(default_factory=dict)
    limits: Limits = Limits()
    every_test: bool = True


KNOWN_GOOD = Program(source="def f(x): return x + 1", tests=("assert f(1) == 2",), functions={"f": "f"})
"""Passes wherever the sandbox works."""


@dataclass(frozen=True, kw_only=True)
class Outcome:
    """What became of one test. reason: empty where it passed."""

    passed: bool
    reason: str


@dataclass(frozen=True, kw_only=True)
class ProgramVerdict:
    """One outcome per test, in their order."""

    outcomes: tuple[Outcome, ...]

    @property
    def passed(self) -> bool:
        """Whether there are tests and all of them passed."""
        return bool(self.outcomes) and all(outcome.passed for outcome in self.outcomes)

    @property
    def fraction(self) -> float:
        """Share of the tests passed; 0 without tests. A lower bound where not every test ran."""
        return sum(outcome.passed for outcome in self.outcomes) / len(self.outcomes) if self.outcomes else 0.0

    @property
    def reason(self) -> str:
        """Why the first failed test failed; empty where none did."""
        return next((outcome.reason for outcome in self.outcomes if not outcome.passed), "")
