"""A paper's prompts, read from the user's own clone of its authors' repository and written as a prompts file.

The wording is the authors' and not in this repository. Their files are parsed, never run.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml

from harness.config.published.prompt_hashes import constant_hashes, sha256
from harness.config.published.protocols import Protocol, PublishedPrompt, TaskProtocol
from harness.data.python_text import NAME_IN_BRACES, read_text
from harness.errors import UserError
from harness.records.jsonl import write_atomic
from harness.task.prompts import EVALUATION, TRAINING
from harness.task.template import fill

HEAD = """\
# Prompts of {repository}, read by `harness data prompts --protocol {name}`. The wording is its authors'.
"""


@dataclass(frozen=True, kw_only=True)
class TaskPrompts:
    """The messages of a task, those of training being those of evaluation where the authors have no others.

    verified: constants of their code that have the published sha256; changed: those that have another.
    """

    task: str
    evaluation: tuple[Mapping[str, str], ...]
    training: tuple[Mapping[str, str], ...]
    verified: tuple[str, ...]
    changed: tuple[str, ...]


def read_published_prompts(protocol: Protocol, clone: Path, tasks: Sequence[str] = ()) -> list[TaskPrompts]:
    """The prompts of the protocol's tasks, or of those that are named, in the order of the protocol.

    Raises UserError where `clone` is not a folder or lacks a text, and where the protocol has no prompts for a task.
    """
    if not clone.is_dir():
        address = f"https://github.com/{protocol.repository}"
        raise UserError(f"'{clone}' is not a folder; clone {address} and name the clone with --from.")
    known = [task for task, found in protocol.tasks.items() if found.evaluation or found.training]
    for task in tasks:
        if task not in known:
            raise UserError(
                f"Protocol '{protocol.name}' has no prompts for {task}; it has some for: {', '.join(known)}."
            )
    return [_task_prompts(protocol.tasks[task], clone) for task in known if not tasks or task in tasks]


def write_published_prompts(protocol: Protocol, prompts: Sequence[TaskPrompts], path: Path) -> None:
    """Writes a prompts file (harness/task/prompts.py). Raises OSError where it cannot be written."""
    tree: dict[str, Any] = {}
    for one in prompts:
        phases = {EVALUATION: list(map(dict, one.evaluation)), TRAINING: list(map(dict, one.training))}
        tree[one.task] = phases if one.evaluation != one.training else phases[EVALUATION]
    text = yaml.dump(tree, Dumper=_Dumper, allow_unicode=True, sort_keys=False, width=120)
    path.parent.mkdir(parents=True, exist_ok=True)
    write_atomic(path, HEAD.format(repository=protocol.repository, name=protocol.name) + text)


class _Dumper(yaml.SafeDumper):
    """Writes texts of several lines line by line, where YAML can."""

    def represent_str(self, data: str) -> yaml.ScalarNode:
        return self.represent_scalar("tag:yaml.org,2002:str", data, style="|" if "\n" in data else None)


_Dumper.add_representer(str, _Dumper.represent_str)


def _task_prompts(found: TaskProtocol, clone: Path) -> TaskPrompts:
    evaluation = found.evaluation or found.training
    training = found.training or found.evaluation
    assert evaluation is not None
    assert training is not None
    known = constant_hashes(found.protocol)
    places = {place for prompt in (evaluation, training) for place in prompt.read.values()} & known.keys()
    same = {place: sha256(_plain(read_text(clone, place, {}))) == known[place] for place in sorted(places)}
    return TaskPrompts(
        task=found.task,
        evaluation=messages_of(evaluation, clone),
        training=messages_of(training, clone),
        verified=tuple(place for place in same if same[place]),
        changed=tuple(place for place in same if not same[place]),
    )


def messages_of(prompt: PublishedPrompt, clone: Path) -> tuple[Mapping[str, str], ...]:
    """Messages as a prompts file has them, the authors' texts in place. Raises UserError where a text is missing."""
    texts: dict[str, str] = {}
    for name, place in prompt.read.items():
        fields = {expression: with_texts(stands, texts) for expression, stands in prompt.fields.items()}
        texts[name] = read_text(clone, place, fields)
    return tuple({**message, "content": with_texts(message["content"], texts)} for message in prompt.messages)


def _plain(template: str) -> str:
    """The text that a template without placeholders stands for."""
    return fill([{"content": template}], {})[0]["content"]


def with_texts(template: str, texts: Mapping[str, str]) -> str:
    """The template with names of texts replaced; other names in braces stay."""
    return NAME_IN_BRACES.sub(lambda match: texts.get(match[1], match[0]), template)
