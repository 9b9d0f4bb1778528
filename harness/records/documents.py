"""JSON documents of any size, decoded one element at a time in bounded memory. No torch."""

from __future__ import annotations

import io
import json
import re
from collections.abc import Iterator
from pathlib import Path
from typing import IO, Any

from harness.records.jsonl import LONGEST, SURROGATE, RecordError, opened, refuse_surrogates

CHUNK = 1 << 20
SPACE = re.compile(r"[ \t\r\n]*")
DECODER = json.JSONDecoder()
# A value that the window cuts off is found wrong this near to the end, or is a string that is not terminated.
CUT_OFF = 16


def read_document(path: Path, *, inside: str = "") -> Iterator[tuple[str, Any]]:
    """The elements of a document, plain or .gz: ("", element) for those of a list, (name, value) for the members of
    an object. Where a member called `inside` is a list, its elements come in its place.

    Raises RecordError for what is neither, is not JSON, or has a value of more than LONGEST characters.
    """
    number = 0
    with opened(path) as stream:
        window = _Window(io.TextIOWrapper(stream, encoding="utf-8-sig"))
        try:
            for number, element in enumerate(_elements(window, inside), start=1):  # noqa: B007  (errors name it)
                yield element
        except UnicodeDecodeError as error:
            raise RecordError(f"{path.name} is not UTF-8 after row {number}: {error.reason}") from error
        except (ValueError, RecursionError) as error:
            raise RecordError(f"{path.name} is damaged after row {number}: {error}") from error


def _elements(window: _Window, inside: str) -> Iterator[tuple[str, Any]]:
    if window.peek() == "[":
        yield from (("", value) for value in _items(window))
    elif window.peek() == "{":
        yield from _members(window, inside)
    else:
        raise ValueError("it is neither a list nor an object")
    if window.peek():
        raise ValueError("something follows its end; a file of one JSON value per line is called .jsonl")


def _items(window: _Window) -> Iterator[Any]:
    return (window.value() for _ in _places(window, "[", "]"))


def _members(window: _Window, inside: str) -> Iterator[tuple[str, Any]]:
    for _ in _places(window, "{", "}"):
        if window.peek() != '"':
            raise ValueError("a name in quotation marks is expected")
        name = window.value()
        window.take(":")
        if inside and name == inside and window.peek() == "[":
            yield from (("", value) for value in _items(window))
        else:
            yield name, window.value()


def _places(window: _Window, opening: str, closing: str) -> Iterator[None]:
    """Stops before every element of a list or an object, for the caller to take it."""
    window.take(opening)
    while window.peek() != closing:
        yield
        if window.peek() != closing:
            window.take(",")
    window.take(closing)


class _Window:
    """The part of a text that is being decoded."""

    def __init__(self, stream: IO[str]) -> None:
        self._stream = stream
        self._text = ""
        self._at = 0
        self._ended = False

    def peek(self) -> str:
        """The next character that is no white space; empty at the end of the text."""
        while True:
            space = SPACE.match(self._text, self._at)
            self._at = space.end() if space else self._at
            if self._at < len(self._text) or self._ended:
                return self._text[self._at : self._at + 1]
            self._read_on()

    def take(self, wanted: str) -> None:
        """Goes past a character. Raises ValueError where another stands there."""
        if self.peek() != wanted:
            raise ValueError(f"'{wanted}' is expected and {self.peek()!r} found")
        self._at += 1

    def value(self) -> Any:
        """Decodes the next value and goes past it. Raises ValueError where there is none."""
        self.peek()
        while True:
            try:
                value, end = DECODER.raw_decode(self._text, self._at)
            except json.JSONDecodeError as error:
                is_cut_off = error.msg.startswith("Unterminated") or error.pos > len(self._text) - CUT_OFF
                if self._ended or not is_cut_off:
                    raise ValueError(f"not JSON ({error.msg})") from error
            else:
                # A number may go on behind the window, also after a point or an e.
                rest = self._text[end : end + CUT_OFF]
                if self._ended or len(rest) == CUT_OFF or (rest and rest[0] not in ".eE"):
                    if SURROGATE.search(self._text, self._at, end):
                        refuse_surrogates(value, "a value")
                    self._at = end
                    return value
            self._read_on()

    def _read_on(self) -> None:
        """Forgets what has been decoded and doubles the rest, or adds a chunk where that is more."""
        rest = self._text[self._at :]
        if len(rest) > LONGEST:
            raise ValueError(f"a value is longer than {LONGEST >> 20} MiB")
        piece = self._stream.read(min(max(CHUNK, len(rest)), LONGEST + 1 - len(rest)))
        self._text, self._at, self._ended = rest + piece, 0, not piece
