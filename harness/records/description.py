"""config.yaml: which run a folder holds, all its values, and where each came from. No torch."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import yaml

from harness.records.jsonl import RecordError, write_atomic
from harness.records.run_folder import CONFIG_FILE
from harness.records.schema import SCHEMA_VERSION, RunIdentity, check_schema
from harness.records.small import parse_yaml, read_record

EVALUATED_FILE = "evaluated.yaml"
MOVED = {
    "model.device": "execution.device",
    "train.micro_batch_size": "execution.micro_batch_size",
    "train.checkpoint_every": "execution.checkpoint_every",
    "evaluation.batch_size": "execution.evaluation_batch_size",
}
"""Keys that earlier versions counted among those that decide the outcome, to their present names."""


@dataclass(frozen=True, kw_only=True)
class RunDescription:
    """What a run was asked to do.

    config: nested values that decide the outcome, the budget among them. execution: values that do not. provenance:
    dotted key (`train.batch_size`, `execution.device`) to default, protocol, recipe or command line.
    """

    identity: RunIdentity
    config: Mapping[str, Any]
    execution: Mapping[str, Any]
    provenance: Mapping[str, str]
    schema: int = SCHEMA_VERSION

    @classmethod
    def from_record(cls, data: Mapping[str, Any]) -> RunDescription:
        """Reads the record of any version, under the present names of its keys. Raises RecordError where it is of
        another schema or incomplete."""
        check_schema(data, CONFIG_FILE)
        recorded = _mapping(data, "execution") if "execution" in data else {}
        config, execution = _apart(_mapping(data, "config"), recorded)
        try:
            identity = RunIdentity.from_record(_mapping(data, "identity"))
        except TypeError as error:
            raise RecordError(f"the identity in {CONFIG_FILE} does not fit ({error})") from error
        provenance = {MOVED.get(key, key): source for key, source in _mapping(data, "provenance").items()}
        return cls(identity=identity, config=config, execution=execution, provenance=provenance)


def write_description(folder: Path, description: RunDescription, name: str = CONFIG_FILE) -> None:
    """Replaces the description of a run folder, or under EVALUATED_FILE that of a folder of evaluations."""
    write_atomic(folder / name, yaml.safe_dump(asdict(description), sort_keys=True))


def read_description(folder: Path, name: str = CONFIG_FILE) -> RunDescription | None:
    """The description of a run folder, None where there is none yet. Raises RecordError where it is damaged."""
    tree = read_tree(folder, name)
    return None if tree is None else RunDescription.from_record(tree)


def read_tree(folder: Path, name: str = CONFIG_FILE) -> dict[str, Any] | None:
    """What the description of a run folder says, None where there is none yet. Raises RecordError where it is no
    mapping of plain values."""
    content = read_record(folder / name)
    if content is None:
        return None
    try:
        tree = parse_yaml(content.decode("utf-8"))
        json.dumps(tree, sort_keys=True, default=str)
    except ValueError as error:
        raise RecordError(f"{name} cannot be read ({str(error).splitlines()[0]})") from error
    except TypeError as error:
        raise RecordError(f"{name} has names that are not texts ({error})") from error
    if not isinstance(tree, dict):
        raise RecordError(f"{name} is not a mapping")
    return tree


def _mapping(tree: Mapping[str, Any], key: str) -> dict[str, Any]:
    value = tree.get(key)
    if not isinstance(value, dict) or not all(isinstance(name, str) for name in value):
        raise RecordError(f"{CONFIG_FILE} has no mapping '{key}'")
    return value


def _apart(config: Mapping[str, Any], execution: Mapping[str, Any]) -> tuple[dict[str, Any], dict[str, Any]]:
    """The two with the moved keys where they stand today."""
    kept = {name: dict(value) if isinstance(value, dict) else value for name, value in config.items()}
    moved = {}
    for old, new in MOVED.items():
        section, name = old.split(".")
        if isinstance(kept.get(section), dict) and name in kept[section]:
            moved[new.removeprefix("execution.")] = kept[section].pop(name)
    return kept, {**moved, **execution}
