"""Where run folders lie: at or below a folder, and in archives there or given by name."""

from __future__ import annotations

import os
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from harness.records.jsonl import RecordError
from harness.records.run_folder import CHECKPOINT_FOLDER, CONFIG_FILE, EVAL_FILE, METRICS_FILE, STATUS_FILE
from harness.report.read.archives import is_archive, unpacked

MARKERS = frozenset((CONFIG_FILE, STATUS_FILE, EVAL_FILE, METRICS_FILE))


@dataclass(frozen=True, kw_only=True)
class Place:
    """A folder with files of a run, or a folder or archive that cannot be looked into.

    folder: where its files are read. shown: where a reader finds them, through the archive that they are in. name:
    relative to what was asked for; a folder in an archive has the name that it would have beside it. problem: why it
    cannot be looked into.
    """

    folder: Path
    shown: Path
    name: str
    problem: str = ""


def is_place(path: Path) -> bool:
    """Whether `path` can be looked into: a folder, or a file with the name of an archive."""
    return path.is_dir() or (is_archive(path) and path.exists())


def places(root: Path) -> Iterator[Place]:
    """The run folders at or below `root`, a folder or an archive, and what cannot be read there."""
    if is_archive(root) and not root.is_dir():
        yield from _inside(root, root)
        return
    unreadable: list[OSError] = []
    for folder, files in _walk(root, unreadable):
        if not MARKERS.isdisjoint(files):
            yield Place(folder=folder, shown=folder, name=_relative(folder, root))
        for name in files:
            if is_archive(folder / name) and not name.startswith("."):
                yield from _inside(folder / name, root)
    for error in unreadable:
        closed = Path(error.filename)
        problem = f"cannot be read: {error.strerror}"
        yield Place(folder=closed, shown=closed, name=_relative(closed, root), problem=problem)


def _inside(archive: Path, root: Path) -> Iterator[Place]:
    """The run folders in an archive at or below `root`, or why there are none."""
    own = _relative(archive, root)
    try:
        content = unpacked(archive)
    except RecordError as error:
        yield Place(folder=archive, shown=archive, name=own, problem=f"corrupt: {error}")
    except OSError as error:
        yield Place(folder=archive, shown=archive, name=own, problem=f"cannot be read: {error.strerror}")
    else:
        above = Path(own).parent
        for folder, files in _walk(content, []):
            inner = folder.relative_to(content)
            if not MARKERS.isdisjoint(files):
                name = own if folder == content else (above / inner).as_posix()
                yield Place(folder=folder, shown=archive / inner, name=name)


def _walk(root: Path, unreadable: list[OSError]) -> Iterator[tuple[Path, list[str]]]:
    """Folders with the names of their files, in order. unreadable: grows by what cannot be looked into."""
    for folder, below, files in os.walk(root, onerror=unreadable.append):
        below[:] = sorted(name for name in below if not name.startswith(".") and name != CHECKPOINT_FOLDER)
        yield Path(folder), sorted(files)


def _relative(folder: Path, root: Path) -> str:
    return root.name if folder == root else folder.relative_to(root).as_posix()
