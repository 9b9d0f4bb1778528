"""Protocols and recipes, in YAML files. No torch.

A protocol, `baselines/protocols/tasks/<task>.yaml`, holds what belongs to a task for every method: lengths, decoding,
items, cadence; how single papers evaluate: harness/config/published/protocols.py. A recipe,
`baselines/recipes/<method>.yaml`, holds what a method has differently, for all tasks and, under `tasks`, for single
ones. Both have a section for either embedded model and one for the published protocol on large ones.

A user's own recipe is a file with the values of one section; `extends` names what they stand on, and `without` the
sections of that which are left out. A file with several sections is read as the built-in ones are
(harness/config/recipe_files.py), and `FILE.yaml:paper` names one of them. Protocols and recipes of a user's own tasks
and methods lie beside their files, in `protocols/<task>.yaml` and `recipes/<method>.yaml`.
"""

from __future__ import annotations

import functools
from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from harness import registry
from harness.config.build import build
from harness.config.decoding import Decoding
from harness.config.embedded import SMALL, TINY
from harness.config.recipe_files import (
    EXTENDS,
    PAPER,
    TASKS,
    WITHOUT,
    YAML,
    deeper,
    mapping,
    parts,
    place,
    recipe_in,
)
from harness.config.resolve import Layer
from harness.errors import UserError, from_here, require_choice, unknown_choice

PROTOCOL = Decoding(completion_length=256, block_length=32, num_steps=128)
"""The published protocol: two tokens per step."""
WITHOUT_PROTOCOL = {
    TINY: Decoding(),
    SMALL: Decoding(completion_length=64, block_length=16, num_steps=32),
}


def load_recipe(name: str, *, method: str, task: str, folder: Path | None = None) -> tuple[Layer, ...]:
    """The layers of a recipe, each over the one before.

    name: `tiny` or `paper` of the run's own method and task, `egspo-sa:paper` of another method,
    `egspo-sa/sudoku:paper` of another task too, a YAML file, or `FILE.yaml:tiny` of several in a file. A method without
    recipes of its own has the task's protocol. folder: with protocols/ and recipes/; the built-in one by default.

    Raises UserError where a file or a section is missing or is not a mapping, and for a recipe that extends itself.
    """
    library = Library(folder=folder or built_in_folder(), method=method, task=task)
    return library.layers(name, Path(), ())


def evaluation_decoding(task: str, *, tiny: bool) -> Decoding:
    """How the protocol of `task` evaluates the tiny model or large ones."""
    return protocol_decoding(task, TINY if tiny else PAPER)


def protocol_decoding(task: str, name: str) -> Decoding:
    """How the section `name` of the protocol of `task` evaluates; for a task without one the defaults for the tiny
    model, and for others the published protocol or a quarter of it."""
    section = protocol_of(task, built_in_folder()).get(name)
    if section is None:
        return WITHOUT_PROTOCOL.get(name, PROTOCOL)
    decoding: Decoding = build(Decoding, section["evaluation"]["decoding"], "evaluation.decoding")
    return decoding


def built_in_folder() -> Path:
    """The folder of protocols/ and recipes/."""
    return registry.recipes_folder().parent


def protocol_file(task: str, folder: Path) -> Path:
    """Where a task's protocol stands, if it has one: below `folder`, or beside the file of a user's own task."""
    own = registry.own_file("task", task)
    if own is not None:
        return own.parent / "protocols" / f"{task}.yaml"
    return folder / "protocols" / "tasks" / f"{task}.yaml"


def recipe_file(method: str, folder: Path) -> Path:
    """Where a method's recipes stand, if it has any: below `folder`, or beside the file of a user's own method."""
    own = registry.own_file("method", method)
    return (own.parent if own else folder) / "recipes" / f"{method}.yaml"


def protocol_of(task: str, folder: Path) -> Mapping[str, Any]:
    """The sections of a task's protocol, none where it has no protocol. Raises UserError for one that does not say how
    to evaluate."""
    path = protocol_file(task, folder)
    sections = _sections(path)
    if registry.own_file("task", task) is not None:
        _check_protocol(sections, path)
    return sections


def recipes_of(method: str, folder: Path) -> Mapping[str, Any]:
    """The sections of a method's recipes, none where it has no recipes."""
    return _sections(recipe_file(method, folder))


