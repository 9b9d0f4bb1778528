"""Recipes in files: one in a file, or several as sections of it, and what a recipe's name says. No torch."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from harness.config.embedded import SMALL, TINY
from harness.config.resolve import read_yaml
from harness.errors import UserError, did_you_mean, nearest_path, unknown_choice

LAPTOP, PAPER = "laptop", "paper"
USUAL = (TINY, SMALL, LAPTOP, PAPER)
"""Recipes that every method has for every task with a protocol; a file with one of these as a section holds several."""
EXTENDS, WITHOUT, TASKS = "extends", "without", "tasks"
YAML = (".yaml", ".yml")


@dataclass(frozen=True, kw_only=True)
class Named:
    """What the name of a recipe says; empty where it says nothing."""

    method: str
    task: str
    section: str


def named_in(name: str) -> Named:
    """What `egspo-sa/sudoku:paper` says, or the recipe that a file extends in the end. Raises UserError for a file that
    is missing, is no recipe or extends itself."""
    where, section = parts(name)
    beside = Path()
    above: tuple[str, ...] = ()
    while where.endswith(YAML):
        path = beside / where
        above = deeper(place(path, section), above)
        extended = str(recipe_in(path, section).get(EXTENDS, ""))
        (where, section), beside = parts(extended) if extended else ("", section), path.parent
    method, _, task = where.partition("/")
    return Named(method=method, task=task, section=section)


def parts(name: str) -> tuple[str, str]:
    """What stands before the colon, and the section after it; a file may be named without one."""
    if name.endswith(YAML):
        return name, ""
    where, _, section = name.rpartition(":")
    return where, section


def place(path: Path, section: str) -> str:
    """A recipe of a file, under a name that no other has."""
    return f"{path.resolve()}:{section}".removesuffix(":")


def deeper(name: str, above: tuple[str, ...]) -> tuple[str, ...]:
    """`above` with one more recipe that extends the next. Raises UserError for one that extends itself."""
    if name in above:
        raise UserError(f"Recipe '{name}' extends itself: {' -> '.join((*above, name))}.")
    return (*above, name)


def recipes_in(path: Path) -> tuple[str, ...]:
    """The recipes of a file that holds several; none where it is one. Raises UserError where it is no mapping."""
    recipe = mapping(path)
    is_several = any(name in recipe for name in USUAL) and not any(name in recipe for name in (EXTENDS, WITHOUT, TASKS))
    return tuple(recipe) if is_several and all(isinstance(one or {}, Mapping) for one in recipe.values()) else ()


def recipe_in(path: Path, section: str) -> Mapping[str, Any]:
    """The recipe that a file is, or the one called `section` of several. Raises UserError where there is none."""
    recipe, several = mapping(path), recipes_in(path)
    if section and not several:
        raise UserError(f"'{path}' is one recipe and has no '{section}'; name the file alone.")
    if several and not section:
        listed = ", ".join(f"{path}:{name}" for name in several)
        raise UserError(f"'{path}' holds several recipes; name one of them: {listed}.")
    if section and section not in several:
        raise unknown_choice(f"recipe in '{path}'", section, several)
    return (recipe[section] or {}) if section else recipe


def mapping(path: Path) -> Mapping[str, Any]:
    """A YAML file of recipes. Raises UserError where it is missing or is no mapping."""
    if not path.is_file():
        raise UserError(f"Recipe file '{path}' does not exist.{did_you_mean(nearest_path(path))}")
    tree = read_yaml(path.read_text(), f"'{path}'")
    if not isinstance(tree, Mapping):
        raise UserError(f"'{path}' must be a YAML mapping of keys to values.")
    return tree
