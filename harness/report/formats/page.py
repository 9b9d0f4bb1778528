"""The report folder: report.html, report.md, summary.csv, table.csv, tables/ and figures/.

The same runs give the same bytes.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

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

REPORT_FILE = "report.md"
PAGE_FILE = "report.html"
ROWS_OF_A_PAGE = 60


def write_report(collection: Collection, folder: Path, choice: Choice = ALL) -> Document:
    """Writes the report of `collection` and returns its content.

    Raises UserError where no run has what is chosen, for an unusable style and where `folder` cannot be written to.
    """
    document = make_document(collection, choice)
    style = read_style(choice.style) if choice.style else {}
    try:
        with styled(style):
            _write(document, folder)
    except OSError as error:
        raise UserError(
            f"The report cannot be written to '{folder}' ({error.strerror}); choose another with --out DIR."
        ) from error
    return document


def _write(document: Document, folder: Path) -> None:
    (folder / FIGURE_FOLDER).mkdir(parents=True, exist_ok=True)
    (folder / TABLE_FOLDER).mkdir(exist_ok=True)
    for name, points in document.points.items():
        write_atomic(folder / name, points_csv(points))
    write_tables(document.tables, folder / TABLE_FOLDER)
    pictures = {figure.stem: _write_figure(figure, folder) for figure in document.figures}
    write_atomic(folder / REPORT_FILE, document_markdown(document))
    svgs = {stem: picture.svg.decode() for stem, picture in pictures.items()}
    write_atomic(folder / PAGE_FILE, document_html(document, svgs))


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
