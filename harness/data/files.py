"""Small files that come from outside."""

from __future__ import annotations

import errno
from pathlib import Path


def read_small(path: Path, most: int) -> bytes:
    """The bytes of a regular file of at most `most` bytes.

    Raises OSError with the reason where it cannot be read, is larger, or is a pipe or a device, which may never end.
    """
    if path.exists() and not path.is_file():
        raise OSError(errno.EINVAL, "it is not a regular file", str(path))
    size = path.stat().st_size
    if size > most:
        raise OSError(errno.EFBIG, f"it has {size:,} bytes, and at most {most:,} are read", str(path))
    return path.read_bytes()
