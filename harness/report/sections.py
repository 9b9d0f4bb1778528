"""What a report consists of, before any format: sections with text, tables, figures and commands."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from harness.report.tables import Table, escape_markdown, markdown

if TYPE_CHECKING:
    from harness.report.figures.drawing import Picture

FIGURE_FOLDER = "figures"


@dataclass(frozen=True, kw_only=True)
class Figure:
    """A figure that is drawn when asked for. stem: of its file names. csv: the plotted points.

    family, tab: figures that follow each other in one family show the same under several names (tab), one at a time
    where a format can switch.
    """

    stem: str
    title: str
    caption: str
    csv: str
    draw: Callable[[], Picture]
    family: str = ""
    tab: str = ""

    def file(self, kind: str) -> str:
        """The path below the report's folder; kind: png, svg or csv."""
        return f"{FIGURE_FOLDER}/{self.stem}.{kind}"


@dataclass(frozen=True, kw_only=True)
class Command:
    """A line for a shell, and what it makes."""

    label: str
    text: str


@dataclass(frozen=True, kw_only=True)
class Section:
    """A heading and what stands below it, in this order. level: 2 for a chapter, 3 for a part of one.

    folded: too long to read through; a page opens it when asked, a text leaves it to the files of its tables.
    """

    title: str
    level: int = 2
    text: tuple[str, ...] = ()
    tables: tuple[Table, ...] = ()
    figures: tuple[Figure, ...] = ()
    commands: tuple[Command, ...] = ()
    folded: bool = False


def section_markdown(section: Section) -> str:
    """The section in GitHub's Markdown, ending in an empty line."""
    lines = [f"{'#' * section.level} {escape_markdown(section.title)}", ""]
    for paragraph in section.text:
        lines += [escape_markdown(paragraph), ""]
    lines += [markdown(table) for table in section.tables]
    for figure in section.figures:
        lines += _figure_lines(figure)
    for command in section.commands:
        lines += [f"{escape_markdown(command.label)}:", "", "```sh", command.text, "```", ""]
    return "\n".join(lines)


def _figure_lines(figure: Figure) -> Sequence[str]:
    links = f"[SVG]({figure.file('svg')}), [points]({figure.file('csv')})"
    caption = escape_markdown(f"{figure.title}. {figure.caption}")
    return [f"![{escape_markdown(figure.title)}]({figure.file('png')})", "", f"{caption} {links}.", ""]
