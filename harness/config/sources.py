"""Where every value of a configuration comes from, in words. No torch.

A recipe or protocol names the source of a value at the end of its line; the comment at the end of a section's line
holds for all values below it that have none of their own. What stands on lines of its own gives reasons.
"""

from __future__ import annotations

import dataclasses
import functools
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml

from harness.config.recipes import load_recipe
from harness.config.resolve import COMMAND_LINE, Layer, Resolved, flatten

DEFAULT = "default of the harness"


@dataclass(frozen=True, kw_only=True)
class Sourced:
    """A value with its source: what the recipe says of it, the harness's default, or the command line; empty where a
    recipe names none."""

    value: Any
    source: str


def sources(resolved: Resolved, *, folder: Path | None = None) -> dict[str, Sourced]:
    """Every value of a resolved configuration under its dotted key, with its source.

    folder: with protocols/ and recipes/; the built-in one by default. Raises UserError where the recipe can no longer
    be read.
    """
    config = resolved.config
    layers = load_recipe(resolved.recipe, method=config.method.name, task=config.task, folder=folder)
    cited = {key: source for layer in layers for key, source in layer_sources(layer).items()}
    values = flatten({**config.to_dict(), "execution": dataclasses.asdict(resolved.execution)})
    said = {"default": DEFAULT, COMMAND_LINE: COMMAND_LINE}
    return {
        key: Sourced(value=values[key], source=said.get(origin) or cited[key])
        for key, origin in resolved.provenance.items()
    }


def layer_sources(layer: Layer) -> dict[str, str]:
    """What the file says of every value of a layer, by its dotted key; empty where it says nothing."""
    comments = _comments(layer.file.read_text())
    return {key: _nearest(comments, f"{layer.section}.{key}") for key in flatten(layer.values)}


def _nearest(comments: Mapping[str, str], key: str) -> str:
    """The comment on the line of `key`, or on that of the nearest section around it that has one."""
    where = key.removeprefix(".")
    while where and not comments.get(where):
        where = where.rpartition(".")[0]
    return comments.get(where, "")


@functools.cache
def _comments(text: str) -> Mapping[str, str]:
    """Per dotted key of YAML the comment at the end of its line, empty where there is none."""
    tokens = [(token.start_mark, token.end_mark) for token in yaml.scan(text)]
    code_ends = {end.line: end.column for start, end in tokens if start.index < end.index}
    comments = [line[code_ends.get(number, len(line)) :].strip(" #") for number, line in enumerate(text.splitlines())]
    return {key: comments[line] for key, line in _lines(yaml.compose(text))}


def _lines(node: yaml.Node | None, above: str = "") -> Iterator[tuple[str, int]]:
    """Every dotted key below a node, with the number of its line."""
    if isinstance(node, yaml.MappingNode):
        for key, value in node.value:
            yield f"{above}{key.value}", key.start_mark.line
            yield from _lines(value, f"{above}{key.value}.")
