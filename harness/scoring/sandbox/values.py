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


class NotPlainError(ValueError):
    """A value outside the closed set, or too large or too deep for it; the message names its type."""


def _text(value: str) -> bytes:
    text = str.encode(value, "utf-8", "surrogatepass")
    return b"s%d:%s" % (len(text), text)


def _float(value: float) -> bytes:
    return b"f%s;" % float.hex(value).encode()


SCALARS: dict[type, Callable[[Any], bytes]] = {
    type(None): lambda value: b"N",
    bool: lambda value: b"T" if value else b"F",
    int: b"i%x;".__mod__,
    float: _float,
    complex: lambda value: b"c" + _float(value.real) + _float(value.imag),
    str: _text,
    bytes: lambda value: b"b%d:%s" % (len(value), value),
    bytearray: lambda value: b"b%d:%s" % (len(value), value),
}
SEQUENCES: dict[type, bytes] = {list: b"l", tuple: b"t", set: b"S", frozenset: b"Z"}
VIEWS: tuple[type, ...] = (type({}.keys()), type({}.values()), type({}.items()))


def encode(value: object) -> bytes:
    """The bytes of a value. Raises NotPlainError where it, or something in it, is outside the closed set."""
    pieces: list[bytes] = []
    _write(value, pieces, 0)
    return b"".join(pieces)


def _write(value: Any, pieces: list[bytes], depth: int) -> None:
    if depth > MAX_DEPTH:
        raise NotPlainError(f"a value nested deeper than {MAX_DEPTH}")
    if isinstance(value, dict):
        items = [part for pair in dict.items(value) for part in pair]
        return _write_items(b"d%d:" % (len(items) // 2), items, pieces, depth)
    for kind, mark in SEQUENCES.items():
        if isinstance(value, kind):
            items = list(kind.__iter__(value))  # type: ignore[attr-defined]
            return _write_items(b"%s%d:" % (mark, len(items)), items, pieces, depth)
    if isinstance(value, range):
        return _write_items(b"r", [value.start, value.stop, value.step], pieces, depth)
    scalar = _scalar(value)
    if scalar is not None:
        return pieces.append(scalar)
    if hasattr(type(value), "__next__") or isinstance(value, VIEWS):
        items = _run(value)
        return _write_items(b"I%d:" % len(items), items, pieces, depth)
    raise NotPlainError(f"a value of type '{type(value).__name__}'")


def _write_items(head: bytes, items: list[Any], pieces: list[bytes], depth: int) -> None:
    if len(pieces) + len(items) > MAX_ITEMS:
        raise NotPlainError(f"a value of more than {MAX_ITEMS} items")
    pieces.append(head)
    for item in items:
        write = SCALARS.get(type(item))
        if write is None:
            _write(item, pieces, depth + 1)
        else:
            pieces.append(write(item))


def _scalar(value: Any) -> bytes | None:
    """Of a scalar or a subclass of one; None for anything else."""
    for kind, write in SCALARS.items():
        if isinstance(value, kind):
            return write(value)
    if type(value).__module__ == "re" and type(value).__name__ == "Match":
        return b"T"
    if type(value).__module__ == "numpy" and getattr(value, "shape", None) == ():
        return _scalar(value.item())
    return None


def _run(iterable: Any) -> list[object]:
    items: list[object] = []
    for item in iterable:
        items.append(item)
        if len(items) > MAX_ITEMS:
            raise NotPlainError(f"an iterator of more than {MAX_ITEMS} items")
    return items


def decode(data: bytes) -> object:
    """The value of bytes made by `encode`. Raises ValueError for any other bytes."""
    reader = _Reader(data)
    try:
        value = reader.value(0)
    except (TypeError, OverflowError) as error:
        raise ValueError(f"no set, dict or number can be made of it: {error}") from error
    if reader.position != len(data):
        raise ValueError("bytes left over after the value")
    return value


class _Reader:
    def __init__(self, data: bytes) -> None:
        self.data = data
        self.position = 0

    def value(self, depth: int) -> object:
        """Reads one value at the current position."""
        start = self.position + 1
        mark = self.data[start - 1 : start]
        if mark == b"i":  # large values are mostly these, so they are read without a call of another method
            stop = self.data.index(b";", start)
            self.position = stop + 1
            return int(self.data[start:stop], 16)
        self.position = start
        if mark not in READERS:
            raise ValueError(f"unknown mark {mark!r}")
        if depth > MAX_DEPTH + 2:
            raise ValueError("nested too deep")
        return READERS[mark](self, depth)

    def items(self, depth: int) -> list[Any]:
        """A count and so many values."""
        return [self.value(depth + 1) for _ in range(self._count())]

    def dictionary(self, depth: int) -> dict[object, object]:
        """A count and so many pairs."""
        return {self.value(depth + 1): self.value(depth + 1) for _ in range(self._count())}

    def bounds(self, depth: int) -> range:
        """The bounds and the step of a range."""
        whole = [bound for bound in (self.value(depth + 1) for _ in range(3)) if isinstance(bound, int)]
        if len(whole) != 3 or whole[2] == 0:
            raise ValueError("not the bounds of a range")
        return range(*whole)

    def number(self, depth: int) -> float:
        """The hexadecimal digits of a float."""
        return float.fromhex(self._until(b";").decode("latin-1"))

    def parts(self, depth: int) -> complex:
        """The two floats of a complex number."""
        real, imaginary = self.value(depth + 1), self.value(depth + 1)
        if not isinstance(real, float) or not isinstance(imaginary, float):
            raise ValueError("not a part of a complex number")
        return complex(real, imaginary)

    def raw(self, depth: int) -> bytes:
        """A count and so many bytes."""
        count = self._count()
        self.position += count
        return self.data[self.position - count : self.position]

    def _count(self) -> int:
        digits = self._until(b":")
        count = int(digits) if digits.isdigit() and len(digits) < 10 else -1
        if not 0 <= count <= len(self.data) - self.position:
            raise ValueError(f"not a count: {digits[:20]!r}")
        return count

    def _until(self, end: bytes) -> bytes:
        start, stop = self.position, self.data.index(end, self.position)
        self.position = stop + 1
        return self.data[start:stop]


def _made_of_items(make: Callable[[list[Any]], object]) -> Callable[[_Reader, int], object]:
    return lambda reader, depth: make(reader.items(depth))


READERS: dict[bytes, Callable[[_Reader, int], object]] = {
    b"N": lambda reader, depth: None,
    b"T": lambda reader, depth: True,
    b"F": lambda reader, depth: False,
    b"f": _Reader.number,
    b"c": _Reader.parts,
    b"s": lambda reader, depth: reader.raw(depth).decode("utf-8", "surrogatepass"),
    b"b": _Reader.raw,
    b"d": _Reader.dictionary,
    b"r": _Reader.bounds,
    b"I": _made_of_items(iter),
    **{mark: _made_of_items(kind) for kind, mark in SEQUENCES.items()},
}
