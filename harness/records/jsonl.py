"""Files that survive a kill at any byte. No torch.

Whole files are replaced atomically (temporary file, fsync, rename). JSONL files are append-only; a torn last line is
dropped on reading and cut off before the next append.
"""

from __future__ import annotations

import gzip
import json
import os
import zlib
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any


class RecordError(ValueError):
    """A file of a run folder that cannot be read as what it should be; the message says which and why."""


def write_atomic(path: Path, content: str | bytes) -> None:
    """Replaces `path` with `content` in one step: readers see the old file or the new one, never a part."""
    temporary = path.with_name(f".{path.name}.{os.getpid()}.tmp")
    data = content.encode() if isinstance(content, str) else content
    try:
        with open(temporary, "wb") as stream:
            stream.write(data)
            stream.flush()
            os.fsync(stream.fileno())
        os.replace(temporary, path)
    finally:
        temporary.unlink(missing_ok=True)


def to_line(record: Mapping[str, Any]) -> str:
    """One JSON line with sorted keys: the same record gives the same bytes."""
    return json.dumps(record, sort_keys=True, allow_nan=True, ensure_ascii=False) + "\n"


def append_line(path: Path, record: Mapping[str, Any]) -> None:
    """Appends one record; the write is a single call, so that a kill tears at most the last line."""
    with open(path, "ab") as stream:
        stream.write(to_line(record).encode())


def read_lines(path: Path) -> Iterator[dict[str, Any]]:
    """The records of a JSONL file, or of the same file kept compressed with .gz at the end of its name; a torn last
    line (no newline at its end) is left out.

    Raises RecordError for a damaged line before the last, and for a compressed file that cannot be unpacked.
    """
    packed = path.with_name(f"{path.name}.gz")
    if path.exists():
        with open(path, "rb") as stream:
            yield from _records(stream, path.name)
    elif packed.exists():
        try:
            with gzip.open(packed) as unpacked:
                yield from _records(unpacked, packed.name)
        except (gzip.BadGzipFile, EOFError, zlib.error) as error:
            raise RecordError(f"{packed.name} cannot be unpacked: {error}") from error


def _records(stream: Iterable[bytes], name: str) -> Iterator[dict[str, Any]]:
    for number, line in enumerate(stream, start=1):
        if not line.endswith(b"\n"):
            return
        try:
            yield json.loads(line)
        except ValueError as error:
            raise RecordError(f"{name} line {number} is not JSON: {error}") from error


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
        with gzip.open(path, "rt", encoding="utf-8") as stream:
            for line in stream:
                yield json.loads(line)
    except (OSError, EOFError, ValueError) as error:
        raise RecordError(f"{path.name} is damaged: {error}") from error
