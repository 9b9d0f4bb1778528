from __future__ import annotations

import io
from typing import Any

import pandas as pd

from harness.report.chapters.measured import measured_tables
from harness.report.chapters.table import Table
from harness.report.formats.csv import table_csv

LLADA = "GSAI-ML/LLaDA-8B-Instruct"


def tables(synthetic: Any) -> list[Table]:
    return measured_tables(synthetic.groups())


def last(synthetic: Any, solved: int, *, length: int = 256, **changes: Any) -> list[Any]:
    decoding = {"completion_length": length, "num_steps": length // 2, "temperature": 0.0}
    values = {"metrics": synthetic.metrics(solved), "decoding": decoding, "data": "hub", **changes}
    return [synthetic.evaluation("last", 24, **values)]


def test_toy_runs_have_a_table_of_their_own(synthetic: Any) -> None:
    synthetic.run(records=last(synthetic, 100, length=16, data="builtin"))
    synthetic.run(records=last(synthetic, 200), model=LLADA)
    real, toy = tables(synthetic)
    assert real.title == "Table 1, measured: reasoning and logic, %"
    assert toy.title.startswith("Table 1, toy settings (tiny model or built-in data, not comparable with papers)")
    assert [cells[1] for cells in real.cells] == [LLADA]
    assert [cells[1] for cells in toy.cells] == ["tiny"]


def test_a_full_model_on_builtin_data_is_toy_and_so_is_the_tiny_one_on_real_data(synthetic: Any) -> None:
    synthetic.run(records=last(synthetic, 100, data="builtin"), model=LLADA)
    synthetic.run(records=last(synthetic, 100), seed=1)
    (toy,) = tables(synthetic)
    assert len(toy.cells) == 2
    assert "toy" in toy.title


def test_lengths_are_columns_and_missing_ones_a_dash(synthetic: Any) -> None:
    records = [*last(synthetic, 128, length=128), *last(synthetic, 192, length=256)]
    synthetic.run(records=records, model=LLADA)
    synthetic.run(records=last(synthetic, 64), model=LLADA, method="egspo", config_hash="1b2c3d4e")
    (table,) = tables(synthetic)
    assert [column.title for column in table.columns[3:]] == ["Sudoku 128", "Sudoku 256"]
    assert [note.split(":")[0] for note in table.notes[1:3]] == ["Sudoku 128", "Sudoku 256"]
    by_method = {cells[0]: cells[3:] for cells in table.cells}
    assert by_method["EGSPO"][0] == "-"
    assert by_method["EGSPO-SA"][0] == "50.0 [43.9, 56.1]‡"
    frame = pd.read_csv(io.StringIO(table_csv(table)))
    assert list(frame["Sudoku 256"]) == [25.0, 75.0]


def test_bold_is_the_highest_with_an_interval_above_all_others(synthetic: Any) -> None:
    synthetic.run(records=last(synthetic, 200), model=LLADA)
    synthetic.run(records=last(synthetic, 100), model=LLADA, method="egspo", config_hash="1b2c3d4e")
    (table,) = tables(synthetic)
    assert [table.cells[row][0] for row, _ in table.bold] == ["EGSPO-SA"]
    assert not any("≈" in cell for cells in table.cells for cell in cells)


def test_overlapping_intervals_are_marked_and_nobody_is_bold(synthetic: Any) -> None:
    synthetic.run(records=last(synthetic, 200), model=LLADA)
    synthetic.run(records=last(synthetic, 190), model=LLADA, method="egspo", config_hash="1b2c3d4e")
    synthetic.run(records=last(synthetic, 20), model=LLADA, method="espo", config_hash="2c3d4e5f")
    (table,) = tables(synthetic)
    assert table.bold == frozenset()
    assert {cells[0]: "≈" in cells[3] for cells in table.cells} == {"EGSPO": True, "EGSPO-SA": True, "ESPO": False}


def test_different_items_are_never_ranked(synthetic: Any) -> None:
    synthetic.run(records=last(synthetic, 200), model=LLADA)
    other = last(synthetic, 20, items_sha256="feedbeef")
    synthetic.run(records=other, model=LLADA, method="egspo", config_hash="1b2c3d4e")
    (table,) = tables(synthetic)
    assert table.bold == frozenset()
    assert all("(1)" in cells[3] or "(2)" in cells[3] for cells in table.cells)


def test_a_second_evaluation_at_one_length_is_a_second_line(synthetic: Any) -> None:
    records = [*last(synthetic, 128), *last(synthetic, 130, items_sha256="feedbeef")]
    synthetic.run(records=records, model=LLADA)
    (table,) = tables(synthetic)
    assert [cells[0] for cells in table.cells] == ["EGSPO-SA", "EGSPO-SA"]


def test_the_papers_metric_is_taken_where_all_have_it(synthetic: Any) -> None:
    metrics = {**synthetic.metrics(128), "official_cell_accuracy": synthetic.metrics(64)["exact_match"]}
    synthetic.run(records=last(synthetic, 128, metrics=metrics), model=LLADA)
    (table,) = tables(synthetic)
    assert table.cells[0][3].startswith("25.0")
    assert table.notes[0].startswith("Metric: Sudoku official cell accuracy.")
    synthetic.run(records=last(synthetic, 128), model=LLADA, method="egspo", config_hash="1b2c3d4e")
    (table,) = tables(synthetic)
    assert table.notes[0].startswith("Metric: Sudoku exact match.")
    assert {cells[3][:4] for cells in table.cells} == {"50.0"}
