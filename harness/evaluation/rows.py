"""The rows of a file of completions, one after the other in bounded memory.

JSON lines, plain or .gz; a .json document that is a list, has d1's list `generations`, or has predictions by their
number; and .parquet, in which TRL keeps its completions.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from harness.errors import UserError, did_you_mean, nearest_path
from harness.records.documents import read_document
from harness.records.jsonl import read_json_lines

PARQUET_ROWS = 64
OTHER_MEMBERS = 100


@dataclass(frozen=True, kw_only=True)
class Row:
    """A row with its number from 1. name: the number under which a document has it, or empty. place: for messages."""

    number: int
    value: Any
    place: str
    name: str = ""


def stream_rows(path: Path) -> Iterator[Row]:
    """The rows of a file. Raises UserError where there is no file, RecordError where it is damaged."""
    if not path.is_file():
        missing = f"No file '{path}' to grade.{did_you_mean(nearest_path(path))}"
        raise UserError(f"'{path}' is not a regular file." if path.exists() else missing)
    name = path.name.removesuffix(".gz")
    named: Iterator[tuple[str, Any]]
    if name.endswith(".parquet"):
        named = (("", value) for value in _parquet(path))
    elif name.endswith(".json"):
        named = _document(path)
    else:
        named = (("", value) for _, value in read_json_lines(path))
    for number, (key, value) in enumerate(named, start=1):
        yield Row(number=number, value=value, name=key, place=f"{path.name} row {number}")


def _document(path: Path) -> Iterator[tuple[str, Any]]:
    """The rows among what a document says; d1's metrics, for one, are none. Raises UserError where there are too many
    other members for a file of rows."""
    others = 0
    for name, value in read_document(path, inside="generations"):
        if not name or name.isdecimal():
            yield name, value
            continue
        others += 1
        if others > OTHER_MEMBERS:
            raise UserError(f"{path.name} is an object with over {OTHER_MEMBERS} members that are not rows.")


def _parquet(path: Path) -> Iterator[dict[str, Any]]:
    import pyarrow
    import pyarrow.parquet

    try:
        with pyarrow.parquet.ParquetFile(path) as file:
            for batch in file.iter_batches(batch_size=PARQUET_ROWS):
                yield from batch.to_pylist()
    except (pyarrow.ArrowException, OSError, ValueError) as error:
        raise UserError(f"{path.name} cannot be read as Parquet: {error}.") from error
