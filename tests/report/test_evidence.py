from __future__ import annotations

import io
import time
from pathlib import Path
from typing import Any

import pandas as pd
import pytest

from harness.report.collect import collect
from harness.report.curves import make_panels
from harness.report.evidence import Chapter, all_costs, chapter_markdown, make_chapters, with_stems, write_tables
from harness.report.groups import make_groups
from harness.report.page import write_report
from harness.report.tables import Column, Table


def chapters(synthetic: Any) -> list[Chapter]:
    groups = make_groups(collect([synthetic.root]).runs)
    return make_chapters(groups, make_panels(groups))


def test_the_chapters_stand_in_their_order(synthetic: Any) -> None:
    synthetic.demo()
    found = chapters(synthetic)
    assert [chapter.title for chapter in found] == [
        "How sure, at what cost",
        "The papers' tables, measured here",
        "The papers' tables, as published",
    ]
    assert all("pairs" in table.title or "level" in table.title or "curve" in table.title for table in found[0].tables)


def test_no_published_number_stands_in_a_table_of_runs(synthetic: Any) -> None:
    synthetic.demo()
    *ours, published = chapters(synthetic)
    assert all("published" in table.title for table in published.tables)
    assert not any("published" in table.title for chapter in ours for table in chapter.tables)
    assert not any("tiny" in cell for table in published.tables for cells in table.cells for cell in cells)


def test_one_run_with_one_evaluation_has_no_chapter_of_statistics(synthetic: Any) -> None:
    synthetic.run(records=[synthetic.evaluation("last", 24, synthetic.metrics(128))])
    assert [chapter.title for chapter in chapters(synthetic)] == [
        "The papers' tables, measured here",
        "The papers' tables, as published",
    ]


def test_every_table_is_written_in_three_formats_and_the_csv_files_are_readable(synthetic: Any, tmp_path: Path) -> None:
    synthetic.demo()
    groups = make_groups(collect([synthetic.root]).runs)
    tables = [table for chapter in chapters(synthetic) for table in chapter.tables]
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


def test_a_chapter_is_a_heading_a_paragraph_and_tables() -> None:
    table = Table(title="T", columns=(Column(title="A"),), cells=(("x",),), notes=("n",))
    lines = chapter_markdown(Chapter(title="How", text="Why.", tables=(table,)))
    assert lines[:5] == ["## How", "", "Why.", "", "### T"]


@pytest.mark.slow
def test_a_hundred_runs_take_less_than_ten_seconds(synthetic: Any, tmp_path: Path) -> None:
    for method in ("egspo", "egspo-sa", "d1", "agrpo", "espo"):
        for seed in range(20):
            synthetic.run(
                method=method, seed=seed, config_hash=f"{method:_<8}", records=synthetic.learning(38, 120 + seed)
            )
    start = time.process_time()
    write_report(collect([synthetic.root]), tmp_path / "out")
    assert time.process_time() - start < 10
