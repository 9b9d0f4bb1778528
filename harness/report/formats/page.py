"""The report folder: report.html, report.md, summary.csv, table.csv, tables/ and figures/.

The same runs give the same bytes.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from pathlib import Path

from harness.errors import UserError
from harness.records.jsonl import write_atomic
from harness.report.chapters.document import TABLE_FOLDER, Document, make_document
from harness.report.chapters.table import Table
from harness.report.figures.frame import FIGURE_FOLDER, Figure, Picture
from harness.report.formats.csv import points_csv, table_csv
from harness.report.formats.html import document_html
from harness.report.formats.latex import latex
from harness.report.formats.markdown import document_markdown, table_markdown
from harness.report.labels import numbered
from harness.report.read.runs import Collection

REPORT = "report"
REPORT_FILE = f"{REPORT}.md"
PAGE_FILE = f"{REPORT}.html"
LONGEST_STEM = 90
ROWS_OF_A_PAGE = 60


def write_report(collection: Collection, folder: Path, *, metric: str | None = None) -> Document:
    """Writes the report of `collection` and returns its content. metric: the headline metric where a task has it.

    Raises UserError where no run has `metric` or where `folder` cannot be written to.
    """
    document = make_document(collection, metric=metric)
    write_document(document, folder)
    return document


def write_document(document: Document, folder: Path, *, stem: str = REPORT) -> None:
    """Writes a document as a page and as a text called `stem`, with its tables, points and figures.

    Raises UserError where `folder` cannot be written to.
    """
    try:
        _write(document, folder, stem)
    except OSError as error:
        raise UserError(
            f"The report cannot be written to '{folder}' ({error.strerror}); choose another with --out DIR."
        ) from error


def _write(document: Document, folder: Path, stem: str) -> None:
    (folder / FIGURE_FOLDER).mkdir(parents=True, exist_ok=True)
    (folder / TABLE_FOLDER).mkdir(exist_ok=True)
    for name, points in document.points.items():
        write_atomic(folder / name, points_csv(points))
    write_tables(document.tables, folder / TABLE_FOLDER)
    pictures = {figure.stem: _write_figure(figure, folder) for figure in document.figures}
    write_atomic(folder / f"{stem}.md", document_markdown(document))
    svgs = {stem: picture.svg.decode() for stem, picture in pictures.items()}
    write_atomic(folder / f"{stem}.html", document_html(document, svgs))


def _write_figure(figure: Figure, folder: Path) -> Picture:
    drawn = figure.draw()
    for kind, content in (("png", drawn.png), ("svg", drawn.svg), ("csv", points_csv(figure.points))):
        write_atomic(folder / figure.file(kind), content)
    return drawn


def write_tables(tables: Sequence[Table], folder: Path) -> Mapping[str, Table]:
    """Writes every table into `folder` as Markdown, CSV and (where it fits a page) LaTeX.

    Returns the stems of the files, in the order of the tables. Raises OSError where that is not possible.
    """
    named = dict(zip(numbered(map(_stem, tables), mark="--"), tables, strict=True))
    for stem, table in named.items():
        write_atomic(folder / f"{stem}.md", f"# {table.title}\n\n{table_markdown(table)}")
        write_atomic(folder / f"{stem}.csv", table_csv(table))
        if len(table.cells) <= ROWS_OF_A_PAGE:
            write_atomic(folder / f"{stem}.tex", latex(table))
    return named


def _stem(table: Table) -> str:
    return re.sub(r"[^a-z0-9]+", "-", table.title.lower()).strip("-")[:LONGEST_STEM].rstrip("-")