@dataclass(frozen=True, kw_only=True)
class Library:
    """The recipes that a run of `method` on `task` can name."""

    folder: Path
    method: str
    task: str

    def layers(self, name: str, beside: Path, above: tuple[str, ...]) -> tuple[Layer, ...]:
        """The layers of the recipe `name`. beside: where relative files are looked for. above: what extends it."""
        where, section = parts(name)
        if where.endswith(YAML):
            path = beside / where
            return self._from_file(path, section, deeper(place(path, section), above))
        method, _, task = where.partition("/")
        chosen = replace(
            self,
            method=registry.canonical_name("method", method) if method else self.method,
            task=registry.canonical_name("task", task) if task else self.task,
        )
        return chosen._built_in(section, deeper(f"{chosen.method}/{chosen.task}:{section}", above))

    def _from_file(self, path: Path, section: str, above: tuple[str, ...]) -> tuple[Layer, ...]:
        recipe = recipe_in(path, section)
        base = self._base(recipe, path.parent, above) if EXTENDS in recipe else self._protocol(section)
        return (*base, *_own_layers(recipe, self.task, path, section))

    def _protocol(self, section: str) -> tuple[Layer, ...]:
        """What one of several recipes in a file stands on where it extends nothing."""
        shared, file = protocol_of(self.task, self.folder), protocol_file(self.task, self.folder)
        values = shared.get(section)
        return (Layer(source="protocol", values=values, file=file, section=section),) if values else ()

    def _base(self, recipe: Mapping[str, Any], beside: Path, above: tuple[str, ...]) -> tuple[Layer, ...]:
        """What a recipe extends, less the sections that it names as left out."""
        layers = self.layers(str(recipe[EXTENDS]), beside, above)
        left_out = recipe.get(WITHOUT) or []
        left_out = [left_out] if isinstance(left_out, str) else left_out
        sections = sorted({key for layer in layers for key in layer.values})
        for name in left_out:
            require_choice(f"section in '{WITHOUT}' of a recipe that extends '{recipe[EXTENDS]}'", str(name), sections)
        return tuple(
            replace(layer, values={key: value for key, value in layer.values.items() if key not in left_out})
            for layer in layers
        )

    def _built_in(self, section: str, above: tuple[str, ...]) -> tuple[Layer, ...]:
        shared, own = protocol_of(self.task, self.folder), recipes_of(self.method, self.folder)
        if not shared:
            raise self._no_protocol(section)
        if section not in {**shared, **own}:
            kind = f"recipe for {self.method} on {self.task}"
            raise unknown_choice(kind, section, {**shared, **own}, fix="A file is named by --recipe FILE.yaml.")
        recipe = _require_mapping(own.get(section) or {}, section)
        if EXTENDS in recipe:
            base = self._base(recipe, recipe_file(self.method, self.folder).parent, above)
        else:
            file = protocol_file(self.task, self.folder)
            base = (Layer(source="protocol", values=shared.get(section) or {}, file=file, section=section),)
        return (*base, *_own_layers(recipe, self.task, recipe_file(self.method, self.folder), section))

    def _no_protocol(self, section: str) -> UserError:
        known = ", ".join(sorted(path.stem for path in (self.folder / "protocols" / "tasks").glob("*.yaml")))
        fix = "Give a recipe of your own with --recipe FILE.yaml."
        if registry.own_file("task", self.task) is not None:
            fix = f"Write one to '{from_here(protocol_file(self.task, self.folder))}', or give --recipe FILE.yaml."
        return UserError(
            f"No recipe '{section}' for task '{self.task}', which has no protocol; tasks with one: {known}. {fix}"
        )


def _own_layers(recipe: Mapping[str, Any], task: str, file: Path, section: str = "") -> tuple[Layer, ...]:
    """The recipe's values for all tasks, and those for `task`. section: of the file, empty for the whole of it."""
    if WITHOUT in recipe and EXTENDS not in recipe:
        raise UserError(f"'{file}' has '{WITHOUT}' where nothing is extended; name a recipe under '{EXTENDS}'.")
    common = {key: value for key, value in recipe.items() if key not in (EXTENDS, WITHOUT, TASKS)}
    by_task = _require_mapping(recipe.get(TASKS) or {}, TASKS)
    names = {registry.canonical_name("task", str(name)): name for name in by_task}
    name = names.get(task, task)
    of_task = _require_mapping(by_task.get(name) or {}, f"{TASKS}.{name}")
    below = f"{section}.{TASKS}.{name}".removeprefix(".")
    parts = {section: common, below: of_task}
    return tuple(
        Layer(source="recipe", values=values, file=file, section=where) for where, values in parts.items() if values
    )


def _check_protocol(sections: Mapping[str, Any], path: Path) -> None:
    """Raises UserError where a section lacks what every evaluation asks for."""
    for name, values in sections.items():
        evaluation = _require_mapping(values, name).get("evaluation") or {}
        for key in ("items", "decoding"):
            if not isinstance(evaluation, Mapping) or key not in evaluation:
                raise UserError(f"'{path}': section '{name}' lacks evaluation.{key}, which every protocol states.")


def _require_mapping(value: Any, where: str) -> Mapping[str, Any]:
    if not isinstance(value, Mapping):
        raise UserError(f"'{where}' of a recipe must be a mapping of keys to values, not {value!r}.")
    return value


@functools.cache
def _sections(path: Path) -> Mapping[str, Any]:
    return mapping(path) if path.is_file() else {}
