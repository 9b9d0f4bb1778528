"""Tasks whose answer is a Python program: reading the program from the text, rewards and verdicts from the sandbox.

    pass@1             share of items whose program passes all tests (the robust reading, harness/scoring/programs.py)
    official_pass@1    the same for EGSPO's reading: the first ```python block of the text

Rewards by profile (parts are added up):
    official  EGSPO: correctness is the share of tests passed, 0.5 where the block stands inside the first answer
              block, tag counts up to 0.5; nothing for tests that name no function, no correctness for a program
              without `def` or, where tests import nothing, with anything after its last line break
    espo      form 1 for one block at the end of the text (0.5 with a syntax error), and correctness, the share of
              tests passed, for a form of 1
    correctness  1 where all tests pass

The tests run in a sandbox and outside the program's own process, so that no list of forbidden words stands in for
one: EGSPO's code refuses a comment with ` sys`, and lets a program end with status 0 before its tests.
"""

from __future__ import annotations

import ast
import builtins
import re
import sys
import warnings
from abc import abstractmethod
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from functools import partial

from harness.errors import UserError
from harness.scoring import kodcode
from harness.scoring.answers import official_first_answer
from harness.scoring.official_format import tag_counts
from harness.scoring.programs import Reading, defined_names, names_bound, read_program
from harness.scoring.sandbox.client import Sandbox, open_sandbox
from harness.scoring.sandbox.job import Limits, Program, ProgramVerdict
from harness.scoring.sandbox.packages import versions
from harness.task.base import GRADERS, OFFICIAL, ROBUST, Example, Reward, Score, Task, Verdict, outcome, worked

FENCE = "```"
PYTHON_FENCE = "```python\n"
DEFINED = re.compile(r"def (\w+)\(")
IMPORTED = re.compile(r"from solution import (\w+)")
ASSERTED = re.compile(r"assert\s+(\w+)\s*\(")
TEST_FUNCTION = re.compile(r"def (\w+)\(\):")
IN_ANSWER = 0.5
IMPORTS = (ast.Import, ast.ImportFrom)
SYNTAX_CHECK = "import ast\ndef check(text):\n    ast.parse(text)\n    return True\n"


def first_block(text: str) -> str | None:
    """The first ```python block, as EGSPO and ESPO read it; None without one."""
    start = text.find(PYTHON_FENCE)
    end = text.find(FENCE, start + len(PYTHON_FENCE)) if start >= 0 else -1
    return text[start + len(PYTHON_FENCE) : end] if end >= 0 else None


def as_block(code: str) -> str:
    """The code as the prompts ask for it."""
    return f"{PYTHON_FENCE}{code}\n{FENCE}"


def espo_form(text: str) -> bool:
    """Whether the text ends in its one block, and that block is Python's."""
    start = text.find(FENCE)
    end = text.find(FENCE, start + len(PYTHON_FENCE)) if start >= 0 else -1
    return text.startswith(PYTHON_FENCE, start) and end >= 0 and text[end + len(FENCE) :] in ("", "\n")


def functions_in(tests: Sequence[str], setup: str, reference: str = "") -> tuple[str, ...]:
    """The functions of the program that tests call.

    With a reference program, the names in the tests that it binds; otherwise the names that tests call and that
    neither they, nor the setup, nor Python bind, or without any such name what the asserts begin with, as MBPP asks for
    a function called `sum`. Raises SyntaxError for tests that are not Python.
    """
    trees = [_parse(test) for test in tests]
    nodes = [node for tree in trees for node in ast.walk(tree)]
    if reference:
        used = {node.id for node in nodes if isinstance(node, ast.Name)}
        return tuple(
            sorted(used & names_bound(node for node in _parse(reference).body if not isinstance(node, IMPORTS)))
        )
    called = {node.func.id for node in nodes if isinstance(node, ast.Call) and isinstance(node.func, ast.Name)}
    known = names_bound([_parse(setup), *trees]) | set(dir(builtins))
    asserted = {name for test in tests for name in ASSERTED.findall(test)}
    return tuple(sorted(called - known or called & asserted))


