"""Reads a config.json key by key, and knows at the end which keys nobody asked for."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from harness.errors import UserError
from harness.models.files import is_set, shown

LARGEST_SIZE, LARGEST_NUMBER = 1 << 24, 1e30
TAKE_OUT = "take it out if it does not change what the model computes"


@dataclass(frozen=True)
class Fields:
    """The keys of one config.json, read with their types. `place` is the file, for the error messages.

    prefix: of the keys in messages, where they are those of an object inside. seen: the keys that were read.
    """

    raw: Mapping[str, Any]
    place: Path
    prefix: str = ""
    seen: set[str] = field(default_factory=set)

    def get(self, key: str, default: Any = None) -> Any:
        """The value as it stands; `default` where the key is missing."""
        self.seen.add(key)
        return self.raw.get(key, default)

    def wrong(self, key: str, needed: str) -> UserError:
        """The error for a value, with its key: `needed` says what is needed instead."""
        return UserError(f"'{self.place}' has {self.prefix}{key}={shown(self.raw.get(key))}, {needed}.")

    def size(self, key: str, *, default: int | None = None, most: int = LARGEST_SIZE) -> int:
        """A whole number from 1 to `most`; `default` where the key is missing or null. Raises UserError otherwise."""
        value = self.get(key)
        value = default if value is None else value
        if not isinstance(value, int) or isinstance(value, bool) or not 1 <= value <= most:
            raise self.wrong(key, f"where a whole number from 1 to {most} is needed")
        return value

    def number(self, key: str) -> float:
        """A finite number above 0. Raises UserError otherwise."""
        value = self.get(key)
        if not isinstance(value, int | float) or isinstance(value, bool) or not 0 < value <= LARGEST_NUMBER:
            raise self.wrong(key, "where a number above 0 is needed")
        return float(value)

    def number_from_0(self, key: str, *, default: int, most: int = LARGEST_SIZE) -> float:
        """A number from 0 to `most`; `default` where the key is missing. Raises UserError otherwise."""
        value = self.get(key, default)
        if not isinstance(value, int | float) or isinstance(value, bool) or not 0 <= value <= most:
            raise self.wrong(key, f"where a number from 0 to {most} is needed")
        return value

    def flag(self, key: str, *, default: bool = False) -> bool:
        """True or false; `default` where the key is missing, false where it is null. Raises UserError otherwise."""
        value = self.get(key, default)
        if value is not None and not isinstance(value, bool):
            raise self.wrong(key, "where true or false is needed")
        return bool(value)

    def must_be(self, **wanted: Any) -> None:
        """Raises UserError where a key has another value. A missing key counts as the wanted value, and so does null
        where that is nothing: false, 0 or null."""
        for key, value in wanted.items():
            found = self.get(key)
            if found != value and key in self.raw and (found is not None or value):
                raise self.wrong(key, f"but only {self.prefix}{key}={value!r} is supported")

    def must_state(self, **wanted: Any) -> None:
        """Raises UserError where a key has another value or is missing, which would mean another value."""
        for key, value in wanted.items():
            if self.get(key) != value:
                raise self.wrong(key, f"but only {self.prefix}{key}={value!r} is supported")

    def refuse_others(self, without_effect: Collection[str] = (), *, fix: str = TAKE_OUT) -> None:
        """Raises UserError for a key that is set and was not read, unless it is one `without_effect` or private."""
        for key, value in self.raw.items():
            if is_set(value) and key not in self.seen and key not in without_effect and not key.startswith("_"):
                raise self.wrong(key, f"which is not supported; {fix}")

    def heads(self, width: str, heads: str, kv_heads: str) -> dict[str, int]:
        """Attention heads as transformers names them. Raises UserError where they do not divide each other."""
        count = self.size(heads)
        groups = self.size(kv_heads, default=count)
        head_dim = self.size("head_dim", default=max(1, self.size(width) // count))
        if self.get("head_dim") is None and self.size(width) % count:
            raise UserError(f"'{self.place}': {heads}={count} does not divide {width}={self.raw[width]}.")
        if head_dim % 2 or count % groups:
            raise UserError(f"'{self.place}': {count} heads of width {head_dim} and {groups} for keys do not fit.")
        return {"num_attention_heads": count, "num_key_value_heads": groups, "head_dim": head_dim}
