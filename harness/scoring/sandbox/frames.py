"""Length-prefixed frames over file descriptors. Runs inside the sandboxes and imports nothing of the harness."""

from __future__ import annotations

import os

PREFIX = 8


class ClosedError(ConnectionError):
    """The other end is gone, in the middle of a frame or before it."""


def send(descriptor: int, frame: bytes) -> None:
    """Writes a frame. Raises ClosedError where nobody can read it any more."""
    data = memoryview(len(frame).to_bytes(PREFIX, "big") + frame)
    while data:
        try:
            data = data[os.write(descriptor, data) :]
        except OSError as error:
            raise ClosedError(str(error)) from error


def receive(descriptor: int, limit: int) -> bytes:
    """Reads a frame. Raises ClosedError at the end of the stream, ValueError for a frame of more than `limit` bytes."""
    size = int.from_bytes(_read(descriptor, PREFIX), "big")
    if size > limit:
        raise ValueError(f"{size} bytes, more than {limit}")
    return _read(descriptor, size)


def _read(descriptor: int, size: int) -> bytes:
    pieces = []
    while size:
        try:
            piece = os.read(descriptor, min(size, 1 << 20))
        except OSError as error:
            raise ClosedError(str(error)) from error
        if not piece:
            raise ClosedError("end of the stream")
        pieces.append(piece)
        size -= len(piece)
    return b"".join(pieces)
