"""Examples for completions that name them by id, by position, or by the question in their prompt."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping, Sequence
from functools import cached_property, lru_cache
from typing import Any

from harness.data.sources import DataSource
from harness.errors import UserError
from harness.task.base import Example, Task

LAST_NUMBER = re.compile(r"\d+$")
PROMPTS_KEPT = 1024


class Lookup:
    """Examples of a task, read from a split of a source when the first one is asked for.

    count_rows: tells how many rows the file of completions has, for `at`.
    """

    def __init__(self, task: Task, split: str, source: DataSource, count_rows: Callable[[], int] = lambda: 0) -> None:
        self.task = task
        self._split = split
        self._source = source
        self._count_rows = count_rows
        self.in_prompt = lru_cache(PROMPTS_KEPT)(self._in_prompt)

    @cached_property
    def _known(self) -> Mapping[str, Example]:
        return {_plain(example.id): example for example in self.task.identified(self._split, self._source)}

    @property
    def _where(self) -> str:
        return f"{self.task.name}'s {self._split} split from '{self._source.label}'"

    def find(self, identifier: object) -> Example | None:
        """The example with an id: the example's own, `Mbpp/11` as EvalPlus writes it, or its number alone."""
        names = (_plain(str(identifier)), _plain(f"{self.task.name}-{identifier}"))
        return next((self._known[name] for name in names if name in self._known), None)

    def __getitem__(self, identifier: object) -> Example:
        """The example with an id. Raises UserError where none has it."""
        found = self.find(identifier)
        if found is None:
            name = str(identifier)[:80]
            raise UserError(f"No example in {self._where} has the id '{name}'; choose --data and --split.")
        return found

    def of(self, question: str, target: Any) -> Example:
        """The example that a question and its answer make; without an answer, the one whose question is in the text.

        For a task that cannot be graded from an answer, `target` may be an id. Raises UserError where there is none.
        """
        if type(self.task).example_for is not Task.example_for and target is not None:
            return self.task.example_for(question, target)
        return (self.find(target) if isinstance(target, str) else None) or self.in_prompt(question)

    def _in_prompt(self, prompt: str) -> Example:
        questions = ((example.question.strip(), example) for example in self._known.values())
        found = [(len(question), example) for question, example in questions if question and question in prompt]
        if not found:
            said = f"{prompt.strip()[:60]!r}"
            raise UserError(f"No question of {self._where} stands in the prompt {said}; choose --data and --split.")
        return max(found, key=lambda pair: pair[0])[1]

    def at(self, number: int) -> Example | None:
        """The example of a row without an id, by its number from 1.

        Where the file has as many rows as the split has examples, they go by their order. Otherwise they go by the
        examples' own numbers from the first on, as in the full MBPP, and a number that the source leaves out gives
        None. Raises UserError where neither can be.
        """
        return self._in_order[number - 1]

    @cached_property
    def _in_order(self) -> Sequence[Example | None]:
        count, examples = self._count_rows(), self.task.examples(self._split, self._source)
        if count == len(examples):
            return examples
        numbered = {int(found[0]): one for one in examples if (found := LAST_NUMBER.search(one.id))}
        first, last = min(numbered, default=0), max(numbered, default=-1)
        if self._source.kind == "builtin" or count > last - first + 1:
            raise UserError(
                f"{count} lists of completions without ids cannot be matched to the {len(examples)} examples of "
                f"{self._where}; choose --data and --split."
            )
        return [numbered.get(first + index) for index in range(count)]


def _plain(identifier: str) -> str:
    return identifier.lower().replace("/", "-").replace("_", "-")
