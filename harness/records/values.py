"""What a value of a record must be before anything is computed from it or written. No torch."""

from __future__ import annotations

from typing import Any, TypeGuard

LARGEST = 1e100
"""Beyond it squares and sums of values overflow."""
LARGEST_COUNT = 1 << 63
LONGEST_NAME = 255
"""Bytes of a file's name: a run folder cannot be called more than that."""
MOST_LEVELS = 20


def is_count(value: Any) -> bool:
    """A whole number from 0."""
    return isinstance(value, int) and not isinstance(value, bool) and 0 <= value < LARGEST_COUNT


def is_number(value: Any) -> TypeGuard[int | float]:
    """A finite number that can be squared."""
    return isinstance(value, int | float) and not isinstance(value, bool) and abs(value) < LARGEST


def is_cost(value: Any) -> bool:
    """A number from 0."""
    return is_number(value) and value >= 0


def is_name(value: Any) -> bool:
    """A text on one line that a folder could be called."""
    return isinstance(value, str) and value.isprintable() and len(value.encode()) <= LONGEST_NAME


def is_shallow(value: Any, levels: int = MOST_LEVELS) -> bool:
    """Whether lists and mappings lie at most `levels` deep in each other: reading copes with more than writing does."""
    inner = value.values() if isinstance(value, dict) else value if isinstance(value, list) else ()
    return levels > 0 and all(is_shallow(item, levels - 1) for item in inner if isinstance(item, dict | list))
