"""One task as plain values: what it is, where its examples come from, what is measured, rewarded and asked, and who has
recipes for it. No torch."""

from __future__ import annotations

import inspect
import itertools
import sys
from collections.abc import Iterator, Sequence
from contextlib import suppress
from dataclasses import asdict
from typing import Any

from harness import registry
from harness.app import catalogue
from harness.app.data_folder import FILES
from harness.config.library import sections_of
from harness.config.meanings import explained_names, first_sentence
from harness.data.sources import DataSource
from harness.errors import UserError
from harness.task.base import SPLITS, Example, Task

Record = dict[str, Any]

BUILTIN = DataSource(kind="builtin")
GENERATORS = "harness.generators."
SHARED = f"{GENERATORS}problem"
"""What all generators use; it makes no problems itself."""


def task(name: str) -> Record:
    """A task: what its file says, its data, metrics, rewards and prompt, its protocols, and the recipes for it."""
    entry = registry.entry("task", registry.canonical_name("task", name))
    assert entry is not None
    cls, own = registry.get_task(entry.names[0]), entry.names[0]
    made = cls()
    builtin = {split: examples for split in SPLITS if (examples := _generated(made, split))}
    (protocols,) = (one["protocols"] for one in catalogue.tasks() if one["task"] == own)
    metrics, profiles = (_explained(cls, names) for names in (cls.metrics, cls.profiles))
    return {
        "shown": "task",
        "task": own,
        "title": entry.title,
        "aliases": list(entry.names[1:]),
        "about": first_sentence(_paragraph(inspect.getmodule(cls)) or _paragraph(cls)),
        "file": str(entry.path),
        "data": [*_builtin(builtin), *_folder(cls, own), *_hub(made)],
        "generator": _generator(cls) if builtin else None,
        "metrics": [{"metric": metric, "meaning": meaning} for metric, meaning in metrics.items()],
        "rewards": [{"profile": profile, "meaning": meaning} for profile, meaning in profiles.items()],
        "prompt": _prompt(made, next(itertools.chain.from_iterable(reversed(builtin.values())), None)),
        "placeholders": ["question", *cls.prompt_fields],
        "protocols": protocols,
        "papers": [_paper(one) for one in catalogue.protocols() if one["task"] == own],
        "methods": {method: recipes for method in registry.names("method") if (recipes := _recipes(method, own))},
    }


def _generated(task: Task, split: str) -> Sequence[Example]:
    """The built-in problems of a split, none where the task has no such split."""
    with suppress(UserError):
        return task.examples(split, BUILTIN)
    return ()


def _builtin(examples: dict[str, Sequence[Example]]) -> Iterator[Record]:
    for split, own in examples.items():
        yield {"source": BUILTIN.kind, "split": split, "examples": len(own), "origin": {}}


def _folder(cls: type[Task], name: str) -> Iterator[Record]:
    """The files of a folder of data. examples: None where their number is not known."""
    counts = {(split, file.path): items for file in FILES if name in file.tasks for split, items in file.items.items()}
    places = dict.fromkeys([*cls.files.items(), *counts])
    for split, path in sorted(places, key=lambda place: SPLITS.index(place[0])):
        yield {
            "source": "folder",
            "split": split,
            "examples": counts.get((split, path)) or None,
            "origin": {"file": path},
        }


def _hub(task: Task) -> Iterator[Record]:
    """Data sets on the hub, and what the task has in the place of one."""
    for split in SPLITS:
        if origin := asdict(task.hub[split]) if split in task.hub else _elsewhere(task, split):
            yield {"source": "hub", "split": split, "examples": None, "origin": origin}


def _elsewhere(task: Task, split: str) -> dict[str, Any]:
    """What stands for a split that is not on the hub."""
    with suppress(UserError):
        return task.origin(split, DataSource(kind="hub"))
    return {}


def _generator(cls: type[Task]) -> Record:
    """What makes the built-in problems: the module that the task's file takes them from, or the file itself."""
    module = inspect.getmodule(cls)
    used = {getattr(value, "__module__", None) or "" for value in vars(module).values()}
    for name in sorted(one for one in used if one.startswith(GENERATORS) and one != SHARED):
        return {"file": str(sys.modules[name].__file__), "about": _paragraph(sys.modules[name])}
    return {"file": inspect.getfile(cls), "about": first_sentence(_paragraph(cls.examples))}


def _explained(cls: type[Task], names: Sequence[str]) -> dict[str, str]:
    """What the docstrings of the task, and of what it is made from, list of each name; empty where none does."""
    found = dict.fromkeys(names, "")
    for base in [one for one in reversed(cls.__mro__) if one is not Task]:  # its file is that of TextTask, too
        for documented in (inspect.getmodule(base), base):
            found |= explained_names(inspect.getdoc(documented) or "", names)
    return found


def _prompt(task: Task, example: Example | None) -> Record | None:
    """What is asked of the first test problem that is built in: of a chat model, and of the tiny model."""
    if example is None:
        return None
    answer = ""
    with suppress(UserError):
        answer = task.worked_answer(example)
    messages = [dict(message) for message in task.messages(example)]
    return {"messages": messages, "worked_answer": answer, "tiny": task.compact_prompt(example)}


def _paper(protocol: Record) -> Record:
    lengths = dict.fromkeys(one["completion_length"] for one in protocol["decodings"])
    return {"protocol": protocol["protocol"], "lengths": list(lengths), "unavailable": protocol["unavailable"]}


def _recipes(method: str, task: str) -> list[str]:
    return [section for section, tasks in sections_of(method).items() if task in tasks]


def _paragraph(documented: object) -> str:
    return " ".join((inspect.getdoc(documented) or "").partition("\n\n")[0].split())
