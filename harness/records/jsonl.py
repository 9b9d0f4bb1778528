"""Files that survive a kill at any byte, and one reader of JSON lines for all. No torch.

Whole files are replaced atomically (temporary file, fsync, rename). JSONL files are append-only; a torn last line is
dropped on reading and cut off before the next append. Reading takes bounded memory whatever the file holds.
"""

from __future__ import annotations

import errno
import gzip
import itertools
import json
import math
import os
import re
import zlib
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import IO, Any, cast

LONGEST = 16 << 20
"""The longest line or value that is read: bytes of a line, characters of a value in a document."""

MOST_BYTES, MOST_LINES = 1 << 30, 1_000_000
"""The most that is read of one file of records or samples, unpacked."""

SURROGATE = re.compile(r"\\u[dD][89a-fA-F]")
DISK_FULL = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG)


class RecordError(ValueError):
    """A file of a run folder that cannot be read as what it should be; the message says which and why."""


@contextmanager
def replacing(path: Path) -> Iterator[IO[bytes]]:
    """A stream that replaces `path` in one step once everything is written; until then, or after an error, nothing
    has changed. Of a link, the file that it points to is replaced.

    Raises RecordError where `path` is a folder, a device or a pipe, OSError where it cannot be written to.
    """
    target = Path(os.path.realpath(path))
    if target.is_symlink() or (target.exists() and not target.is_file()):
        raise RecordError(f"'{path}' is not a regular file and is left as it is; name another file.")
    temporary = target.with_name(f".{target.name[:40]}.{os.getpid()}.tmp")
    try:
        with open(temporary, "wb") as stream:
            yield stream
            stream.flush()
            os.fsync(stream.fileno())
        os.replace(temporary, target)
    except OSError as error:
        # A write does not say which file it was to.
        if error.errno in DISK_FULL and error.filename is None:
            raise OSError(error.errno, error.strerror, str(path)) from error
        raise
    finally:
        temporary.unlink(missing_ok=True)


def write_atomic(path: Path, content: str | bytes) -> None:
    """Replaces `path` with `content` in one step: readers see the old file or the new one, never a part."""
    with replacing(path) as stream:
        stream.write(content.encode() if isinstance(content, str) else content)


def to_line(record: Mapping[str, Any]) -> str:
    """One JSON line with sorted keys: the same record gives the same bytes."""
    return json.dumps(record, sort_keys=True, allow_nan=True, ensure_ascii=False) + "\n"


def append_line(path: Path, record: Mapping[str, Any]) -> None:
    """Appends one record; the write is a single call, so that a kill tears at most the last line."""
    with open(path, "ab") as stream:
        stream.write(to_line(record).encode())


def check_regular(path: Path) -> None:
    """Raises RecordError for what may never end, as a pipe or a device, and for a link to nothing."""
    if path.is_symlink() and not path.exists():
        raise RecordError(f"{path.name} is a link to a file that does not exist")
    if path.exists() and not (path.is_file() or path.is_dir()):
        raise RecordError(f"{path.name} is not a regular file")


@contextmanager
def opened(path: Path) -> Iterator[IO[bytes]]:
    """The bytes of a file, unpacked where its name ends in .gz.

    Raises RecordError where it is a pipe, a device or a link to nothing or cannot be unpacked, OSError where it cannot
    be read.
    """
    check_regular(path)
    try:
        with open(path, "rb") as packed:
            yield cast(IO[bytes], gzip.GzipFile(fileobj=packed)) if path.suffix == ".gz" else packed
    except (gzip.BadGzipFile, EOFError, zlib.error) as error:
        raise RecordError(f"{path.name} cannot be unpacked: {error}") from error


def read_json_lines(path: Path, *, torn_end: bool = False, is_bounded: bool = False) -> Iterator[tuple[int, Any]]:
    """The values of a JSONL file, plain or .gz, with their line numbers from 1; blank lines are skipped.

    torn_end: whether a last line without a line break is a write that was cut short, and is left out. is_bounded:
    whether a file of more than MOST_BYTES or MOST_LINES is refused: a small compressed one can unpack to any size.
    Raises RecordError, with the line's number, for a line that is not JSON or longer than LONGEST; OSError.
    """
    left = MOST_BYTES if is_bounded else math.inf
    with opened(path) as stream:
        for number in itertools.count(1):
            line = stream.readline(LONGEST + 1)
            if not line or (torn_end and not line.endswith(b"\n") and len(line) <= LONGEST):
                return
            place = f"{path.name} line {number}"
            if len(line) > LONGEST:
                raise RecordError(f"{place} is longer than {LONGEST >> 20} MiB")
            left -= len(line)
            if left < 0 or (is_bounded and number > MOST_LINES):
                raise RecordError(f"{path.name} has more than {MOST_BYTES >> 30} GiB or {MOST_LINES:,} lines")
            if line.strip():
                yield number, _value(line, place, is_first=number == 1)


def _value(line: bytes, place: str, *, is_first: bool) -> Any:
    try:
        text = line.decode("utf-8-sig" if is_first else "utf-8")
        value = json.loads(text)
    except UnicodeDecodeError as error:
        raise RecordError(f"{place} is not UTF-8: {error.reason} at byte {error.start}") from error
    except (ValueError, RecursionError) as error:
        raise RecordError(f"{place} is not JSON: {error}") from error
    if SURROGATE.search(text):
        refuse_surrogates(value, place)
    return value


def refuse_surrogates(value: Any, place: str) -> None:
    """Raises RecordError where a text in a JSON value holds half a surrogate pair, as no UTF-8 file can."""
    try:
        json.dumps(value, ensure_ascii=False).encode()
    except UnicodeEncodeError as error:
        raise RecordError(f"{place} holds half a surrogate pair, which is not a character") from error


def read_lines(path: Path, *, is_bounded: bool = True) -> Iterator[dict[str, Any]]:
    """The records of a JSONL file, or of the same file kept compressed with .gz at the end of its name; a torn last
    line (no newline at its end) is left out, and a missing file has none.

    Raises RecordError for a damaged line before the last, for a compressed file that cannot be unpacked and, where
    is_bounded, for one of more than MOST_BYTES or MOST_LINES.
    """
    packed = path.with_name(f"{path.name}.gz")
    existing = packed if os.path.lexists(packed) and not os.path.lexists(path) else path
    if os.path.lexists(existing):
        yield from (record for _, record in read_json_lines(existing, torn_end=True, is_bounded=is_bounded))


def keep_lines(path: Path, keep: int) -> None:
    """Cuts a JSONL file back to its first `keep` records, atomically. Raises RecordError where it holds fewer."""
    if not path.exists() and keep == 0:
        return
    lines = path.read_bytes().splitlines(keepends=True) if path.exists() else []
    whole = [line for line in lines if line.endswith(b"\n")]
    if len(whole) < keep:
        raise RecordError(f"{path.name} has {len(whole)} records, the checkpoint needs {keep}")
    write_atomic(path, b"".join(whole[:keep]))


def write_samples(path: Path, rows: Iterable[Mapping[str, Any]]) -> None:
    """Writes a .jsonl.gz atomically and without a time stamp: the same rows give the same bytes."""
    write_atomic(path, gzip.compress("".join(to_line(row) for row in rows).encode(), mtime=0))


def read_samples(path: Path) -> Iterator[dict[str, Any]]:
    """The rows of a samples file. Raises RecordError where it is damaged."""
    try:
        yield from (row for _, row in read_json_lines(path, is_bounded=True))
    except OSError as error:
        raise RecordError(f"{path.name} cannot be read: {error.strerror}") from error
