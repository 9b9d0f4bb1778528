"""The report, its sections and its tables in GitHub's Markdown."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

from harness.report.chapters.document import ROWS_FILE, SUMMARY_FILE, TABLE_FOLDER, Document
from harness.report.chapters.sections import Section
from harness.report.chapters.table import Table, condense
from harness.report.figures.frame import Figure


def document_markdown(document: Document) -> str:
    """The report; what is long is left to the files of its tables and figures."""
    intro = escape_markdown(document.intro)
    for name in (SUMMARY_FILE, ROWS_FILE):
        intro = intro.replace(name, f"[{name}]({name})")
    lines = [f"# {escape_markdown(document.title)}", "", intro, ""]
    for verdict in document.verdicts:
        lines += [f"**{escape_markdown(verdict.title)}.** {escape_markdown(' '.join(verdict.text))}", ""]
    return "\n".join([*lines, *(section_markdown(section) for section in document.sections)])


def section_markdown(section: Section) -> str:
    """The section, ending in an empty line. One that is linked or folded needs no heading below its chapter's."""
    brief = section.linked or section.folded
    lines = [] if brief and section.level > 2 else [f"{'#' * section.level} {escape_markdown(section.title)}", ""]
    for paragraph in section.text:
        lines += [escape_markdown(paragraph), ""]
    for table in section.tables:
        lines += [_link_line(table, with_sentences=section.linked), ""] if brief else [_condensed(table)]
    for family in section.families:
        lines += _figure_lines(family)
    for command in section.commands:
        lines += [f"{escape_markdown(command.label)}:", "", "```sh", command.text, "```", ""]
    return "\n".join(lines)


def _link_line(table: Table, *, with_sentences: bool) -> str:
    path = f"{TABLE_FOLDER}/{table.stem}"
    sentences = "".join(f" {escape_markdown(text)}" for text in table.supports if with_sentences)
    return f"- {escape_markdown(table.title)}: [table]({path}.md), [CSV]({path}.csv).{sentences}"


def _condensed(table: Table) -> str:
    condensed = condense(table, numbers=True)
    shared = f"The same in all rows: {'; '.join(condensed.shared)}."
    notes = (*([shared] if condensed.shared else []), *table.notes)
    return table_markdown(replace(condensed.table, notes=notes))


def _figure_lines(family: Sequence[Figure]) -> Sequence[str]:
    """The first of a family, and links to the others."""
    figure, *others = family
    also = "".join(f", [{escape_markdown(other.tab)}]({other.file('png')})" for other in others)
    files = ", ".join(
        f"[{name}]({figure.file(ending)})" for name, ending in (("PDF", "pdf"), ("SVG", "svg"), ("points", "csv"))
    )
    caption = escape_markdown(f"{figure.title}. {figure.caption}")
    made = f" Made by `{figure.command}`." if figure.command else ""
    image = f"![{escape_markdown(figure.title)}]({figure.file('png')})"
    return [image, "", f"{caption} {files}{also}.{made}", ""]


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
