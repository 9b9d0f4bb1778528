"""The tables beside the main ones, in the order of the report, and all tables as files in three formats."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from harness.records.jsonl import write_atomic
from harness.report.budget import Costs, make_costs
from harness.report.budget_tables import budget_csv, budget_tables
from harness.report.comparisons import Comparisons, comparison_table
from harness.report.curves import Panel
from harness.report.groups import Group
from harness.report.latex import latex
from harness.report.measured import measured_tables
from harness.report.published import load_published
from harness.report.published_tables import DREAM, TABLE_1, TABLE_2, every_value, figure_1, table_1, table_2
from harness.report.tables import Table, cells_csv, markdown

TABLE_FOLDER = "tables"
BUDGET_FILE = "budget.csv"
LONGEST_STEM = 90
ROWS_OF_A_PAGE = 60
PAIRS_TEXT = (
    "A difference counts only where the items and the seeds both show it, adjusted for the number of pairs; a ratio of "
    "costs only where every seed reaches the level. Everything else is within noise."
)
MEASURED_TEXT = "Our numbers in the layout of the papers' tables; no published number stands here."
PUBLISHED_TEXT = (
    "Numbers that papers print, with the protocol behind each; none was measured here. Every value, its grade and its "
    f"source stand in {TABLE_FOLDER}/."
)


@dataclass(frozen=True, kw_only=True)
class Chapter:
    """A heading, a paragraph and tables."""

    title: str
    text: str
    tables: tuple[Table, ...]


def make_chapters(groups: Sequence[Group], comparisons: Sequence[Comparisons], costs: Sequence[Costs]) -> list[Chapter]:
    """Statistics, measured tables and published tables; a chapter without tables is left out.

    Raises UserError where the published numbers are damaged.
    """
    pairs = [comparison_table(found) for found in comparisons]
    levels = [table for found in costs for table in budget_tables(found)]
    published = load_published()
    printed = (figure_1(published), table_1(published), table_2(published), table_1(published, model=DREAM))
    chapters = [
        Chapter(title="How sure, at what cost", text=PAIRS_TEXT, tables=(*pairs, *levels)),
        Chapter(title="The papers' tables, measured here", text=MEASURED_TEXT, tables=tuple(measured_tables(groups))),
        Chapter(title="The papers' tables, as published", text=PUBLISHED_TEXT, tables=printed),
    ]
    return [chapter for chapter in chapters if chapter.tables]


def all_costs(panels: Sequence[Panel]) -> list[Costs]:
    """The budgets of every panel."""
    return [costs for panel in panels if (costs := make_costs(panel)) is not None]


def published_lists() -> list[Table]:
    """Every published value on LLaDA, a long table per task; for files and pages that can be filtered."""
    published = load_published()
    return [every_value(published, task) for task in (*TABLE_1, *TABLE_2)]


def write_tables(tables: Sequence[Table], folder: Path, *, costs: Sequence[Costs] = ()) -> Mapping[str, Table]:
    """Writes every table as Markdown, CSV and (where it fits a page) LaTeX below `folder`, and the budgets as one CSV.

    Returns the stems of the files, in the order of the tables. Raises OSError where that is not possible.
    """
    place = folder / TABLE_FOLDER
    place.mkdir(parents=True, exist_ok=True)
    named = with_stems(tables)
    for stem, table in named.items():
        write_atomic(place / f"{stem}.md", f"# {table.title}\n\n{markdown(table)}")
        write_atomic(place / f"{stem}.csv", cells_csv(table))
        if len(table.cells) <= ROWS_OF_A_PAGE:
            write_atomic(place / f"{stem}.tex", latex(table))
    write_atomic(place / BUDGET_FILE, budget_csv(costs))
    return named


def with_stems(tables: Sequence[Table]) -> dict[str, Table]:
    """A file name without ending for every table, from its title; a second one of a name gets a number."""
    seen: Counter[str] = Counter()
    named = {}
    for table in tables:
        stem = re.sub(r"[^a-z0-9]+", "-", table.title.lower()).strip("-")[:LONGEST_STEM].rstrip("-")
        seen[stem] += 1
        named[stem if seen[stem] == 1 else f"{stem}--{seen[stem]}"] = table
    return named
