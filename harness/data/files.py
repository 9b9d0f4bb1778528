"""Small files that come from outside."""

from __future__ import annotations

import errno
from pathlib import Path
from typing import Any

import yaml

MOST_VALUES = 100_000


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

    Raises ValueError where it cannot be read, or where its aliases unfold to more than `MOST_VALUES` values: a few
    lines can stand for more than fits into any memory.
    """
    try:
        loader = yaml.SafeLoader(text)
        root = loader.get_single_node()
        if root is None:
            return None
        if _unfolded(root, {}) > MOST_VALUES:
            raise ValueError(f"its aliases unfold to more than {MOST_VALUES:,} values")
        return loader.construct_document(root)
    except Exception as error:  # beside its own errors, PyYAML lets through those of int() and of regular expressions
        raise ValueError(str(error) or type(error).__name__) from error


def _unfolded(node: yaml.Node, sizes: dict[int, float]) -> float:
    """Values below a node, those of an alias counted where it stands; endless where a node contains itself."""
    if id(node) not in sizes:
        sizes[id(node)] = float("inf")
        inner = node.value if isinstance(node, yaml.CollectionNode) else ()
        parts = (part for item in inner for part in (item if isinstance(item, tuple) else (item,)))
        sizes[id(node)] = 1 + sum(_unfolded(part, sizes) for part in parts)
    return sizes[id(node)]
