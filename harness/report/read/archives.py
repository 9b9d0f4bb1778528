"""Archives of run folders: their records are unpacked into a temporary folder that goes when the process ends.

An archive from elsewhere may hold anything: what is in it is checked before it is written, and never more than bounds
allow. Weights and whatever else is no record of a run stay packed.
"""

from __future__ import annotations

import atexit
import functools
import gzip
import lzma
import shutil
import tarfile
import zlib
from pathlib import Path, PurePosixPath
from tempfile import TemporaryDirectory
from typing import IO, cast

from harness.records.jsonl import MOST_BYTES, RecordError, check_regular
from harness.records.run_folder import CHECKPOINT_FOLDER
from harness.report.labels import cut

ENDINGS = (".tar.xz", ".tar.gz")
RECORDS = (".yaml", ".json", ".jsonl", ".jsonl.gz")
MOST_MEMBERS, MOST_UNPACKED = 200_000, 4 << 30
AT_ONCE = 1 << 20
"""Bytes: the most that is read in one piece, so that no header can ask for more memory than that."""
LONGEST_SHOWN = 100


def is_archive(path: Path) -> bool:
    """Whether the name is that of an archive."""
    return path.name.endswith(ENDINGS)


def unpacked(archive: Path) -> Path:
    """A temporary folder with the records of the archive: one for the whole process, unless the file changes.

    Raises RecordError where the archive is damaged or holds what no run folder does, OSError where it cannot be read.
    """
    check_regular(archive)
    found = archive.stat()
    return _unpacked(archive.resolve(), found.st_size, found.st_mtime_ns)


@functools.cache
def _unpacked(archive: Path, size: int, changed: int) -> Path:
    """size, changed: what tells a file from a later one of its name."""
    place = TemporaryDirectory(prefix="harness-")
    try:
        _unpack(archive, Path(place.name))
    except BaseException:
        place.cleanup()
        raise
    atexit.register(place.cleanup)
    return Path(place.name)


def _unpack(archive: Path, place: Path) -> None:
    opened = lzma.open if archive.suffix == ".xz" else gzip.open
    try:
        with opened(archive, "rb") as stream:
            bounded = cast(IO[bytes], _Bounded(cast(IO[bytes], stream)))
            with tarfile.open(fileobj=bounded, mode="r:") as members:
                for count, member in enumerate(members, start=1):
                    if count > MOST_MEMBERS:
                        raise RecordError(f"it holds more than {MOST_MEMBERS:,} files and folders")
                    _check(member, place)
                    if member.isreg() and _is_record(member.name):
                        _write(members, member, place)
            _check_end(bounded)
    except RecordError:
        raise
    except (tarfile.TarError, lzma.LZMAError, zlib.error, EOFError, OSError, ValueError) as error:
        said = error.strerror if isinstance(error, OSError) and error.strerror else str(error)
        raise RecordError(f"it cannot be unpacked ({said})") from error


def _check(member: tarfile.TarInfo, place: Path) -> None:
    """Raises RecordError for what no archive of run folders holds, tarfile.FilterError for what would leave `place`."""
    shown = f"'{cut(member.name, LONGEST_SHOWN)}' in it"
    if not (member.isreg() or member.isdir()):
        raise RecordError(f"{shown} is neither a file nor a folder")
    path = PurePosixPath(member.name)
    if path.is_absolute() or ".." in path.parts:
        raise RecordError(f"{shown} leads out of it")
    if member.size > MOST_BYTES and _is_record(member.name):
        raise RecordError(f"{shown} has {member.size:,} bytes, and at most {MOST_BYTES >> 30} GiB are read")
    if hasattr(tarfile, "data_filter"):  # Python 3.11.4; it looks for the same once more
        tarfile.data_filter(member, str(place))


def _is_record(name: str) -> bool:
    return name.endswith(RECORDS) and CHECKPOINT_FOLDER not in PurePosixPath(name).parts


def _write(members: tarfile.TarFile, member: tarfile.TarInfo, place: Path) -> None:
    target = place / member.name
    target.parent.mkdir(parents=True, exist_ok=True)
    content = members.extractfile(member)
    assert content is not None, "it is a regular file"
    with content, open(target, "wb") as out:
        shutil.copyfileobj(content, out)
    if target.stat().st_size != member.size:
        raise RecordError(f"'{cut(member.name, LONGEST_SHOWN)}' in it is cut short")


def _check_end(stream: IO[bytes]) -> None:
    """Reads what is left, which checks the sum of the whole. Raises RecordError where it is not the zeros that end an
    archive: tarfile takes a damaged header for the end."""
    while rest := stream.read(AT_ONCE):
        if rest.strip(b"\0"):
            raise RecordError("it cannot be unpacked (bad header)")


class _Bounded:
    """A stream that gives no more than AT_ONCE bytes at once and MOST_UNPACKED in all."""

    def __init__(self, stream: IO[bytes]) -> None:
        self._stream = stream

    def read(self, size: int) -> bytes:
        if size > AT_ONCE:
            raise RecordError(f"it has a header of more than {AT_ONCE >> 20} MiB")
        self._check(self.tell() + size)
        return self._stream.read(size)

    def seek(self, position: int) -> int:
        self._check(position)
        return self._stream.seek(position)

    def tell(self) -> int:
        return self._stream.tell()

    @staticmethod
    def _check(position: int) -> None:
        if position > MOST_UNPACKED:
            raise RecordError(f"it holds more than {MOST_UNPACKED >> 30} GiB")
