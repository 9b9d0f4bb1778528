"""Examples for completions that name them by id, by position, or by the question in their prompt."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from functools import cached_property, lru_cache
from typing import Any

from harness.data.sources import DataSource
from harness.errors import UserError
from harness.task.base import Example, Task

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
        self._matches = lru_cache(PROMPTS_KEPT)(self._find_matches)

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

    def in_prompt(self, prompt: str) -> Example:
        """The example whose question stands in a prompt. Raises UserError where none does, or several that differ."""
        found, said = self._matches(prompt), f"the prompt {prompt.strip()[:60]!r}"
        if not found:
            raise UserError(f"No question of {self._where} stands in {said}; choose --data and --split.")
        if len(found) > 1:
            names = ", ".join(example.id for example in found[:3])
            raise UserError(f"The examples {names} of {self._where} all fit {said}; give rows with an id.")
        return found[0]

    def _find_matches(self, prompt: str) -> Sequence[Example]:
        """The examples with the longest question in a prompt; of like ones, those that show more of their own there;
        of those with the same target, one."""
        questions = ((example.question.strip(), example) for example in self._known.values())
        found = [(len(question), example) for question, example in questions if question and question in prompt]
        longest = max((length for length, _ in found), default=0)
        alike = [example for length, example in found if length == longest]
        shown = [self._lines_shown(example, prompt) for example in alike]
        best = [example for example, count in zip(alike, shown, strict=True) if count == max(shown)]
        return [one for index, one in enumerate(best) if all(one.target != other.target for other in best[:index])]

    def _lines_shown(self, example: Example, prompt: str) -> int:
        lines = (line for text in self.task.placeholders(example).values() for line in text.splitlines())
        return sum(line in prompt for line in lines)

    def at(self, number: int, text: str) -> Example | None:
        """The example of a row without an id: the one whose question stands in the text, otherwise by the number of the
        row, from 1. None for a number of the data set that the source leaves out.

        Raises UserError where the rows of the file cannot be matched to the examples.
        """
        found = self._matches(text)
        return found[0] if len(found) == 1 else self._in_order[number - 1]

    @cached_property
    def _in_order(self) -> Sequence[Example | None]:
        count, examples = self._count_rows(), self.task.examples(self._split, self._source)
        numbers = self.task.numbering.get(self._split)
        if count == len(examples):
            return examples
        if self._source.kind != "builtin" and numbers is not None and count <= len(numbers):
            return [self.find(number) for number in numbers]
        if self._source.kind != "builtin" and numbers is None and count < len(examples):
            return examples
        raise UserError(
            f"{count} lists of completions without ids cannot be matched to the {len(examples)} examples of "
            f"{self._where}; choose --data and --split."
        )


def _plain(identifier: str) -> str:
    return identifier.lower().replace("/", "-").replace("_", "-")
