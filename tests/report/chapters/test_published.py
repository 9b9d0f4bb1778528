from __future__ import annotations

import io
import re

import pandas as pd

from harness.report.chapters.published import DREAM, figure_1, table_1, table_2
from harness.report.chapters.table import Table
from harness.report.formats.csv import table_csv
from harness.report.formats.markdown import table_markdown
from harness.report.read.published import load_published

PUBLISHED = load_published()


def row(table: Table, method: str, paper: str) -> dict[str, str]:
    (cells,) = [cells for cells in table.cells if cells[0] == method and cells[1].startswith(paper)]
    return dict(zip([column.title for column in table.columns], cells, strict=True))


def note(table: Table, cell: str) -> list[str]:
    numbers = re.findall("[⁰¹²³⁴⁵⁶⁷⁸⁹]+", cell)
    return [text.split(" ", 1)[1] for number in numbers for text in table.notes if text.startswith(f"{number} ")]


def test_figure_1_holds_the_bars_of_the_paper() -> None:
    table = figure_1(PUBLISHED)
    assert [column.title for column in table.columns[2:]] == [
        "Sudoku",
        "Countdown",
        "GSM8K",
        "MATH500",
        "MBPP",
        "HumanEval",
    ]
    own = row(table, "EGSPO-SA", "EGSPO")
    assert (own["Sudoku"], own["Countdown"], own["HumanEval"]) == ("94.3≈§", "78.5≈", "44.5≈")
    assert row(table, "SPG", "EGSPO")["MBPP"] == "-"


def test_an_unknown_cell_is_a_dash_and_empty_in_the_csv() -> None:
    table = table_1(PUBLISHED)
    espo = row(table, "ESPO", "ESPO")
    assert (espo["Countdown 128"], espo["Countdown best"]) == ("-", "-")
    frame = pd.read_csv(io.StringIO(table_csv(table)))
    (found,) = frame[(frame.Method == "ESPO") & (frame["Printed by"] == "ESPO, 2512.03759")].to_dict("records")
    assert pd.isna(found["Countdown 128"])
    assert found["GSM8K 128"] == 80.0


def test_the_csv_holds_numbers_alone_in_the_columns_of_numbers() -> None:
    for table in (figure_1(PUBLISHED), table_1(PUBLISHED), table_2(PUBLISHED), table_1(PUBLISHED, model=DREAM)):
        frame = pd.read_csv(io.StringIO(table_csv(table)))
        assert len(frame) == len(table.cells)
        assert all(frame[column.title].dtype == float for column in table.columns if column.numeric if column.title)


def test_a_highest_over_lengths_is_told_from_a_printed_best() -> None:
    table = table_1(PUBLISHED)
    assert row(table, "SPG w/ Mixture", "SPG")["GSM8K best"].startswith("86.1°")
    assert "°" not in row(table, "EGSPO", "EGSPO")["GSM8K best"]


def test_the_footnotes_come_from_the_protocols() -> None:
    table = table_1(PUBLISHED)
    spg, just = row(table, "SPG w/ Mixture", "SPG"), row(table, "JustGRPO", "JustGRPO")
    assert note(table, spg["Sudoku 256"]) == [
        "the 256 puzzles of SPG's split; 3-shot; best checkpoint on the test set, by the mean over lengths."
    ]
    assert note(table, just["GSM8K best"]) == ["1 token per step; full fine-tuning; not stated: checkpoint choice."]
    assert note(table, row(table, "EGSPO-SA", "EGSPO")["GSM8K best"]) == []


def test_a_contradiction_is_a_footnote_and_the_surer_value_is_shown() -> None:
    table = table_1(PUBLISHED)
    cell = row(table, "wd1", "wd1")["Sudoku 256"]
    assert cell.startswith("25.2")
    assert "Table 1 of the same paper prints 76.4." in note(table, cell)


def test_bold_is_only_where_the_best_of_a_protocol_exceeds_noise() -> None:
    table = table_1(PUBLISHED)
    bold = {(table.cells[line][0], table.columns[place].title) for line, place in table.bold}
    four = "SPG w/ Mixture (4 Monte-Carlo samples instead of 2)"
    assert bold == {(four, f"Countdown {length}") for length in (128, 256, 512)}


def test_the_text_says_solved_and_not_first() -> None:
    supports = figure_1(PUBLISHED).supports
    assert (
        "Sudoku, best (256 items): EGSPO-SA 94.3 and EGSPO 93.6 all solve the task: no order; "
        "d1 (SFT + diffu-GRPO) 22.1 below." in supports
    )
    assert any("at or above the range 93.4 ± 1.6 of a perfect solver" in text for text in supports)
    assert not any(text.startswith("Sudoku") and "highest" in text for text in supports)


def test_table_2_is_about_code_alone() -> None:
    table = table_2(PUBLISHED)
    assert {column.group for column in table.columns if column.group} == {"HumanEval", "MBPP"}
    assert row(table, "JustGRPO", "JustGRPO")["MBPP 256"].startswith("52.4")


def test_no_quotation_stands_beside_the_papers_own_values() -> None:
    assert not any(cells[1].startswith("EGSPO") and cells[0].startswith("d1") for cells in table_1(PUBLISHED).cells)


def test_markdown_is_one_table_and_bold_stays_inside_its_cell() -> None:
    text = table_markdown(table_1(PUBLISHED))
    lines = text.split("\n\n")[0].splitlines()
    assert len({line.replace("\\|", "").count("|") for line in lines}) == 1
    assert sum(line.count("| **8") for line in lines) == 3
