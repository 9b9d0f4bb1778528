"""The metric `code_eval` in our sandbox, for lm-eval's own humaneval and mbpp.

Those tasks ask `evaluate` for a metric that it fetches from the hub, and that runs model-written code with the user's
rights. Here are the same arguments and results without network; programs run in the sandbox and the tests outside of
their process, so a program that ends early or patches `==` passes nothing.
"""

from __future__ import annotations

import ast
import builtins
import functools
import math
import re
import sys
import warnings
from collections.abc import Sequence
from typing import Any, TypedDict

import evaluate

from harness.scoring.sandbox.client import open_sandbox
from harness.scoring.sandbox.job import Limits, Program, ProgramVerdict

NAME = "code_eval"
LIMITS = Limits(cpu_seconds=4)
"""The published metric's three seconds by the clock, with room for a busy machine."""


class Result(TypedDict):
    """The verdict on one program, under the published metric's names."""

    task_id: int
    completion_id: int
    passed: bool
    result: str


class CodeEval:
    """pass@k of Python programs."""

    def compute(
        self,
        *,
        references: Sequence[str],
        predictions: Sequence[Sequence[str]],
        k: Sequence[int] = (1, 10, 100),
        **ignored: Any,
    ) -> tuple[dict[str, float], dict[int, list[tuple[int, Result]]]]:
        """pass@k for each k that every problem has enough programs for, and the verdicts by problem.

        references: the tests of each problem, trusted. predictions: programs per problem. ignored: numbers of workers,
        time limits and the like, which the sandbox decides itself. Raises UserError where the machine has no sandbox.
        """
        pairs = [(test, code) for test, programs in zip(references, predictions, strict=True) for code in programs]
        verdicts = iter(open_sandbox().run([program(code, test) for test, code in pairs]))
        results = {
            task: [(index, _result(task, index, next(verdicts))) for index in range(len(programs))]
            for task, programs in enumerate(predictions)
        }
        counts = [(len(found), sum(one["passed"] for _, one in found)) for found in results.values()]
        sizes = [size for size in k if all(total >= size for total, _ in counts)]
        return {f"pass@{size}": _pass_at(size, counts) for size in sizes}, results


def _result(task: int, index: int, verdict: ProgramVerdict) -> Result:
    return Result(task_id=task, completion_id=index, passed=verdict.passed, result=verdict.reason or "passed")


def program(code: str, tests: str) -> Program:
    """The program with its tests as one: the names that the tests use and do not bind are the program's functions, or
    modules of the standard library, or Python's own, which a program may replace. Raises SyntaxError for tests that
    are not Python."""
    names = free_names(tests)
    modules = names & sys.stdlib_module_names
    pythons = {name for name in names & set(dir(builtins)) if not re.search(rf"^def {name}\b", code, re.MULTILINE)}
    return Program(
        source=code,
        tests=(tests,),
        setup="\n".join(f"import {name}" for name in sorted(modules)),
        functions={name: name for name in sorted(names - modules - pythons)},
        limits=LIMITS,
    )


def free_names(source: str) -> set[str]:
    """Names that trusted source reads and binds nowhere, Python's own among them."""
    with warnings.catch_warnings():  # old data sets hold escapes that Python warns of
        warnings.simplefilter("ignore")
        nodes = list(ast.walk(ast.parse(source)))
    read = {node.id for node in nodes if isinstance(node, ast.Name) and isinstance(node.ctx, ast.Load)}
    bound = {node.id for node in nodes if isinstance(node, ast.Name) and not isinstance(node.ctx, ast.Load)}
    bound |= {node.name for node in nodes if isinstance(node, ast.FunctionDef | ast.ClassDef)}
    bound |= {node.arg for node in nodes if isinstance(node, ast.arg)}
    bound |= {(node.asname or node.name).partition(".")[0] for node in nodes if isinstance(node, ast.alias)}
    bound |= {node.name for node in nodes if isinstance(node, ast.ExceptHandler) and node.name}
    return read - bound


def _pass_at(size: int, counts: Sequence[tuple[int, int]]) -> float:
    """The unbiased estimator (Chen et al. 2021, arXiv 2107.03374, eq. 1), a mean over problems."""
    chances = [1 - math.comb(total - right, size) / math.comb(total, size) for total, right in counts]
    return sum(chances) / len(chances)


def install() -> None:
    """From now on `evaluate.load("code_eval")` gives this metric; all others are loaded as before."""
    original = evaluate.load
    if hasattr(original, "__wrapped__"):
        return

    @functools.wraps(original)
    def load(path: str, *arguments: Any, **options: Any) -> Any:
        return CodeEval() if path == NAME else original(path, *arguments, **options)

    evaluate.load = load
