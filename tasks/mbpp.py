"""MBPP, short Python functions from a sentence and three asserts (Austin et al. 2021, arXiv 2108.07732); the
sanitized version, whose test split is the 257 tasks 11-510.

Metrics and rewards: harness/scoring/code.py. The asserts stand in the prompt, as in the papers; each is one test.
"""

from __future__ import annotations

import random
from collections.abc import Mapping
from dataclasses import replace
from typing import Any, ClassVar

from harness.data.hub import HubSplit
from harness.data.sources import DataSource, read_rows
from harness.errors import UserError
from harness.generators.problem import demonstrate, demonstrate_worked
from harness.generators.programs import CARELESS_SHARE, draw_mbpp, mbpp_rows
from harness.registry import task
from harness.scoring import kodcode
from harness.scoring.code import CodeTask, as_block, functions_in, imports_of, modules_in
from harness.scoring.sandbox.job import Limits, Program
from harness.task.base import Demonstration, Example, Message, require_split, required
from harness.task.rows import source_rows

FILE = "mbpp/sanitized-mbpp.json"
REVISION = "4bb6404fdc6cacfda99d4ac4205087b89d32030c"
# Task numbers of the splits, as the data set defines them.
NUMBERS = {"test": range(11, 511), "validation": range(511, 601), "train": range(601, 975)}

CPU_SECONDS = {"assert amicable_numbers_sum(9999)==31626": 8}
"""Of programs that have to pass these tests. The reference program of task 123 computes for 3 seconds, that of any
other task for less than a seventh of the usual limit."""

PROMPT = """\
{question}

The program has to pass these tests:
{tests}

Think it through between <reasoning> and </reasoning>. Then write the whole program as one block that begins with \
```python and ends with ```, between <answer> and </answer>."""


@task("mbpp", title="MBPP")
class Mbpp(CodeTask):
    """`Example.target` has `test_list`, `setup` (imports of the tests), `functions` (names that tests call) and
    `tests` (the asserts as one text)."""

    name = "mbpp"
    files: ClassVar[Mapping[str, str]] = dict.fromkeys(NUMBERS, FILE)
    hub: ClassVar[Mapping[str, HubSplit]] = {
        "train": kodcode.HUB,
        **{
            split: HubSplit(dataset="google-research-datasets/mbpp", config="sanitized", split=split, revision=REVISION)
            for split in ("validation", "test")
        },
    }
    numbering: ClassVar[Mapping[str, range]] = NUMBERS
    prompt_fields = ("tests",)

    def examples(self, split: str, source: DataSource) -> list[Example]:
        """The tasks of a split of MBPP, for training KodCode where the source has it, or the self-written problems.

        Raises UserError for a source that has none.
        """
        require_split(split)
        if source.kind == "builtin":
            return self.builtin_examples(split)
        if kodcode.trains_on(split, source):
            return kodcode.read(source)
        rows = source_rows(self, split, source)
        return [self.read_row(row) for row in rows if required(row, "task_id")[0] in NUMBERS[split]]

    def identified(self, split: str, source: DataSource) -> list[Example]:
        """With a folder's examples all 427 tasks of its file, whatever their split: their numbers tell them apart."""
        examples = self.examples(split, source)
        if source.kind != "dir":
            return examples
        known = {example.id for example in examples}
        return examples + [one for one in map(self.read_row, read_rows(source.file(FILE))) if one.id not in known]

    def origin(self, split: str, source: DataSource) -> dict[str, Any]:
        """Names KodCode's file or data set where training examples are of it."""
        return kodcode.origin(source) if kodcode.trains_on(split, source) else super().origin(split, source)

    def builtin_examples(self, split: str) -> list[Example]:
        """Self-written problems in MBPP's form, harness/generators/programs.py."""
        return [replace(self.read_row(row), id=f"builtin-{split}-{row['task_id']:04d}") for row in mbpp_rows(split)]

    def demonstrations(self, count: int, rng: random.Random) -> list[Demonstration]:
        """Self-written problems of the train split with careless and right programs."""
        return demonstrate(draw_mbpp, count, rng, careless=CARELESS_SHARE)

    def worked_demonstrations(
        self, count: int, rng: random.Random, careless: float = CARELESS_SHARE
    ) -> list[Demonstration]:
        """The same with the parts of the program before it."""
        return demonstrate_worked(draw_mbpp, count, rng, careless=careless, shown=as_block)

    def read_row(self, row: Mapping[str, Any]) -> Example:
        """A row with `task_id`, `prompt` (`text` in the full version), `code`, `test_list` and `test_imports`."""
        number, code, tests = required(row, "task_id", "code", "test_list")
        imports = "\n".join(row.get("test_imports") or [str(row.get("test_setup_code") or "")])
        question = str(row.get("prompt") or row.get("text") or "")
        example = self._example(question, [str(test) for test in tests], imports, str(code))
        return replace(example, id=f"mbpp-{number}")

    def example_for(self, question: str, target: Any) -> Example:
        """target: the asserts, as a list or as one text."""
        lines = target if isinstance(target, list | tuple) else str(target).splitlines()
        tests = [str(line).strip() for line in lines if str(line).strip()]
        imports = [line for line in tests if line.startswith(("import ", "from "))]
        return self._example(question, [line for line in tests if line not in imports], "\n".join(imports), "")

    def _example(self, question: str, tests: list[str], imports: str, code: str) -> Example:
        try:
            # A reference program and its tests share one module, so its imports are the tests' too.
            setup = f"{imports}\n{imports_of(code)}".strip()
            setup = f"{setup}\n{modules_in(tests, setup)}".strip()
            functions = functions_in(tests, setup, code)
        except SyntaxError as error:
            raise UserError(f"The tests of '{question[:60]}' are not Python: {error}.") from error
        if not tests or not functions:
            raise UserError(f"The tests of '{question[:60]}' call no function.")
        target = {"test_list": tests, "setup": setup, "functions": list(functions), "tests": "\n".join(tests)}
        target |= {"code": code} if code else {}
        return Example(id=question, question=question, target=target)

    def prompt(self, example: Example) -> list[Message]:
        """One user message: the task, its tests, and where reasoning and program go."""
        if kodcode.is_kodcode(example):
            return kodcode.prompt(example)
        content = PROMPT.format(question=example.question, tests="\n".join(example.target["test_list"]))
        return [{"role": "user", "content": content}]

    def limits(self, example: Example) -> Limits:
        """More processor time for the programs of a test that takes a right one seconds."""
        usual = super().limits(example)
        seconds = [CPU_SECONDS.get(test, 0) for test in example.target.get("test_list", ())]
        return replace(usual, cpu_seconds=max([usual.cpu_seconds, *seconds]))

    def program(self, example: Example, code: str, grader: str) -> Program:
        """The code as it stands; the tests call functions by the names they know."""
        target = example.target
        return Program(
            source=code,
            tests=target["test_list"],
            setup=target["setup"],
            functions={name: name for name in target["functions"]},
        )
