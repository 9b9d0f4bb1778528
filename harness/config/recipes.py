"""Recipes: the published or tuned values of a method on a task, in YAML files. No torch."""

from __future__ import annotations

import functools
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from harness import registry
from harness.config.decoding import Decoding
from harness.config.resolve import build, read_yaml
from harness.errors import UserError, unknown_choice


def load_recipe(name: str, *, method: str, task: str, folder: Path) -> Mapping[str, Any]:
    """The nested mapping of a recipe: `tiny` or `paper` from `<folder>/<method>/<task>.yaml`, or a YAML file of the
    user.

    Raises UserError where the file, or the named section in it, is missing or is not a mapping.
    """
    if name.endswith((".yaml", ".yml")):
        return _recipe_file(Path(name))
    path = folder / method / f"{task}.yaml"
    if not path.is_file():
        known = sorted(str(item.relative_to(folder).with_suffix("")) for item in folder.glob("*/*.yaml"))
        raise UserError(
            f"No recipe '{name}' for method '{method}' on task '{task}'. Recipes exist for: {', '.join(known)}; "
            "or give a YAML file with --recipe FILE."
        )
    sections = _recipe_file(path)
    if name not in sections:
        raise unknown_choice(
            f"recipe for {method} on {task}", name, sections, fix="A YAML file is named by --recipe FILE.yaml."
        )
    return sections[name] or {}


def _recipe_file(path: Path) -> Mapping[str, Any]:
    if not path.is_file():
        raise UserError(f"No recipe file '{path}'.")
    tree = read_yaml(path.read_text(), f"recipe '{path}'")
    if not isinstance(tree, Mapping):
        raise UserError(f"Recipe '{path}' must be a YAML mapping of keys to values.")
    return tree


PROTOCOL = Decoding(completion_length=256, block_length=32, num_steps=128)
"""The published protocol: two tokens per step."""


RECIPE_METHOD = "egspo-sa"


@functools.cache
def evaluation_decoding(task: str, *, tiny: bool) -> Decoding:
    """The evaluation's decoding in the recipe of `task` for the tiny model or for large ones; without a recipe the
    defaults for the tiny model and the published protocol for others."""
    path = registry.recipes_folder() / RECIPE_METHOD / f"{task}.yaml"
    recipes = load_recipe(str(path), method=RECIPE_METHOD, task=task, folder=path.parent) if path.is_file() else {}
    recipe = recipes.get("tiny" if tiny else "paper")
    if recipe is None:
        return Decoding() if tiny else PROTOCOL
    decoding: Decoding = build(Decoding, recipe["evaluation"]["decoding"], "evaluation.decoding")
    return decoding
