"""Frozen dataclasses from nested mappings, names and types checked. No torch."""

from __future__ import annotations

import contextlib
import dataclasses
import math
import types
import typing
from collections.abc import Mapping
from typing import Any

from harness.config.near import unknown_key
from harness.errors import UserError


def build(cls: type, values: Mapping[str, Any], where: str) -> Any:
    """Makes the frozen dataclass `cls` from nested mappings, checking names and types.

    Raises UserError naming the dotted key, the value and what is allowed.
    """
    if not isinstance(values, Mapping):
        raise UserError(f"'{where}' must be a mapping of keys to values, not {values!r}.")
    hints = typing.get_type_hints(cls)
    fields = {item.name for item in dataclasses.fields(cls)}
    arguments = {}
    for name, value in values.items():
        key = f"{where}.{name}" if where else str(name)
        if name not in fields:
            raise unknown_key(key, [f"{where}.{item}" if where else item for item in fields])
        arguments[name] = _coerce(hints[name], value, key)
    return cls(**arguments)


def _coerce(hint: Any, value: Any, key: str) -> Any:
    if isinstance(hint, types.UnionType):
        if value is None and type(None) in typing.get_args(hint):
            return None
        hint = next(choice for choice in typing.get_args(hint) if choice is not type(None))
    if dataclasses.is_dataclass(hint):
        return value if isinstance(value, typing.cast(type, hint)) else build(typing.cast(type, hint), value, key)
    if hint is float and isinstance(value, int | float | str) and not isinstance(value, bool):
        with contextlib.suppress(ValueError, OverflowError):
            value = float(value)
    if hint is int and isinstance(value, float) and value.is_integer():
        return int(value)
    expected = typing.get_origin(hint) or hint
    if expected is tuple:
        return tuple(_coerce(typing.get_args(hint)[0], item, key) for item in _listed(value))
    is_nan = isinstance(value, float) and math.isnan(value)
    if not isinstance(value, expected) or (isinstance(value, bool) and hint is not bool) or is_nan:
        raise UserError(f"{key}={value!r} is not {_describe(hint)}.")
    return value


def _describe(hint: Any) -> str:
    if typing.get_origin(hint) is Mapping:
        return "a mapping of keys to values"
    words = {int: "a whole number", float: "a number", bool: "true or false", str: "text"}
    return words.get(hint, f"of type {getattr(hint, '__name__', hint)}")


def _listed(value: Any) -> list[Any] | tuple[Any, ...]:
    """A list of one may be written without its brackets."""
    return value if isinstance(value, list | tuple) else [value]
