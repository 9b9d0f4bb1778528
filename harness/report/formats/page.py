"""The report folder: report.html, report.md, summary.csv, table.csv, tables/ and figures/.

The same runs give the same bytes.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from harness.errors import UserError
from harness.records.jsonl import write_atomic
from harness.report.chapters.choice import Choice
from harness.report.chapters.document import ALL, TABLE_FOLDER, Document, make_document
from harness.report.chapters.table import Table
from harness.report.figures.frame import FIGURE_FOLDER, Figure, Picture, styled
from harness.report.figures.style import read_style
from harness.report.formats.csv import points_csv, table_csv
from harness.report.formats.html import document_html
from harness.report.formats.latex import latex
from harness.report.formats.markdown import document_markdown, table_markdown
from harness.report.read.runs import Collection

REPORT = "report"
REPORT_FILE = f"{REPORT}.md"
PAGE_FILE = f"{REPORT}.html"
ROWS_OF_A_PAGE = 60


def write_report(collection: Collection, folder: Path, choice: Choice = ALL) -> Document:
    """Writes the report of `collection` and returns its content.

    Raises UserError where no run has what is chosen, for an unusable style and where `folder` cannot be written to.
    """
    document = make_document(collection, choice)
    write_document(document, folder, style=read_style(choice.style) if choice.style else {})
    return document


def write_document(
    document: Document, folder: Path, *, stem: str = REPORT, style: Mapping[str, Any] | None = None
) -> None:
    """Writes a document as a page and as a text called `stem`, with its tables, points and figures.

    style: matplotlib settings of the figures. Raises UserError where `folder` cannot be written to.
    """
    try:
        with styled(style or {}):
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
    contents: dict[str, str | bytes] = {
        "png": drawn.png,
        "svg": drawn.svg,
        "pdf": drawn.pdf,
        "csv": points_csv(figure.points),
    }
    for ending, content in contents.items():
        write_atomic(folder / figure.file(ending), content)
    return drawn


def write_tables(tables: Sequence[Table], folder: Path) -> None:
    """Writes every table into `folder` as Markdown, CSV and (where it fits a page) LaTeX, named after its stem.

    Raises OSError where that is not possible.
    """
    for table in tables:
        write_atomic(folder / f"{table.stem}.md", f"# {table.title}\n\n{table_markdown(table)}")
        write_atomic(folder / f"{table.stem}.csv", table_csv(table))
        if len(table.cells) <= ROWS_OF_A_PAGE:
            write_atomic(folder / f"{table.stem}.tex", latex(table))