def _parse(source: str) -> ast.Module:
    """The syntax tree of trusted source; old data sets hold escapes that Python warns of."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        return ast.parse(source)


def imports_of(source: str) -> str:
    """The import lines at the top level of trusted source. Raises SyntaxError where it is not Python."""
    nodes = _parse(source).body
    return "\n".join(ast.unparse(node) for node in nodes if isinstance(node, IMPORTS))


def modules_in(tests: Sequence[str], setup: str) -> str:
    """Imports of the standard modules whose attributes tests use without importing them.

    Tests of MBPP count on the program for these. Raises SyntaxError for tests that are not Python.
    """
    trees = [_parse(setup), *map(_parse, tests)]
    bases = {node.value.id for node in _attributes(trees) if isinstance(node.value, ast.Name)}
    return "\n".join(f"import {name}" for name in sorted(bases & sys.stdlib_module_names - names_bound(trees)))


def _attributes(trees: Sequence[ast.Module]) -> Iterator[ast.Attribute]:
    return (node for tree in trees for node in ast.walk(tree) if isinstance(node, ast.Attribute))


def official_program(code: str | None, tests: str) -> Program | None:
    """EGSPO's training run of a block: a program with one test each; None where its code does not come to run any."""
    imported = IMPORTED.search(tests)
    named = imported or ASSERTED.search(tests)
    defined = DEFINED.search(code or "")
    if not code or not named or not defined:
        return None
    if not imported and not code.endswith("\n"):
        return None
    wanted = named.group(1)
    own = re.search(rf"\bdef {wanted}\b", code) is not None
    functions = {wanted: wanted if own else defined.group(1)}
    program = Program(source=code, tests=(), functions=functions)
    names = TEST_FUNCTION.findall(tests)
    if len(names) > 1:
        return replace(program, tests=[f"{name}()" for name in names], setup=tests)
    asserts = [line.strip() for line in tests.strip().splitlines() if line.strip().startswith("assert")]
    return replace(program, tests=asserts)


