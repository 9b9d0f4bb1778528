"""Where examples come from: `builtin` (generated, no network), a folder of files, or the Hugging Face hub.

The source is always named, never guessed: nothing falls back from one to another.
"""

from __future__ import annotations

import gzip
import hashlib
import json
import os
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from harness.errors import UserError

DATA_VARIABLE = "HARNESS_DATA"


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
    if text in ("builtin", "hub"):
        return DataSource(kind=text)
    folder = Path(text).expanduser()
    if not folder.is_dir():
        raise UserError(f"Data source '{text}' is neither 'builtin' nor 'hub' nor an existing folder.")
    return DataSource(kind="dir", folder=folder)


def default_source(*, tiny: bool) -> str:
    """HARNESS_DATA where it is set, otherwise builtin for the tiny model and hub for others."""
    return os.environ.get(DATA_VARIABLE) or ("builtin" if tiny else "hub")


def read_rows(path: Path) -> list[Mapping[str, Any]]:
    """The rows of a .jsonl, .jsonl.gz or .json file, each an object.

    Raises UserError naming the file, and the line where one is not a row.
    """
    try:
        data = gzip.decompress(path.read_bytes()) if path.suffix == ".gz" else path.read_bytes()
        text = data.decode("utf-8")
    except (OSError, EOFError, UnicodeDecodeError) as error:
        raise UserError(f"{path} cannot be read ({error}); put the original file there.") from error
    if path.suffix == ".json":
        rows = _parse(text, str(path))
        if not isinstance(rows, list):
            raise UserError(f"{path} is no list of rows; put the original file there.")
    else:
        lines = enumerate(text.split("\n"), start=1)
        rows = [_parse(line, f"{path} line {number}") for number, line in lines if line.strip()]
    for number, row in enumerate(rows, start=1):
        if not isinstance(row, dict):
            raise UserError(f"{path} row {number} is no object with names and values; put the original file there.")
    return rows


def _parse(text: str, place: str) -> Any:
    try:
        return json.loads(text)
    except (ValueError, RecursionError) as error:
        raise UserError(f"{place} is not JSON ({error}); put the original file there.") from error


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
