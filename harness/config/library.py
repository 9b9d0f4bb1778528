"""The recipes looked over: which there are, for which tasks, whose values they hold, and who sets a key. No torch."""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

from harness import registry
from harness.config.recipe_files import TASKS, USUAL
from harness.config.recipes import built_in_folder, load_recipe, protocol_of, recipes_of
from harness.config.resolve import Layer, flatten
from harness.config.sources import layer_sources

AUTHOR = re.compile(r"([\w-]+)'s ")
"""In the source of a value: EGSPO's train.yaml."""
OURS = "ours"


@dataclass(frozen=True, kw_only=True)
class NamedRecipe:
    """A recipe of a method. tasks: that it is for. model: that it is for, empty where it leaves it open. values_from:
    whose papers and code state its values, and `ours` where some are ours."""

    method: str
    section: str
    tasks: tuple[str, ...]
    model: str
    values_from: tuple[str, ...]

    @property
    def name(self) -> str:
        """As --recipe takes it: `egspo-sa:paper`."""
        return f"{self.method}:{self.section}"


@dataclass(frozen=True, kw_only=True)
class Statement:
    """A value of a key that a file states. recipe: `egspo:paper`, or `paper` in the protocol of a task, for every
    method that has no value of its own. task: that it is for, empty for all. source: where it is known from."""

    recipe: str
    task: str
    value: Any
    source: str


def named_recipes() -> list[NamedRecipe]:
    """Every recipe of every registered method. Runs none of the methods' files."""
    return [
        _named(method, section, tasks)
        for method in registry.names("method")
        for section, tasks in sections_of(method).items()
    ]


def sections_of(method: str) -> dict[str, tuple[str, ...]]:
    """The recipes of a method, its own and those that the tasks' protocols give it, with the tasks of each."""
    own = recipes_of(method, built_in_folder())
    found: dict[str, list[str]] = {}
    for task in tasks_with_protocol():
        for section in {**protocol_of(task, built_in_folder()), **own}:
            found.setdefault(section, []).append(task)
    return {name: tuple(found[name]) for name in sorted(found, key=_usual_first)}


def tasks_with_protocol() -> list[str]:
    """The registered tasks that recipes can be for."""
    return [name for name in registry.names("task") if protocol_of(name, built_in_folder())]


def statements(key: str, method: str = "") -> Iterator[Statement]:
    """Who sets a dotted key: every value of it that a protocol or a recipe states, protocols first. method: whose
    recipes, with those that they extend; all by default."""
    layers = {
        (layer.file, layer.section): layer
        for name in ([method] if method else registry.names("method"))
        for section, tasks in sections_of(name).items()
        for task in tasks
        for layer in load_recipe(section, method=name, task=task)
    }
    for layer in sorted(layers.values(), key=lambda layer: (layer.source, layer.file.stem)):
        values = flatten(layer.values)
        if key in values:
            recipe, task = _whose(layer)
            yield Statement(recipe=recipe, task=task, value=values[key], source=layer_sources(layer)[key])


def _whose(layer: Layer) -> tuple[str, str]:
    """The recipe and the task that a layer is for. A protocol lies in a file named after its task, a recipe in one
    named after its method."""
    section, _, task = layer.section.partition(f".{TASKS}.")
    return (section, layer.file.stem) if layer.source == "protocol" else (f"{layer.file.stem}:{section}", task)


def _named(method: str, section: str, tasks: tuple[str, ...]) -> NamedRecipe:
    authors: dict[str, None] = {}
    models: dict[str, None] = {}
    for task in tasks:
        model, stated = "", dict[str, str]()
        for layer in load_recipe(section, method=method, task=task):
            stated |= layer_sources(layer)
            model = flatten(layer.values).get("model.name", model)
        models |= {model: None} if model else {}
        for source in stated.values():
            authors |= dict.fromkeys([OURS] if OURS in source else AUTHOR.findall(source))
    ordered = sorted(authors, key=lambda name: (name == OURS, name.lower()))
    return NamedRecipe(method=method, section=section, tasks=tasks, model=", ".join(models), values_from=tuple(ordered))


def _usual_first(section: str) -> tuple[int, str]:
    return (USUAL.index(section) if section in USUAL else len(USUAL), section)
