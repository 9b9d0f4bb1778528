"""How a task is evaluated where nobody says otherwise: as its recipe has it. No torch."""

from __future__ import annotations

import functools

from harness import registry
from harness.config import build, load_recipe
from harness.decoding import Decoding

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
