"""Plain values as bytes: the only thing that crosses between a program under test and its judge.

The closed set: None, bool, int, float, complex, str, bytes, list, tuple, set, frozenset, dict, range, and
iterators, which are run to their end and arrive as iterators over a list. A subclass (Counter, namedtuple,
IntEnum) arrives as the plain type it extends, a scalar of numpy as the plain number, a match of a regular
expression as True, which is what tests ask of it. Everything else is refused by name.

    None N   True T   False F   int i<hex>;   float f<hex float>;   complex c<float><float>
    str s<bytes>:<utf-8>   bytes b<bytes>:<raw>   list l<n>:   tuple t<n>:   set S<n>:   frozenset Z<n>:
    dict d<n>:<key><value>..   range r<start><stop><step>   iterator I<n>:<item>..

Reading trusts nothing: whatever the bytes, `decode` returns a value of the set or raises ValueError. It runs
no code of the sender and never uses pickle, marshal or eval. This file runs inside the sandboxes and imports
nothing of the harness.
"""

from __future__ import annotations

# A fresh interpreter reads this file for every program, so it imports nothing that costs time.
TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import Any

MAX_DEPTH = 100
MAX_ITEMS = 1_000_000

SEQUENCES: dict[str, Callable[[list[object]], object]] = {"l": list, "t": tuple, "S": set, "Z": frozenset, "I": iter}
MARKS: tuple[tuple[Any, bytes], ...] = ((list, b"l"), (tuple, b"t"), (set, b"S"), (frozenset, b"Z"))


class NotPlainError(ValueError):
    """A value outside the closed set, or too large or too deep for it; the message names its type."""


def encode(value: object) -> bytes:
    """The bytes of a value. Raises NotPlainError where it, or something in it, is outside the closed set."""
    pieces: list[bytes] = []
    _write(value, pieces, 0)
    return b"".join(pieces)


def _write(value: object, pieces: list[bytes], depth: int) -> None:
    if depth > MAX_DEPTH:
        raise NotPlainError(f"a value nested deeper than {MAX_DEPTH}")
    if len(pieces) > MAX_ITEMS:
        raise NotPlainError(f"a value of more than {MAX_ITEMS} items")
    scalar = _scalar(value)
    if scalar is not None:
        pieces.append(scalar)
        return
    if isinstance(value, dict):
        pieces.append(b"d%d:" % dict.__len__(value))
        for key, item in dict.items(value):
            _write(key, pieces, depth + 1)
            _write(item, pieces, depth + 1)
        return
    for kind, mark in MARKS:
        if isinstance(value, kind):
            _write_items(mark, list(kind.__iter__(value)), pieces, depth)
            return
    if isinstance(value, range):
        pieces.append(b"r")
        for bound in (value.start, value.stop, value.step):
            _write(bound, pieces, depth + 1)
        return
    if hasattr(type(value), "__next__") or type(value).__name__ in ("dict_keys", "dict_values", "dict_items"):
        _write_items(b"I", _run(value), pieces, depth)
        return
    raise NotPlainError(f"a value of type '{type(value).__name__}'")


def _scalar(value: Any) -> bytes | None:
    if value is None:
        return b"N"
    if value is True or value is False:
        return b"T" if value else b"F"
    if isinstance(value, int):
        return b"i%x;" % int(value)
    if isinstance(value, float):
        return b"f%s;" % float.hex(value).encode()
    if isinstance(value, complex):
        return b"cf%s;f%s;" % (float.hex(value.real).encode(), float.hex(value.imag).encode())
    if isinstance(value, str):
        text = str.encode(value, "utf-8", "surrogatepass")
        return b"s%d:%s" % (len(text), text)
    if isinstance(value, bytes | bytearray):
        return b"b%d:%s" % (len(value), bytes(value))
    if type(value).__module__ == "re" and type(value).__name__ == "Match":
        return b"T"
    if type(value).__module__ == "numpy" and getattr(value, "shape", None) == ():
        return _scalar(value.item())
    return None


def _write_items(mark: bytes, items: list[object], pieces: list[bytes], depth: int) -> None:
    pieces.append(b"%s%d:" % (mark, len(items)))
    for item in items:
        _write(item, pieces, depth + 1)


def _run(iterable: object) -> list[object]:
    items: list[object] = []
    for item in iterable:  # type: ignore[attr-defined]
        items.append(item)
        if len(items) > MAX_ITEMS:
            raise NotPlainError(f"an iterator of more than {MAX_ITEMS} items")
    return items


def decode(data: bytes) -> object:
    """The value of bytes made by `encode`. Raises ValueError for any other bytes."""
    reader = _Reader(data)
    value = reader.value(0)
    if reader.position != len(data):
        raise ValueError("bytes left over after the value")
    return value


class _Reader:
    def __init__(self, data: bytes) -> None:
        self.data = data
        self.position = 0

    def value(self, depth: int) -> object:
        """Reads one value at the current position."""
        if depth > MAX_DEPTH + 1:
            raise ValueError("nested too deep")
        mark = self._take(1).decode("latin-1")
        if mark == "i":
            return int(self._until(b";"), 16)
        if mark in "NTF":
            return {"N": None, "T": True, "F": False}[mark]
        if mark == "f":
            return self._float()
        if mark == "c":
            return complex(self._number(depth), self._number(depth))
        if mark == "s":
            return self._take(self._count()).decode("utf-8", "surrogatepass")
        if mark == "b":
            return self._take(self._count())
        if mark == "r":
            return self._range(depth)
        if mark == "d":
            return self._dict(depth)
        if mark in SEQUENCES:
            return self._sequence(mark, depth)
        raise ValueError(f"unknown mark {mark!r}")

    def _sequence(self, mark: str, depth: int) -> object:
        items = [self.value(depth + 1) for _ in range(self._count())]
        try:
            return SEQUENCES[mark](items)
        except TypeError as error:
            raise ValueError(f"a set cannot hold that: {error}") from error

    def _dict(self, depth: int) -> dict[object, object]:
        try:
            return {self.value(depth + 1): self.value(depth + 1) for _ in range(self._count())}
        except TypeError as error:
            raise ValueError(f"a dict cannot have that key: {error}") from error

    def _range(self, depth: int) -> range:
        bounds = [self.value(depth + 1) for _ in range(3)]
        whole = [bound for bound in bounds if isinstance(bound, int)]
        if len(whole) != 3 or whole[2] == 0:
            raise ValueError("not the bounds of a range")
        return range(*whole)

    def _float(self) -> float:
        try:
            return float.fromhex(self._until(b";"))
        except OverflowError as error:
            raise ValueError("a float out of range") from error

    def _number(self, depth: int) -> float:
        part = self.value(depth + 1)
        if not isinstance(part, float):
            raise ValueError("not a part of a complex number")
        return part

    def _count(self) -> int:
        digits = self._until(b":")
        count = int(digits) if digits.isascii() and digits.isdigit() and len(digits) < 10 else -1
        if not 0 <= count <= len(self.data) - self.position:
            raise ValueError(f"not a count: {digits[:20]!r}")
        return count

    def _until(self, end: bytes) -> str:
        stop = self.data.find(end, self.position)
        if stop < 0:
            raise ValueError("the bytes end within a value")
        text = self.data[self.position : stop].decode("latin-1")
        self.position = stop + 1
        return text

    def _take(self, count: int) -> bytes:
        piece = self.data[self.position : self.position + count]
        if len(piece) < count:
            raise ValueError("the bytes end within a value")
        self.position += count
        return piece
