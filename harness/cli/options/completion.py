"""What a shell's completion offers as values of options and arguments. No torch."""

from __future__ import annotations

import copy
import inspect
from collections.abc import Callable, Iterable, Mapping
from typing import Annotated, Any

import typer

from harness import registry
from harness.config.recipe_files import USUAL
from harness.errors import UserError
from harness.task.base import GRADERS, SPLITS

Given = Mapping[str, Any]
Offer = Callable[[Given], Iterable[str]]
"""The values to offer, from the parameters that the command line has so far."""


def completed(parameter: inspect.Parameter) -> inspect.Parameter:
    """A parameter of a command; the shell completes its values where OFFERS or LISTS have its name."""
    offer = OFFERS.get(parameter.name) or LISTS.get(parameter.name)
    notes = getattr(parameter.annotation, "__metadata__", ())
    if offer is None or not notes:
        return parameter
    info = copy.copy(notes[0])
    info.autocompletion = _completer(offer, is_list=parameter.name in LISTS)
    return parameter.replace(annotation=Annotated[parameter.annotation.__origin__, info])


def _completer(offer: Offer, *, is_list: bool) -> Callable[..., list[str]]:
    def complete(context: typer.Context, incomplete: str) -> list[str]:
        before, comma, _ = incomplete.rpartition(",") if is_list else ("", "", incomplete)
        try:
            registry.add_include_paths(context.params.get("include_path") or [])
            offered = [*offer({**context.params, COMMAND: context.info_name})]
        except UserError:
            return []
        return [f"{before}{comma}{value}" for value in offered if value not in before.split(",")]

    return complete


def _recipes(given: Given) -> list[str]:
    """The sections of the method that is named, or those of all methods under their whole names."""
    from harness.config.library import sections_of

    named = [name for name in str(given.get("method") or "").split(",") if name]
    if len(named) == 1 and registry.entry("method", named[0]):
        return list(sections_of(named[0]))
    return [*USUAL, *_named_recipes(given)]


def _named_recipes(given: Given) -> list[str]:
    from harness.config.library import named_recipes

    return [recipe.name for recipe in named_recipes()]


def _shown(given: Given) -> list[str]:
    """What `harness list` and `harness show` take, besides folders."""
    from harness.app import catalogue

    if given[COMMAND] == "list":
        return [*catalogue.LISTS, "keys", "runs"]
    return [*registry.names("method"), *registry.names("task"), *_named_recipes(given), *_keys(given)]


def _keys(given: Given) -> list[str]:
    from harness.config.near import leaf_keys
    from harness.config.tree import Execution, RunConfig

    return [*leaf_keys(RunConfig), *leaf_keys(Execution, "execution")]


def _settings(given: Given) -> list[str]:
    """The keys that --set takes, each up to its value."""
    from harness.config.resolve import DECODING_OPTIONS

    if given[COMMAND] == "sft":
        return [f"{key}=" for key in _keys(given) if key.startswith(("model.", "execution."))]
    return [f"{key}=" for key in (_keys(given) if given[COMMAND] in ("run", "plan") else DECODING_OPTIONS)]


def _protocols(given: Given) -> list[str]:
    from harness.config.published.protocols import protocol_names

    return protocol_names()


def _published(given: Given) -> list[str]:
    """Checkpoints, or in harness eval --checkpoints which of a run's."""
    from harness.config.published.checkpoints import published_checkpoints

    return [one.name for one in published_checkpoints()]


def _checkpoints(given: Given) -> Iterable[str]:
    return ("last", "all") if given[COMMAND] == "eval" else _published(given)


def _these(*values: str) -> Offer:
    return lambda given: values


COMMAND = "the command"
OFFERS: Mapping[str, Offer] = {
    "action": _these("pull", "verify", "list", "prompts"),
    "checkpoint": _published,
    "data": _these("builtin", "hub"),
    "device": _these("auto", "cpu", "cuda"),
    "dtype": _these("float32", "bfloat16", "float16", "float64"),
    "endpoint": _these("chat", "completions"),
    "grader": _these(*GRADERS),
    "keep": _these("last", "all", "best=validation", "every="),
    "kind": _these("method", "task"),
    "launcher": _these("local", "slurm"),
    "mode": _these("tiny", "published", "training"),
    "model": _these("tiny"),
    "profile": _these("official", "agrpo", "espo", "correctness"),
    "protocol": _protocols,
    "recipe": _recipes,
    "recipe_file": _named_recipes,
    "reward": _these("official", "agrpo", "espo", "correctness", "random"),
    "settings": _settings,
    "split": _these(*SPLITS),
    "track": _these("tensorboard", "wandb", "trackio"),
    "train_data": _these("builtin", "hub"),
    "what": _shown,
}
"""By the name of the parameter, in whichever command."""
LISTS: Mapping[str, Offer] = {
    "against": lambda given: ["tiny", *_published(given)],
    "checkpoints": _checkpoints,
    "method": lambda given: registry.names("method"),
    "methods": lambda given: registry.names("method"),
    "task": lambda given: registry.names("task"),
}
"""As OFFERS; of these a value may name several with commas between them."""
