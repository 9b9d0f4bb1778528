"""YAML from outside: how deep it may be does not depend on Python's recursion limit."""

import sys

import pytest

from harness.records.small import MOST_LEVELS, parse_yaml


def nested(levels: int) -> str:
    """Lists in one another around a value, which is a level too."""
    return "[" * (levels - 1) + "1" + "]" * (levels - 1)


@pytest.mark.parametrize("limit", [1_000, 100_000])
@pytest.mark.parametrize("text", [nested(MOST_LEVELS + 1), nested(900), "[" * 5_000])
def test_what_is_nested_too_deeply_is_refused_in_one_wording(limit, text):
    before = sys.getrecursionlimit()
    sys.setrecursionlimit(limit)
    try:
        with pytest.raises(ValueError, match=r"^it is nested more than 50 levels deep$"):
            parse_yaml(text)
    finally:
        sys.setrecursionlimit(before)


def test_as_many_levels_as_are_allowed_are_read():
    value, levels = parse_yaml(nested(MOST_LEVELS)), 1
    while isinstance(value, list):
        (value,), levels = value, levels + 1
    assert (value, levels) == (1, MOST_LEVELS)
