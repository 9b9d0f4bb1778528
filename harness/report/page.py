"""The report folder: report.html, report.md, summary.csv, table.csv, tables/ and figures/.

The same runs give the same bytes.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from harness.errors import UserError, unknown_choice
from harness.records.jsonl import write_atomic
from harness.report.collect import Collection
from harness.report.document import SUMMARY_FILE, TABLE_FILE, Document, headline_rows, make_document
from harness.report.evidence import write_tables
from harness.report.groups import make_groups
from harness.report.html import render
from harness.report.labels import method_colours
from harness.report.sections import FIGURE_FOLDER, Figure, section_markdown
from harness.report.summary import summary_csv
from harness.report.tables import Table, all_rows, escape_markdown, make_table, table_csv

if TYPE_CHECKING:
    from harness.report.figures.drawing import Picture

REPORT_FILE = "report.md"
PAGE_FILE = "report.html"


@dataclass(frozen=True, kw_only=True)
class Report:
    """What was written. headlines: the tables of the tasks' headline metrics; figures: the PNG files."""

    folder: Path
    headlines: tuple[Table, ...]
    figures: tuple[Path, ...]


def write_report(collection: Collection, folder: Path, *, metric: str | None = None) -> Report:
    """Writes the report of `collection`. metric: the headline metric where a task has it.

    Raises UserError where no run has `metric` or where `folder` cannot be written to.
    """
    groups = make_groups(collection.runs)
    tables = all_rows(groups, headline=metric)
    if metric is not None and metric not in {found.metric for found in tables}:
        raise unknown_choice("metric", metric, {found.metric for found in tables})
    colours = method_colours(group.method for group in groups)
    document = make_document(collection, groups, tables, colours, metric=metric)
    figures = [figure for section in document.sections for figure in section.figures]
    downloads = {SUMMARY_FILE: summary_csv(collection.runs), TABLE_FILE: table_csv(tables)}
    try:
        (folder / FIGURE_FOLDER).mkdir(parents=True, exist_ok=True)
        for name, text in downloads.items():
            write_atomic(folder / name, text)
        write_tables(document.files, folder, costs=document.costs)
        drawn = {figure.stem: _write_figure(figure, folder) for figure in figures}
        write_atomic(folder / REPORT_FILE, document_markdown(document))
        write_atomic(folder / PAGE_FILE, _page(document, drawn, downloads))
    except OSError as error:
        raise UserError(
            f"The report cannot be written to '{folder}' ({error.strerror}); choose another with --out DIR."
        ) from error
    headlines = tuple(make_table(found) for found in headline_rows(tables).values())
    return Report(folder=folder, headlines=headlines, figures=tuple(folder / figure.file("png") for figure in figures))


def _write_figure(figure: Figure, folder: Path) -> Picture:
    drawn = figure.draw()
    write_atomic(folder / figure.file("png"), drawn.png)
    write_atomic(folder / figure.file("svg"), drawn.svg)
    write_atomic(folder / figure.file("csv"), figure.csv)
    return drawn


def _page(document: Document, drawn: Mapping[str, Picture], downloads: Mapping[str, str]) -> str:
    return render(document, {stem: picture.svg.decode() for stem, picture in drawn.items()}, downloads)


def document_markdown(document: Document) -> str:
    """The report in GitHub's Markdown."""
    lines = [f"# {escape_markdown(document.title)}", "", f"{escape_markdown(document.intro)}", ""]
    for name in (SUMMARY_FILE, TABLE_FILE):
        lines[2] = lines[2].replace(name, f"[{name}]({name})")
    for verdict in document.verdicts:
        lines += [f"**{escape_markdown(verdict.title)}.** {escape_markdown(' '.join(verdict.sentences))}", ""]
    return "\n".join([*lines, *(section_markdown(section) for section in document.sections if not section.folded)])
