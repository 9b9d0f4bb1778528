"""What an answer can be: a value, words, a numeral in a base, a tuple or interval, a list, a matrix, a relation."""

from __future__ import annotations

from dataclasses import dataclass

from harness.scoring.maths.value import Value


class UnreadableError(ValueError):
    """The text has a notation that is not known here."""


@dataclass(frozen=True, kw_only=True)
class Words:
    """Words alone, in lower case."""

    words: tuple[str, ...]


@dataclass(frozen=True, kw_only=True)
class Based:
    """A numeral with its base: 52_8."""

    digits: str
    base: int


@dataclass(frozen=True, kw_only=True)
class Bracketed:
    """A tuple, vector or interval, with its brackets; the order counts."""

    opening: str
    items: tuple[Meaning, ...]
    closing: str


@dataclass(frozen=True, kw_only=True)
class Listing:
    """Items set apart by commas or `or`, a set in braces, or a union. bare: the first of these."""

    items: tuple[Meaning, ...]
    bare: bool = False


@dataclass(frozen=True, kw_only=True)
class Matrix:
    """Rows of values."""

    rows: tuple[tuple[Meaning, ...], ...]


@dataclass(frozen=True, kw_only=True)
class Relation:
    """sides[0] operators[0] sides[1] ..; the operators are = ~ < <= > >= != and in."""

    operators: tuple[str, ...]
    sides: tuple[Meaning, ...]


Meaning = Value | Words | Based | Bracketed | Listing | Matrix | Relation
