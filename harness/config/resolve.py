"""From nested mappings to a checked configuration: defaults < protocol < recipe < command line. No torch.

Unknown keys and values of a wrong type raise UserError with the nearest key and the choices. Where every value came
from is kept beside it (`Resolved.provenance`).
"""

from __future__ import annotations

import dataclasses
import functools
import typing
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from harness.config.build import build
from harness.config.decoding import Decoding
from harness.config.learning import check_learning
from harness.config.near import check_keys, leaf_keys
from harness.config.together import check_together
from harness.config.tree import BudgetConfig, Execution, MethodConfig, RunConfig
from harness.errors import UserError
from harness.records.description import MOVED
from harness.records.small import parse_yaml

COMMAND_LINE = "command line"
DECODING = "evaluation.decoding"
DECODING_OPTIONS = frozenset(item.name for item in dataclasses.fields(Decoding))
WHOLE = "budget"
"""The section that replaces the earlier one as a whole: of two limits the first reached would end the run."""


@dataclass(frozen=True, kw_only=True)
class Layer:
    """Nested values of one origin; source is what provenance says of them: protocol or recipe.

    file, section: where they stand, a YAML file and the dotted key that holds them there, empty for the whole file.
    """

    source: str
    values: Mapping[str, Any]
    file: Path = field(compare=False)
    section: str = field(default="", compare=False)


@dataclass(frozen=True, kw_only=True)
class Resolved:
    """A configuration and, per dotted key, where its value came from: default, protocol, recipe or command line."""

    config: RunConfig
    execution: Execution
    recipe: str
    provenance: Mapping[str, str]


def resolve(
    *,
    method: str,
    method_config: type,
    task: str,
    recipe: str,
    layers: Sequence[Layer],
    overrides: Mapping[str, Any],
) -> Resolved:
    """Merges defaults, the layers of a recipe and the command line into a checked configuration.

    method_config: the method's frozen Config dataclass. overrides: dotted key to value; an override of `budget` as a
    whole replaces the recipe's. Raises UserError for unknown keys and wrong values.
    """
    tree: dict[str, Any] = {}
    provenance: dict[str, str] = {}
    for layer in layers:
        _lay(tree, provenance, layer.values, layer.source)
    for key, value in overrides.items():
        _lay(tree, provenance, {full_key(key): value}, COMMAND_LINE)
    for old, new in MOVED.items():
        if old in provenance:
            raise UserError(f"Configuration key '{old}' has moved to '{new}'.")
    if isinstance(tree.get("method"), Mapping) and "name" in tree["method"]:
        raise UserError("'method.name' is chosen by --method, not by a recipe or --set.")
    if "task" in tree:
        raise UserError("'task' is chosen by --task, not by a recipe or --set.")
    check_keys(provenance, _known_keys(method_config))
    execution: Execution = build(Execution, tree.pop("execution", {}), "execution")
    options = build(method_config, tree.pop("method", {}), "method")
    head = {"method": MethodConfig(name=method, options=dataclasses.asdict(options)), "task": task}
    config: RunConfig = build(RunConfig, {**tree, **head}, "")
    config.check()
    check_learning(config)
    execution.check()
    check_together(config, execution)
    keys = flatten({**config.to_dict(), "execution": dataclasses.asdict(execution)})
    return Resolved(
        config=config,
        execution=execution,
        recipe=recipe,
        provenance={key: provenance.get(key, "default") for key in keys if key not in ("method.name", "task")},
    )


def full_key(key: str) -> str:
    """`evaluation.num_steps` is short for `evaluation.decoding.num_steps`, and so are the decoding's other options."""
    section, _, name = key.rpartition(".")
    return f"{DECODING}.{name}" if section == "evaluation" and name in DECODING_OPTIONS else key


@functools.cache
def _known_keys(method_config: type) -> frozenset[str]:
    run = (key for key in leaf_keys(RunConfig) if key != "task" and not key.startswith("method."))
    return frozenset([*run, *leaf_keys(method_config, "method"), *leaf_keys(Execution, "execution")])


def _lay(tree: dict[str, Any], provenance: dict[str, str], values: Mapping[str, Any], source: str) -> None:
    """Puts values over those of the tree, and notes where they came from."""
    if isinstance(values.get(WHOLE), Mapping):
        tree.pop(WHOLE, None)
        for key in [key for key in provenance if key.startswith(f"{WHOLE}.")]:
            del provenance[key]
    for key, value in flatten(values).items():
        _plant(tree, key, value)
        provenance[key] = source


def recorded_config(tree: Mapping[str, Any]) -> RunConfig:
    """The configuration that a run recorded, of any age: keys that no longer exist are left out, and those that did
    not exist yet have their defaults.

    tree: RunDescription.config. Raises UserError for a value of a wrong type.
    """
    if not isinstance(tree, Mapping):
        raise UserError(f"The recorded configuration must be a mapping, not {tree!r}.")
    method = dict(tree.get("method", {}))
    config: RunConfig = build(
        RunConfig,
        {**_known(RunConfig, tree), "method": MethodConfig(name=method.pop("name", ""), options=method)},
        "",
    )
    return config


def _known(cls: type, values: Mapping[str, Any]) -> dict[str, Any]:
    hints = typing.get_type_hints(cls)
    return {
        name: _known(hints[name], value)
        if dataclasses.is_dataclass(hints[name]) and isinstance(value, Mapping)
        else value
        for name, value in values.items()
        if name in hints
    }


def flatten(tree: Mapping[str, Any], prefix: str = "") -> dict[str, Any]:
    """Nested mappings as one mapping of dotted keys."""
    flat: dict[str, Any] = {}
    for name, value in tree.items():
        key = f"{prefix}{name}"
        if isinstance(value, Mapping):
            flat.update(flatten(value, f"{key}."))
        else:
            flat[key] = value
    return flat


def _plant(tree: dict[str, Any], key: str, value: Any) -> None:
    *path, leaf = key.split(".")
    for name in path:
        tree = tree.setdefault(name, {})
        if not isinstance(tree, dict):
            raise UserError(f"'{key}' needs '{name}' to be a mapping, but it is a single value.")
    tree[leaf] = value


def parse_settings(settings: Sequence[str]) -> dict[str, Any]:
    """Reads `key=value` texts; values are YAML scalars. Raises UserError where the form is another."""
    parsed = {}
    for text in settings:
        key, sign, value = text.partition("=")
        if not sign or not key.strip():
            raise UserError(f"'{text}' does not have the form key=value.")
        parsed[key.strip()] = read_yaml(value, f"the value of '{key}'")
    return parsed


def nested(settings: Mapping[str, Any]) -> dict[str, Any]:
    """A mapping of dotted keys as nested mappings. Raises UserError where a key is below one that has a value."""
    tree: dict[str, Any] = {}
    for key, value in settings.items():
        _plant(tree, key, value)
    return tree


def parse_budget(text: str) -> dict[str, Any]:
    """Reads `updates=48` or `samples=1e4,minutes=30`. Raises UserError for another form or unknown limits."""
    parts = [part for part in text.split(",") if part]
    if not parts or not all("=" in part for part in parts):
        raise UserError(f"--budget '{text}' does not name its limits; give updates=N, samples=N, flops=X or minutes=X.")
    budget = parse_settings(parts)
    build(BudgetConfig, budget, "budget")
    return budget


def read_yaml(text: str, what: str) -> Any:
    """The document; `what` names it in errors. Raises UserError where it is not YAML."""
    try:
        return parse_yaml(text)
    except ValueError as error:
        raise UserError(f"{what} is not valid YAML: {str(error).splitlines()[0]}.") from error
