"""The report, its sections and its tables in GitHub's Markdown."""

from __future__ import annotations

from collections.abc import Sequence

from harness.report.chapters.document import ROWS_FILE, SUMMARY_FILE, Document
from harness.report.chapters.sections import Section
from harness.report.chapters.table import Table
from harness.report.figures.frame import Figure


def document_markdown(document: Document) -> str:
    """The report without what is folded."""
    intro = escape_markdown(document.intro)
    for name in (SUMMARY_FILE, ROWS_FILE):
        intro = intro.replace(name, f"[{name}]({name})")
    lines = [f"# {escape_markdown(document.title)}", "", intro, ""]
    for verdict in document.verdicts:
        lines += [f"**{escape_markdown(verdict.title)}.** {escape_markdown(' '.join(verdict.text))}", ""]
    return "\n".join([*lines, *(section_markdown(section) for section in document.sections if not section.folded)])


def section_markdown(section: Section) -> str:
    """The section, ending in an empty line."""
    lines = [f"{'#' * section.level} {escape_markdown(section.title)}", ""]
    for paragraph in section.text:
        lines += [escape_markdown(paragraph), ""]
    lines += [table_markdown(table) for table in section.tables]
    for figure in section.figures:
        lines += _figure_lines(figure)
    for command in section.commands:
        lines += [f"{escape_markdown(command.label)}:", "", "```sh", command.text, "```", ""]
    return "\n".join(lines)


def _figure_lines(figure: Figure) -> Sequence[str]:
    links = f"[SVG]({figure.file('svg')}), [points]({figure.file('csv')})"
    caption = escape_markdown(f"{figure.title}. {figure.caption}")
    return [f"![{escape_markdown(figure.title)}]({figure.file('png')})", "", f"{caption} {links}.", ""]


def table_markdown(table: Table) -> str:
    """The table, and below it what it supports and its notes."""
    lines = [
        _line([escape_markdown(column.title) for column in table.columns]),
        _line(["---:" if column.numeric else "---" for column in table.columns]),
        *(
            _line([_cell(cell, bold=(row, place) in table.bold) for place, cell in enumerate(cells)])
            for row, cells in enumerate(table.cells)
        ),
    ]
    supports = ["What the numbers support:", "", *_bullets(table.supports), "", "Notes:", ""] if table.supports else []
    return "\n".join([*lines, "", *supports, *_bullets(table.notes)]) + "\n"


def _bullets(texts: Sequence[str]) -> list[str]:
    return [f"- {escape_markdown(text)}" for text in texts]


def _cell(text: str, *, bold: bool) -> str:
    escaped = escape_markdown(text)
    return f"**{escaped}**" if bold and escaped else escaped


def _line(cells: Sequence[str]) -> str:
    return "| " + " | ".join(cells) + " |"


def escape_markdown(text: str) -> str:
    """Text that Markdown shows as it stands, on one line."""
    escaped = "".join(f"\\{letter}" if letter in "\\`*<|" else letter for letter in " ".join(text.split()))
    return escaped.replace("](", "]\\(")
