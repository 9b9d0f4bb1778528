"""How published papers evaluate: `baselines/protocols/papers/<name>.yaml` as checked records. No torch.

A file states facts read in the authors' code: decodings, items, worked examples, what grades, where training data come
from, and where in their code the texts of the prompts stand. The texts themselves are theirs and not in this
repository; `harness data prompts` reads them from a clone. A file may stand on another (`extends`): its values replace
the other's, those of a task one by one.
"""

from __future__ import annotations

import functools
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from harness import registry
from harness.config.build import build
from harness.config.decoding import Decoding
from harness.config.recipe_files import EXTENDS, TASKS
from harness.config.recipes import built_in_folder
from harness.errors import UserError, unknown_choice
from harness.records.small import parse_yaml, read_small
from harness.task.base import Message
from harness.task.messages import read_messages, split_prefill
from harness.task.prompts import PHASES

LARGEST_FILE = 1 << 16
DECODINGS = "decodings"
FOR_EACH_TASK = (DECODINGS, "grader", "grading")
"""What a protocol states for all its tasks, where a task does not state it itself."""


@dataclass(frozen=True, kw_only=True)
class PublishedPrompt:
    """How the authors' code makes a prompt.

    read: names to the places of texts in their repository (harness/data/python_text.py), in the order in which they are
    read. fields: an expression of their code to what stands for it, with names of earlier texts and placeholders of
    prompts files in braces. messages: chat messages with the same in braces.
    """

    messages: tuple[Message, ...]
    read: Mapping[str, str] = field(default_factory=dict)
    fields: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True, kw_only=True)
class TaskProtocol:
    """How a paper evaluates one task, and what it trains on.

    decodings: the published settings, one after the other; a length may stand there twice. items: the first so many of
    the task's test list, 0 for all. few_shot: worked examples that the prompt itself shows, not those of --few-shot.
    grader: one of harness.task.base.GRADERS; grading: how the published reader differs from it. test_data,
    training_data: in words. unavailable: why it cannot be evaluated here, empty where it can.
    """

    protocol: str
    task: str
    grader: str
    test_data: str
    decodings: tuple[Decoding, ...] = ()
    items: int = 0
    few_shot: int = 0
    grading: str = ""
    training_data: str = ""
    unavailable: str = ""
    evaluation: PublishedPrompt | None = None
    training: PublishedPrompt | None = None

    @property
    def lengths(self) -> tuple[int, ...]:
        """The completion lengths, each once."""
        return tuple(dict.fromkeys(decoding.completion_length for decoding in self.decodings))

    @property
    def prefill(self) -> str:
        """How the answer begins that evaluation asks the model to go on with; no part of the graded completion."""
        return split_prefill(self.evaluation.messages)[1] if self.evaluation else ""

    def decodings_at(self, length: int) -> tuple[Decoding, ...]:
        """The settings of a completion length. Raises UserError where the paper has none."""
        found = tuple(decoding for decoding in self.decodings if decoding.completion_length == length)
        if not found:
            known = ", ".join(map(str, self.lengths))
            raise UserError(f"Protocol '{self.protocol}' evaluates {self.task} at length {known}, not at {length}.")
        return found


@dataclass(frozen=True, kw_only=True)
class Protocol:
    """What one repository's code does. commit: where it was read. checkpoint: which one is evaluated; batch: rows at a
    time and their padding. notes: what else a reader should know."""

    name: str
    title: str
    repository: str
    commit: str
    checkpoint: str
    tasks: Mapping[str, TaskProtocol]
    batch: str = ""
    seed: int | None = None
    training_folder: str = ""
    notes: tuple[str, ...] = ()


def protocol_names() -> list[str]:
    """The names that `load_protocol` knows."""
    return sorted(path.stem for path in _folder().glob("*.yaml"))


@functools.cache
def load_protocol(name: str) -> Protocol:
    """The protocol of a paper. Raises UserError for an unknown name."""
    tree = _tree(name)
    folder = str(tree.get("training_folder", ""))
    shared = {key: tree.pop(key) for key in FOR_EACH_TASK if key in tree}
    tasks = {task: _task(name, task, {**shared, **values}, folder) for task, values in tree.pop(TASKS).items()}
    notes = tuple(tree.pop("notes", ()))
    protocol: Protocol = build(Protocol, {**tree, "name": name, "tasks": tasks, "notes": notes}, "")
    return protocol


def evaluation_protocol(name: str, task: str) -> TaskProtocol:
    """How the paper `name` evaluates a task. Raises UserError for an unknown name, and for a task that the paper does
    not evaluate or that cannot be evaluated here as it does."""
    protocol = load_protocol(name)
    task = registry.canonical_name("task", task)
    evaluated = [known for known, found in protocol.tasks.items() if not found.unavailable]
    if task not in protocol.tasks:
        raise unknown_choice(f"task of protocol '{name}'", task, evaluated)
    found = protocol.tasks[task]
    if found.unavailable:
        raise UserError(f"Protocol '{name}' cannot be followed on {task}: {found.unavailable}.")
    return found


def _folder() -> Path:
    return built_in_folder() / "protocols" / "papers"


def _tree(name: str) -> dict[str, Any]:
    """The values of a file over those that it stands on."""
    if name not in protocol_names():
        raise unknown_choice("protocol", name, protocol_names())
    own = parse_yaml(read_small(_folder() / f"{name}.yaml", LARGEST_FILE).decode("utf-8"))
    if EXTENDS not in own:
        return dict(own)
    base = _tree(own.pop(EXTENDS))
    tasks = {task: {**base[TASKS].get(task, {}), **values} for task, values in own.pop(TASKS, {}).items()}
    return {**base, **own, TASKS: {**base[TASKS], **tasks}}


def _task(protocol: str, task: str, values: Mapping[str, Any], training_folder: str) -> TaskProtocol:
    where = f"{protocol}.{task}"
    decodings = tuple(build(Decoding, one, f"{where}.{DECODINGS}") for one in values.get(DECODINGS, ()))
    for decoding in decodings:
        decoding.check(where)
    prompts = {
        phase: _prompt(values[phase], f"{where}.{phase}", training_folder) for phase in PHASES if phase in values
    }
    built: TaskProtocol = build(
        TaskProtocol, {**values, **prompts, DECODINGS: decodings, "protocol": protocol, "task": task}, where
    )
    return built


def _prompt(values: Mapping[str, Any], where: str, training_folder: str) -> PublishedPrompt:
    read = {name: place.replace("{training_folder}", training_folder) for name, place in values.get("read", {}).items()}
    messages = read_messages(values["messages"], where)
    built: PublishedPrompt = build(PublishedPrompt, {**values, "read": read, "messages": messages}, where)
    return built
