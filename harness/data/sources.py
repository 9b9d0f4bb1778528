"""Where examples come from: `builtin` (generated, no network), a folder of files, or the Hugging Face hub.

The source is always named, never guessed: nothing falls back from one to another.
"""

from __future__ import annotations

import hashlib
import os
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from harness.errors import UserError, did_you_mean, nearest, nearest_path
from harness.records.documents import read_document
from harness.records.jsonl import RecordError, read_json_lines

DATA_VARIABLE = "HARNESS_DATA"
NAMES = ("builtin", "hub")


@dataclass(frozen=True, kw_only=True)
class DataSource:
    """`kind` is builtin, dir or hub; `folder` is set for dir alone."""

    kind: str
    folder: Path | None = None

    @property
    def label(self) -> str:
        """How the source is written in records: builtin, hub, or `dir:NAME`."""
        return f"dir:{self.folder.name}" if self.folder is not None else self.kind

    def file(self, relative: str) -> Path:
        """The path of a data file inside a folder source. Raises UserError where it is missing."""
        if self.folder is None:
            raise UserError(
                f"Data source '{self.kind}' has no files; '{relative}' needs --data DIR or {DATA_VARIABLE}."
            )
        path = self.folder / relative
        if not path.is_file():
            raise UserError(
                f"No file '{relative}' in data folder '{self.folder}'. Fetch it on a machine with network with "
                "`harness data pull --to DIR`, or name another source: --data builtin, --train-data builtin."
            )
        return path


def parse_source(text: str) -> DataSource:
    """Reads `builtin`, `hub`, or the path of a folder.

    Raises UserError for anything else.
    """
    if text in NAMES:
        return DataSource(kind=text)
    folder = Path(os.path.expanduser(text))
    if not folder.is_dir():
        origin = f" of {DATA_VARIABLE}" if text == os.environ.get(DATA_VARIABLE) else ""
        hint = did_you_mean(nearest(text, NAMES) or nearest_path(folder))
        raise UserError(f"Data source '{text}'{origin} is neither 'builtin' nor 'hub' nor an existing folder.{hint}")
    return DataSource(kind="dir", folder=folder)


def default_source(*, tiny: bool) -> str:
    """HARNESS_DATA where it is set, otherwise builtin for an embedded model and hub for others."""
    return os.environ.get(DATA_VARIABLE) or ("builtin" if tiny else "hub")


def read_rows(path: Path) -> list[Mapping[str, Any]]:
    """The rows of a .jsonl, .jsonl.gz or .json file, each an object.

    Raises UserError naming the file, and the line or row where one is not a row.
    """
    is_document = path.name.removesuffix(".gz").endswith(".json")
    try:
        places = list(read_document(path) if is_document else read_json_lines(path))
    except OSError as error:
        raise UserError(f"'{path}' cannot be read ({error.strerror}); put the original file there.") from error
    except RecordError as error:
        raise UserError(f"In '{path.parent}', {error}; put the original file there.") from error
    if is_document and any(name for name, _ in places):
        raise UserError(f"'{path}' is not a list of rows; put the original file there.")
    rows = [row for _, row in places]
    for number, row in enumerate(rows, start=1):
        if not isinstance(row, dict):
            raise UserError(
                f"'{path}' row {number} is not an object with names and values; put the original file there."
            )
    return rows


def sha256_of_file(path: Path) -> str:
    """The fingerprint of a file's bytes."""
    return hashlib.sha256(path.read_bytes()).hexdigest()


def sha256_of_text(lines: list[str]) -> str:
    """A fingerprint of an item list, recorded with every result."""
    digest = hashlib.sha256()
    for line in lines:
        digest.update(line.encode())
        digest.update(b"\n")
    return digest.hexdigest()
