"""Small files that come from outside, read whole in bounded time and memory. No torch."""

from __future__ import annotations

import errno
import os
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml

from harness.records.jsonl import RecordError, check_regular

MOST_VALUES = 100_000
MOST_LEVELS = 50
TAB = r"'\t'"
"""As PyYAML writes one."""
TOO_DEEP = f"it is nested more than {MOST_LEVELS} levels deep"
LONGEST_NUMBER = 64
LARGEST_RECORD = 1 << 16
NUMBERS = ("tag:yaml.org,2002:int", "tag:yaml.org,2002:float")


def read_record(path: Path) -> bytes | None:
    """The bytes of a small file of a run folder, None where there is none.

    Raises RecordError for a link to nothing, a pipe, a device and a file of more than LARGEST_RECORD bytes; OSError
    where it cannot be read.
    """
    if not os.path.lexists(path):
        return None
    check_regular(path)
    size = path.stat().st_size
    if size > LARGEST_RECORD:
        raise RecordError(f"{path.name} has {size:,} bytes, and at most {LARGEST_RECORD:,} are read")
    return path.read_bytes()


def read_small(path: Path, most: int) -> bytes:
    """The bytes of a file that `check_small` passes. Raises OSError with the reason where it cannot be read."""
    check_small(path, most)
    return path.read_bytes()


def check_small(path: Path, most: int) -> None:
    """Raises OSError, with the reason, where a file has more than `most` bytes, or is a pipe or a device, which may
    never end. A file that does not exist passes."""
    if not path.exists():
        return
    if not path.is_file():
        raise OSError(errno.EINVAL, "it is not a regular file", str(path))
    size = path.stat().st_size
    if size > most:
        raise OSError(errno.EFBIG, f"it has {size:,} bytes, and at most {most:,} are read", str(path))


def parse_yaml(text: str) -> Any:
    """What a YAML document says, as `yaml.safe_load` reads it.

    Raises ValueError where it cannot be read, where its aliases unfold to more than `MOST_VALUES` values (a few lines
    can stand for more than fits into any memory), is nested more than `MOST_LEVELS` deep, or holds a number of more
    than `LONGEST_NUMBER` characters or half a surrogate pair: what was read can be written and shown.
    """
    try:
        loader = _Loader(text)
        root = loader.get_single_node()
        if root is None:
            return None
        extent = _extent(root, {})
        if extent.values > MOST_VALUES:
            raise ValueError(f"its aliases unfold to more than {MOST_VALUES:,} values")
        if extent.levels > MOST_LEVELS:
            raise ValueError(TOO_DEEP)
        return loader.construct_document(root)
    except yaml.MarkedYAMLError as error:
        raise ValueError(_where(error)) from error
    except Exception as error:  # beside its own errors, PyYAML lets through those of int() and of regular expressions
        raise ValueError(str(error) or type(error).__name__) from error


def _where(error: yaml.MarkedYAMLError) -> str:
    """What is wrong, with its line; a tab, which no editor shows, by its name."""
    mark = error.problem_mark or error.context_mark
    said = error.problem or error.context or "it cannot be read"
    said = "it has a tab where YAML takes spaces" if TAB in said else said
    return f"{said}, line {mark.line + 1}" if mark else said


class _Loader(yaml.SafeLoader):
    """Counts levels as it descends: Python's recursion limit, which libraries raise, does not decide how a document is
    refused."""

    levels = 0

    def compose_node(self, parent: yaml.Node | None, index: Any) -> yaml.Node | None:
        self.levels += 1
        if self.levels > MOST_LEVELS:
            raise ValueError(TOO_DEEP)
        node = super().compose_node(parent, index)
        self.levels -= 1
        return node


@dataclass(frozen=True, kw_only=True)
class _Extent:
    """How much a node stands for, aliases unfolded; endless where it contains itself."""

    values: float
    levels: float


def _extent(node: yaml.Node, known: dict[int, _Extent]) -> _Extent:
    if id(node) not in known:
        known[id(node)] = _Extent(values=float("inf"), levels=float("inf"))
        _check_scalar(node)
        inner = node.value if isinstance(node, yaml.CollectionNode) else ()
        parts = [_extent(part, known) for item in inner for part in (item if isinstance(item, tuple) else (item,))]
        known[id(node)] = _Extent(
            values=1 + sum(part.values for part in parts), levels=1 + max((part.levels for part in parts), default=0)
        )
    return known[id(node)]


def _check_scalar(node: yaml.Node) -> None:
    if not isinstance(node, yaml.ScalarNode):
        return
    if node.tag in NUMBERS and len(node.value) > LONGEST_NUMBER:
        raise ValueError(f"it holds a number of {len(node.value):,} characters")
    if any("\ud800" <= letter <= "\udfff" for letter in node.value):
        raise ValueError("it holds half a surrogate pair, which is not a character")
