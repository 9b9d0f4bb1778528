"""Small files that come from outside."""

from __future__ import annotations

import errno
from pathlib import Path


def read_small(path: Path, most: int) -> bytes:
    """The bytes of a file that `check_small` passes. Raises OSError with the reason where it cannot be read."""
    check_small(path, most)
    return path.read_bytes()


def check_small(path: Path, most: int) -> None:
    """Raises OSError, with the reason, where a file has more than `most` bytes, or is a pipe or a device, which may
    never end. A file that does not exist passes."""
    if not path.exists():
        return
    if not path.is_file():
        raise OSError(errno.EINVAL, "it is not a regular file", str(path))
    size = path.stat().st_size
    if size > most:
        raise OSError(errno.EFBIG, f"it has {size:,} bytes, and at most {most:,} are read", str(path))
