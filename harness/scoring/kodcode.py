"""KodCode-Light-RL-10K (Xu et al. 2025, arXiv 2503.02951), the code problems that EGSPO and d1 trained on.

A row has `question`, `solution` and `test`, pytest text that imports the function from `solution`; `test_info` says
how the function is declared. Each test function without arguments is one test; rows with none, or whose tests import
nothing from `solution`, are left out. The sandbox has no pytest, so tests that import it get the few names that they
use of it: `raises`, `approx`, and marks and fixtures that do nothing.
"""

from __future__ import annotations

import ast
import warnings
from collections.abc import Mapping, Sequence
from typing import Any

from harness.data.hub import HubSplit, hub_origin, read_hub
from harness.data.sources import DataSource, read_rows, sha256_of_file
from harness.errors import UserError
from harness.scoring.sandbox.job import Limits, Program
from harness.task.base import Example, Message, required

FILE = "kodcode/train.jsonl"
HUB = HubSplit(
    dataset="KodCode/KodCode-Light-RL-10K", split="train", revision="dcf78a8bbba9a613b596ce993c4921a38687dfcc"
)
PROMPT = """\
{question}

The program has to define: {declaration}

Think it through between <reasoning> and </reasoning>. Then write the whole program as one block that begins with \
```python and ends with ```, between <answer> and </answer>."""

LIMITS = Limits(cpu_seconds=4)
"""The tests were written for pytest, which has none; what its ten thousand programs take has not been measured."""

# No function here is without arguments: those are taken for tests.
STAND_IN = """\
import math as _math, re as _re, sys as _sys, types as _types
class _Raises:
    def __init__(self, expected, match=None):
        self.expected, self.match = expected, match
    def __enter__(self):
        return self
    def __exit__(self, kind, value, trace):
        self.value = value
        if kind is None:
            raise AssertionError(f"nothing of {self.expected} was raised")
        fits = self.match is None or _re.search(self.match, str(value))
        return issubclass(kind, self.expected) and bool(fits)
class _Approx:
    def __init__(self, value, rel=None, abs=None):
        self.value = value
        self.rel = rel if rel is not None else 0.0 if abs is not None else 1e-6
        self.abs = 1e-12 if abs is None else abs
    def __eq__(self, other):
        if isinstance(self.value, (list, tuple)):
            same = len(self.value) == len(other)
            return same and all(_Approx(a, self.rel, self.abs) == b for a, b in zip(self.value, other))
        return _math.isclose(self.value, other, rel_tol=self.rel, abs_tol=self.abs)
class _Mark:
    def __getattr__(self, name):
        return self
    def __call__(self, *arguments, **keywords):
        plain = len(arguments) == 1 and not keywords and callable(arguments[0])
        return arguments[0] if plain else self
_sys.modules["pytest"] = _types.SimpleNamespace(raises=_Raises, approx=_Approx, mark=_Mark(), fixture=_Mark())
"""


def trains_on(split: str, source: DataSource) -> bool:
    """Whether a source's training examples are KodCode's: the hub's, and a folder's that has the file."""
    in_folder = source.folder is not None and (source.folder / FILE).is_file()
    return split == "train" and (source.kind == "hub" or in_folder)


def read(source: DataSource) -> list[Example]:
    """The problems of a folder's file or of the hub."""
    return read_problems(read_hub(HUB).rows if source.kind == "hub" else read_rows(source.file(FILE)))


def origin(source: DataSource) -> dict[str, Any]:
    """Where `read` reads, for the record."""
    return hub_origin(HUB) if source.kind == "hub" else {"file": FILE, "sha256": sha256_of_file(source.file(FILE))}


def read_problems(rows: Sequence[Mapping[str, Any]]) -> list[Example]:
    """The rows whose tests can be called, in their order. Raises UserError where a row lacks a column."""
    examples = [_example(row, number) for number, row in enumerate(rows)]
    return [example for example in examples if example is not None]


def is_kodcode(example: Example) -> bool:
    """Whether an example is of this data set."""
    return "test_functions" in example.target


def prompt(example: Example) -> list[Message]:
    """One user message: the problem, the declaration, and where reasoning and program go."""
    content = PROMPT.format(question=example.question, declaration=example.target["declaration"])
    return [{"role": "user", "content": content}]


def program(example: Example, code: str) -> Program:
    """The code as it stands, with one test per test function."""
    target = example.target
    return Program(
        source=code,
        tests=[f"{name}()" for name in target["test_functions"]],
        setup=target["tests"],
        functions={name: name for name in target["functions"]},
    )


def _example(row: Mapping[str, Any], number: int) -> Example | None:
    question, solution, tests = map(str, required(row, "question", "solution", "test"))
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            body = ast.parse(tests).body
    except (SyntaxError, ValueError, RecursionError, MemoryError) as error:
        raise UserError(f"The tests of KodCode row {number + 1} are not Python: {error}.") from error
    imports = [node for node in body if isinstance(node, ast.ImportFrom) and node.module == "solution"]
    names = [alias.name for node in imports for alias in node.names if alias.name != "*"]
    called = [node.name for node in body if isinstance(node, ast.FunctionDef) and _is_test(node)]
    if not names or not called:
        return None
    info: Mapping[str, Any] = next(iter(row.get("test_info") or ()), {})
    target = {
        "tests": f"{STAND_IN}{tests}" if "pytest" in tests else tests,
        "test_functions": called,
        "functions": sorted(set(names)),
        "entry_point": names[0],
        "declaration": str(info.get("function_declaration") or names[0]),
        "code": solution,
    }
    return Example(id=f"kodcode-{number}", question=question, target=target)


def _is_test(node: ast.FunctionDef) -> bool:
    arguments = [*node.args.posonlyargs, *node.args.args, *node.args.kwonlyargs]
    return node.name.startswith("test") and not arguments
