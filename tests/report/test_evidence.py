from __future__ import annotations

import io
import time
from pathlib import Path
from typing import Any

import pandas as pd
import pytest

from harness.report.collect import collect
from harness.report.curves import make_panels
from harness.report.evidence import all_costs, evidence_sections, with_stems, write_tables
from harness.report.groups import make_groups
from harness.report.page import write_report
from harness.report.sections import Section
from harness.report.tables import Column, Table


def sections(synthetic: Any) -> list[Section]:
    groups = make_groups(collect([synthetic.root]).runs)
    return evidence_sections(groups, all_costs(make_panels(groups)))


def chapters(found: list[Section]) -> dict[str, list[Table]]:
    """The tables below each heading of the second level."""
    below: dict[str, list[Table]] = {}
    for section in found:
        if section.level == 2:
            below[section.title] = []
        else:
            below[list(below)[-1]] += section.tables
    return below


def test_the_chapters_stand_in_their_order(synthetic: Any) -> None:
    synthetic.demo()
    found = chapters(sections(synthetic))
    assert list(found) == [
        "How sure, at what cost",
        "The papers' tables, measured here",
        "The papers' tables, as published",
    ]
    first = found["How sure, at what cost"]
    assert all("pairs" in table.title or "level" in table.title or "curve" in table.title for table in first)


def test_no_published_number_stands_in_a_table_of_runs(synthetic: Any) -> None:
    synthetic.demo()
    *ours, published = chapters(sections(synthetic)).values()
    assert all("published" in table.title for table in published)
    assert not any("published" in table.title for tables in ours for table in tables)
    assert not any("tiny" in cell for table in published for cells in table.cells for cell in cells)


def test_one_run_with_one_evaluation_has_no_chapter_of_statistics(synthetic: Any) -> None:
    synthetic.run(records=[synthetic.evaluation("last", 24, synthetic.metrics(128))])
    assert list(chapters(sections(synthetic))) == [
        "The papers' tables, measured here",
        "The papers' tables, as published",
    ]


def test_every_table_is_written_in_three_formats_and_the_csv_files_are_readable(synthetic: Any, tmp_path: Path) -> None:
    synthetic.demo()
    groups = make_groups(collect([synthetic.root]).runs)
    tables = [table for section in sections(synthetic) for table in section.tables]
    named = write_tables(tables, tmp_path, costs=all_costs(make_panels(groups)))
    assert len(named) == len(tables)
    for stem, table in named.items():
        text = (tmp_path / "tables" / f"{stem}.md").read_text()
        assert text.startswith(f"# {table.title}\n\n| ")
        assert (tmp_path / "tables" / f"{stem}.tex").read_text().count("\\begin{tabular}") == 1
        frame = pd.read_csv(tmp_path / "tables" / f"{stem}.csv")
        assert list(frame.columns) == [column.title for column in table.columns]
        assert len(frame) == len(table.cells)
    assert not pd.read_csv(io.StringIO((tmp_path / "tables" / "budget.csv").read_text())).empty


def test_a_table_of_many_rows_has_no_latex(tmp_path: Path) -> None:
    table = Table(title="Long", columns=(Column(title="A"),), cells=(("x",),) * 61, notes=())
    write_tables([table], tmp_path)
    assert {path.name for path in (tmp_path / "tables").iterdir()} == {"long.md", "long.csv", "budget.csv"}


def test_two_tables_of_one_title_have_two_files() -> None:
    table = Table(title="A: b/c, %", columns=(), cells=(), notes=())
    assert list(with_stems([table, table])) == ["a-b-c", "a-b-c--2"]


@pytest.mark.slow
def test_a_hundred_runs_take_less_than_ten_seconds(synthetic: Any, tmp_path: Path) -> None:
    for method in ("egspo", "egspo-sa", "d1", "agrpo", "espo"):
        for seed in range(20):
            synthetic.run(
                method=method, seed=seed, config_hash=f"{method:_<8}", records=synthetic.learning(38, 120 + seed)
            )
    start = time.perf_counter()
    write_report(collect([synthetic.root]), tmp_path / "out")
    assert time.perf_counter() - start < 10
