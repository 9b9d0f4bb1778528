"""Prompts of the user's own and worked examples before the question.

A prompts file is YAML, task to chat messages, or to those of evaluation and of training where they differ:

    gsm8k:
      - {role: system, content: "Answer with a number."}
      - {role: user, content: "{question}"}
    sudoku:
      evaluation:
        - {role: user, content: "{puzzle}"}
        - {role: assistant, content: "<reasoning>"}
      training:
        - {role: user, content: "{puzzle}"}

What may stand in braces: harness/task/template.py. An assistant's message at the end is a prefill: the beginning of the
answer, put behind the rendered messages as it stands. It is no part of the completion that is scored.
"""

from __future__ import annotations

import hashlib
import random
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from harness.errors import UserError, unknown_choice
from harness.records.small import parse_yaml, read_small
from harness.task.base import Example, Message, Task
from harness.task.messages import MOST_SHOWN, read_messages, split_prefill
from harness.task.template import PLACEHOLDER, Prompting, mistakes

ROLES = ("system", "user", "assistant")
EVALUATION, TRAINING = PHASES = ("evaluation", "training")
LARGEST_FILE = 1 << 18
DRAW = "few-shot"
COMPACT_ONLY = (
    "The tiny model reads short fixed prompts; leave out --prompts and --few-shot, or choose another --model."
)


@dataclass(frozen=True, kw_only=True)
class PromptsFile:
    """A prompts file as it was read; sha256 is of its bytes."""

    path: Path
    sha256: str
    templates: Mapping[str, Mapping[str, tuple[Message, ...]]]

    def template(self, task: Task | type[Task], phase: str = EVALUATION) -> tuple[Message, ...]:
        """The messages of a task in one of PHASES. Raises UserError where there are none, or where they name unknown
        fields."""
        if task.name not in self.templates:
            listed = ", ".join(sorted(self.templates))
            raise UserError(f"{self.path} has no prompt for '{task.name}'; it has: {listed or 'none'}.")
        template = self.templates[task.name][phase]
        known = ("question", *task.prompt_fields)
        texts = [message["content"] for message in template]
        for name in (name for text in texts for name in mistakes(text, known)):
            kind = f"placeholder of {task.name} in {self.path}"
            raise unknown_choice(kind, name, known, fix="Write it in double braces to keep it as it stands.")
        if not any(match.group(2) in known for text in texts for match in PLACEHOLDER.finditer(text)):
            listed = ", ".join(f"{{{name}}}" for name in known)
            raise UserError(f"The prompt for '{task.name}' in {self.path} shows nothing of the item; use {listed}.")
        return template


def read_prompts(path: Path, tasks: Sequence[str]) -> PromptsFile:
    """Reads a prompts file. tasks: the names that there are.

    Raises UserError where it is no mapping of known tasks to messages.
    """
    try:
        content = read_small(path, LARGEST_FILE)
        tree = parse_yaml(content.decode("utf-8"))
    except OSError as error:
        raise UserError(f"Prompts file '{path}' cannot be read: {error.strerror}.") from error
    except ValueError as error:
        raise UserError(f"Prompts file '{path}' is not YAML: {str(error).splitlines()[0]}.") from error
    if not isinstance(tree, dict) or not tree:
        raise UserError(f"Prompts file '{path}' must map tasks to lists of messages.")
    for name in tree:
        if name not in tasks:
            raise unknown_choice(f"task in {path}", str(name)[:MOST_SHOWN], tasks)
    templates = {name: _templates(value, f"{path}, {name}") for name, value in tree.items()}
    return PromptsFile(path=path, sha256=hashlib.sha256(content).hexdigest(), templates=templates)


def _templates(value: Any, place: str) -> dict[str, tuple[Message, ...]]:
    """The messages of a task by phase: one list for both, or one for each."""
    if not isinstance(value, dict):
        return dict.fromkeys(PHASES, _template(value, place))
    if set(value) != set(PHASES):
        raise UserError(f"{place}: a task has one list of messages, or two under {' and '.join(PHASES)}.")
    return {phase: _template(value[phase], f"{place}, {phase}") for phase in PHASES}


def _template(value: Any, place: str) -> tuple[Message, ...]:
    """Messages of known roles; the user's is the last, or the last before a prefill."""
    messages = read_messages(value, place)
    for message in messages:
        if message["role"] not in ROLES:
            raise unknown_choice(f"role in {place}", message["role"][:MOST_SHOWN], ROLES)
    asked, _ = split_prefill(messages)
    if not asked or asked[-1]["role"] != "user":
        raise UserError(f"{place}: the last message must be the user's, before an assistant's that begins the answer.")
    return messages


def set_prompts(task: Task, file: PromptsFile | None, train: Sequence[Example], few_shot: int) -> list[Example]:
    """Gives the task the user's prompts and worked examples; returns the training examples that are left.

    Raises UserError where the file does not fit the task, or training examples are too few or have no worked answer.
    """
    task.prompting = Prompting(template=file.template(task) if file else ())
    left = list(train)
    if few_shot:
        drawn = draw_examples(train, few_shot)
        task.prompting = replace(task.prompting, shots=shots_of(task, drawn))
        shown = {example.id for example in drawn}
        left = [example for example in train if example.id not in shown]
    training = file.template(task, TRAINING) if file else ()
    if training == task.prompting.template:
        return left
    task.prompting = replace(task.prompting, training=training)
    return [replace(example, training=True) for example in left]


def draw_examples(train: Sequence[Example], count: int) -> list[Example]:
    """`count` training examples, the same in every run. Raises UserError where there are not as many."""
    if count > len(train):
        raise UserError(f"--few-shot {count}, but the training split has {len(train)} examples.")
    return random.Random(DRAW).sample(list(train), count)


def shots_of(task: Task, drawn: Sequence[Example]) -> tuple[Mapping[str, str], ...]:
    """The turns of worked examples: what the task would ask, and its worked answer."""
    turns: list[Mapping[str, str]] = []
    for example in drawn:
        asked, _ = split_prefill(task.messages(example))
        turns += [message for message in asked if message["role"] != "system"]
        turns.append({"role": "assistant", "content": task.worked_answer(example)})
    return tuple(turns)