class CodeTask(Task):
    """A task whose completions are programs. `Example.target` has `tests`, one text as EGSPO's training reads it."""

    metrics = ("pass@1", "official_pass@1")
    profiles = ("official", "espo", "correctness")
    scores_elsewhere = True

    @abstractmethod
    def program(self, example: Example, code: str, grader: str) -> Program | None:
        """The program that evaluates a piece of code from a completion; None where it cannot come to run."""

    def limits(self, example: Example) -> Limits:
        """What the programs of an example may use up."""
        return kodcode.LIMITS if kodcode.is_kodcode(example) else Limits()

    def worked_answer(self, example: Example) -> str:
        """The reference program as a block. Raises UserError for an item without one."""
        code = example.target.get("code", "").strip()
        if not code:
            raise UserError(f"{example.id} has no reference program for --few-shot.")
        return worked("The program follows the description and passes the tests.", as_block(code))

    def sandbox(self) -> Sandbox:
        """Raises UserError where the machine has none and the options insist on one."""
        return open_sandbox(
            unsafe_local_exec=self.options.unsafe_local_exec, allowed=tuple(self.options.allow_packages)
        )

    def importable(self) -> dict[str, str]:
        """The allowed packages by their own names. Raises UserError for one that is not installed."""
        return versions(self.options.allow_packages)

    def prepare(self) -> None:
        """Starts the sandbox, so that a large process never has to."""
        self.sandbox()

    def interrupt(self) -> None:
        """Ends the programs that run in the sandbox; a later one starts it anew."""
        self.sandbox().close()

    def rewards(self, examples: Sequence[Example], completions: Sequence[str]) -> list[Reward]:
        """Completion i against example i, each different program run once."""
        if self.options.profile == "correctness":
            verdicts = self._verdicts(examples, completions, ROBUST)
            return [Reward.of({"correctness": float(verdict.correct)}) for verdict in verdicts]
        if self.options.profile == "espo":
            return self._espo_rewards(examples, completions)
        pairs = list(zip(examples, completions, strict=True))
        programs = [self._official_program(example, first_block(text)) for example, text in pairs]
        ran = run_each(self.sandbox(), programs)
        return [Reward.of(_official_parts(*pair, done)) for pair, done in zip(pairs, ran, strict=True)]

    def score(self, examples: Sequence[Example], completions: Sequence[str]) -> list[Score]:
        """Completion i against example i, by both graders."""
        rewards = self.rewards(examples, completions)
        by_grader = {grader: self._verdicts(examples, completions, grader) for grader in GRADERS}
        return [
            Score(
                reward=reward.total,
                correct=by_grader[ROBUST][index].correct,
                parts=reward.parts,
                metrics={"pass@1": by_grader[ROBUST][index].ratio, "official_pass@1": by_grader[OFFICIAL][index].ratio},
                extracted=by_grader[ROBUST][index].extracted,
                verdicts={grader: verdicts[index] for grader, verdicts in by_grader.items()},
            )
            for index, reward in enumerate(rewards)
        ]

    def _verdicts(self, examples: Sequence[Example], completions: Sequence[str], grader: str) -> list[Verdict]:
        pairs = list(zip(examples, completions, strict=True))
        readings = [self.read(example, text, grader) for example, text in pairs]
        programs = [
            None if reading.code is None else self._program(example, reading.code, grader)
            for example, reading in zip(examples, readings, strict=True)
        ]
        ran = run_each(self.sandbox(), programs)
        return [
            outcome(done is not None and done.passed, reading.code, reading.reason if done is None else done.reason)
            for reading, done in zip(readings, ran, strict=True)
        ]

    def _program(self, example: Example, code: str, grader: str) -> Program | None:
        kod = kodcode.is_kodcode(example)
        program = kodcode.program(example, code) if kod else self.program(example, code, grader)
        # A verdict is right or wrong: one test that fails decides it.
        return None if program is None else replace(program, every_test=False, limits=self.limits(example))

    def _official_program(self, example: Example, code: str | None) -> Program | None:
        program = official_program(code, example.target["tests"])
        return None if program is None else replace(program, limits=self.limits(example))

    def read(self, example: Example, text: str, grader: str) -> Reading:
        """The program that a grader finds in a completion."""
        if grader == OFFICIAL:
            return Reading(code=first_block(text), reason="no program")
        return read_program(text, bare=self.options.bare_answers, completes=partial(self.completes, example))

    def completes(self, example: Example, code: str) -> bool:
        """Whether a piece of code is Python that defines all that the tests call."""
        wanted = set(example.target["functions"])
        return bool(wanted) and wanted <= defined_names(code)

    def _espo_rewards(self, examples: Sequence[Example], completions: Sequence[str]) -> list[Reward]:
        codes = [first_block(text) if espo_form(text) else None for text in completions]
        checks = [None if code is None else _syntax_check(code) for code in codes]
        legal = [check is not None and check.passed for check in run_each(self.sandbox(), checks)]
        programs = [
            self._official_program(example, code) if is_legal else None
            for code, is_legal, example in zip(codes, legal, examples, strict=True)
        ]
        ran = run_each(self.sandbox(), programs)
        return [
            Reward.of(
                {
                    "correctness": 0.0 if done is None else done.fraction,
                    "form": 0.0 if code is None else 1.0 if is_legal else 0.5,
                }
            )
            for code, is_legal, done in zip(codes, legal, ran, strict=True)
        ]


def run_each(sandbox: Sandbox, programs: Sequence[Program | None]) -> list[ProgramVerdict | None]:
    """The verdict on each program; what occurs twice runs once."""
    unique = {_key(program): program for program in programs if program is not None}
    known = dict(zip(unique, sandbox.run(list(unique.values())), strict=True)) if unique else {}
    return [None if program is None else known[_key(program)] for program in programs]


def _key(program: Program) -> tuple[object, ...]:
    functions = tuple(program.functions.items())
    return program.source, tuple(program.tests), program.setup, functions, program.limits, program.every_test


def _syntax_check(code: str) -> Program:
    """Parses in the sandbox: a parser in C may crash on hostile text."""
    return Program(source=SYNTAX_CHECK, tests=[f"assert check({code.strip()!r})"], functions={"check": "check"})


def _official_parts(example: Example, completion: str, done: ProgramVerdict | None) -> Mapping[str, float]:
    tests, code = example.target["tests"], first_block(completion)
    named = IMPORTED.search(tests) or ASSERTED.search(tests)
    inside = bool(code) and f"{PYTHON_FENCE}{code}{FENCE}" in (official_first_answer(completion) or "")
    return {
        "correctness": 0.0 if done is None else done.fraction,
        "in_answer": IN_ANSWER * (inside and named is not None),
        "tags": tag_counts(completion),
    }
