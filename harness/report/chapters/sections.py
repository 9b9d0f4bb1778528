"""What a report consists of: sections with text, tables, figures and commands."""

from __future__ import annotations

from dataclasses import dataclass
from itertools import groupby

from harness.report.chapters.table import Table
from harness.report.figures.frame import Figure


@dataclass(frozen=True, kw_only=True)
class Command:
    """A line for a shell, and what it makes."""

    label: str
    text: str


@dataclass(frozen=True, kw_only=True)
class Section:
    """A heading and what follows it, in this order. level: 2 for a chapter, 3 for a part of one.

    linked: a text gives the sentences of its tables and links to their files. folded: too long to read through; a page
    opens it when asked, a text links to the files of its tables.
    """

    title: str
    level: int = 2
    text: tuple[str, ...] = ()
    tables: tuple[Table, ...] = ()
    figures: tuple[Figure, ...] = ()
    commands: tuple[Command, ...] = ()
    linked: bool = False
    folded: bool = False

    @property
    def families(self) -> list[list[Figure]]:
        """Figures that follow each other in one family, together; the others alone."""
        return [list(own) for _, own in groupby(self.figures, key=lambda figure: figure.family or figure.stem)]
