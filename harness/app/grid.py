"""Grids over configuration keys: from the command line and from a file."""

from __future__ import annotations

import itertools
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from harness.config.resolve import flatten, parse_settings, read_yaml
from harness.errors import UserError, did_you_mean, nearest_path

MOST_CELLS = 10_000


def grid(settings: Sequence[str], file: Path | None = None) -> list[dict[str, Any]]:
    """The overrides of each cell: all combinations of the values that the settings and the file give to keys.

    settings: `key=value`, or `key=a,b,c` for several values; a list as one value stands in brackets, `key=[a, b]`.
    file: YAML, a mapping of keys to lists of values, or a list of mappings, each a cell of its own. Raises UserError
    for another form, a key that stands in both, and for a grid of more than MOST_CELLS cells.
    """
    axes = dict(map(_axis, settings))
    rows = _rows(file) if file else [{}]
    if twice := sorted(axes.keys() & {key for row in rows for key in row}):
        raise UserError(f"'{twice[0]}' stands in --grid and in --set; give it once.")
    cells = len(rows)
    for values in axes.values():
        cells *= len(values)
    if cells > MOST_CELLS:
        raise UserError(f"The grid has {cells:,} cells, and the most is {MOST_CELLS:,}; give fewer values.")
    chosen = [dict(zip(axes, values, strict=True)) for values in itertools.product(*axes.values())]
    return [{**row, **one} for row in rows for one in chosen]


def _axis(setting: str) -> tuple[str, list[Any]]:
    """The key and its values: those between commas that no brackets or quotes hold together."""
    key, _, text = setting.partition("=")
    if "," not in text:
        return next((key, [value]) for key, value in parse_settings([setting]).items())
    return key.strip(), read_yaml(f"[{text}]", f"the list of values of '{key}'")


def _rows(file: Path) -> list[dict[str, Any]]:
    try:
        tree = read_yaml(file.read_text(encoding="utf-8"), f"'{file}'")
    except (OSError, UnicodeDecodeError) as error:
        reason = error.strerror if isinstance(error, OSError) else error
        raise UserError(f"--grid '{file}' cannot be read: {reason}.{did_you_mean(nearest_path(file))}") from error
    if isinstance(tree, list) and tree and all(isinstance(row, Mapping) for row in tree):
        return [flatten(row) for row in tree]
    if isinstance(tree, Mapping) and tree:
        axes = {key: value if isinstance(value, list) else [value] for key, value in flatten(tree).items()}
        if empty := [key for key, values in axes.items() if not values]:
            raise UserError(f"--grid '{file}' gives no values for '{empty[0]}'.")
        return [dict(zip(axes, values, strict=True)) for values in itertools.product(*axes.values())]
    raise UserError(f"--grid '{file}' must be a mapping of keys to lists of values, or a list of mappings.")
