"""Folders in memory with a bound on their size and on the number of their files.

bubblewrap (0.8) bounds the size of a tmpfs and not the number of its files, each of which takes a kilobyte of the
kernel's memory. The broker, in name spaces of its own (bubblewrap.PRIVATE), may mount what it likes.
"""

from __future__ import annotations

import contextlib
import ctypes
import os
from collections.abc import Iterator
from pathlib import Path

NO_SETUID, NO_DEVICES, DETACH = 2, 4, 2

_libc = ctypes.CDLL(None, use_errno=True)
_libc.mount.argtypes = (ctypes.c_char_p, ctypes.c_char_p, ctypes.c_char_p, ctypes.c_ulong, ctypes.c_char_p)


@contextlib.contextmanager
def bounded_folder(place: Path, *, megabytes: int, files: int) -> Iterator[Path]:
    """A new, empty folder that is gone afterwards with whatever it holds. Raises OSError."""
    place.mkdir()
    try:
        options = f"mode=700,size={megabytes}m,nr_inodes={files}".encode()
        _checked(_libc.mount(b"tmpfs", os.fsencode(place), b"tmpfs", NO_SETUID | NO_DEVICES, options))
        try:
            yield place
        finally:
            _checked(_libc.umount2(os.fsencode(place), DETACH))
    finally:
        place.rmdir()


def _checked(result: int) -> None:
    if result != 0:
        number = ctypes.get_errno()
        raise OSError(number, os.strerror(number))
