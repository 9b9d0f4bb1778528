"""A report as plain values: the rows of its overview, and where everything was written."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from harness.report.chapters.document import ROWS_FILE, TABLE_FOLDER, Document
from harness.report.formats.page import PAGE_FILE, REPORT_FILE
from harness.report.read.runs import Skipped

Record = dict[str, Any]


def report_record(written: Document, folder: Path, skipped: Sequence[Skipped]) -> Record:
    """What `harness report` prints. rows: those of each task's headline metric in table.csv, fractions of 1."""
    points, first = written.points[ROWS_FILE], dict[str, str]()
    rows = [row for row in points.records if first.setdefault(row["task"], row["metric"]) == row["metric"]]
    return {
        "rows": [_row({name: row.get(name) for name in points.columns}) for row in rows],
        "page": str(folder / PAGE_FILE),
        "text": str(folder / REPORT_FILE),
        "numbers": [str(folder / name) for name in written.points],
        "tables": [str(folder / TABLE_FOLDER / f"{table.stem}.csv") for table in written.tables],
        "figures": [str(folder / figure.file("png")) for figure in written.figures],
        "left_out": [{"path": one.path, "reason": one.reason} for one in skipped],
    }


def _row(cells: Record) -> Record:
    """A row of table.csv with what is text there for want of lists."""
    seeds = [int(seed) for seed in cells["seeds"].split()]
    return {**cells, "decoding": json.loads(cells["decoding"]), "seeds": seeds}
