"""Length-prefixed frames over file descriptors. Runs inside the sandboxes and imports nothing of the harness.

On a descriptor that does not block, `wait(descriptor, event)` is called for select.POLLIN or select.POLLOUT, and may
give up by raising.
"""

from __future__ import annotations

import os
import select

# A fresh interpreter reads this file for every program, so it imports nothing that costs time.
TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable

PREFIX = 8


class ClosedError(ConnectionError):
    """The other end is gone, in the middle of a frame or before it."""


def block(descriptor: int, event: int) -> None:
    """Waits for as long as it takes."""
    poll = select.poll()
    poll.register(descriptor, event)
    poll.poll()


def send(descriptor: int, frame: bytes, wait: Callable[[int, int], None] = block) -> None:
    """Writes a frame. Raises ClosedError where nobody can read it any more."""
    data = memoryview(len(frame).to_bytes(PREFIX, "big") + frame)
    while data:
        try:
            data = data[os.write(descriptor, data) :]
        except BlockingIOError:
            wait(descriptor, select.POLLOUT)
        except OSError as error:
            raise ClosedError(str(error)) from error


def receive(descriptor: int, limit: int, wait: Callable[[int, int], None] = block) -> bytes:
    """Reads a frame. Raises ClosedError at the end of the stream, ValueError for a frame of more than `limit` bytes."""
    size = int.from_bytes(_read(descriptor, PREFIX, wait), "big")
    if size > limit:
        raise ValueError(f"{size} bytes, more than {limit}")
    return _read(descriptor, size, wait)


def _read(descriptor: int, size: int, wait: Callable[[int, int], None]) -> bytes:
    pieces = []
    while size:
        try:
            piece = os.read(descriptor, min(size, 1 << 20))
        except BlockingIOError:
            wait(descriptor, select.POLLIN)
            continue
        except OSError as error:
            raise ClosedError(str(error)) from error
        if not piece:
            raise ClosedError("end of the stream")
        pieces.append(piece)
        size -= len(piece)
    return b"".join(pieces)
