from __future__ import annotations

import csv
import io
from typing import Any

import pytest

from harness.report.analysis.rows import Row, all_rows
from harness.report.figures.bars import bar_lines, bar_points, make_blocks
from harness.report.formats.csv import points_csv


def rows_of(synthetic: Any) -> list[Row]:
    tables = all_rows(synthetic.groups())
    return [row for found in tables if found.metric == "exact_match" for row in found.rows]


def test_a_block_is_one_task_under_one_protocol_and_a_model_has_its_own_blocks(synthetic: Any) -> None:
    synthetic.run()
    synthetic.run(method="egspo")
    synthetic.run(task="countdown")
    synthetic.run(model="other/model")
    blocks = make_blocks(rows_of(synthetic))
    assert list(blocks) == ["other/model", "tiny"]
    assert [[(row.group.task, row.group.method) for row in block] for block in blocks["tiny"]] == [
        [("countdown", "egspo-sa")],
        [("sudoku", "egspo"), ("sudoku", "egspo-sa")],
    ]


def test_the_plotted_bars_as_csv(synthetic: Any) -> None:
    ends = [
        synthetic.evaluation(name, at, synthetic.metrics(solved))
        for name, at, solved in (("base", 0, 64), ("last", 24, 128))
    ]
    synthetic.run(records=ends)
    (row,) = csv.DictReader(io.StringIO(points_csv(bar_points(make_blocks(rows_of(synthetic))["tiny"]))))
    assert (row["label"], row["base"], row["mean"], row["seeds"]) == ("EGSPO-SA", "0.25", "0.5", "0")
    assert float(row["low"]) == pytest.approx(0.4392, abs=5e-5)
    assert float(row["high"]) == pytest.approx(0.5608, abs=5e-5)


def test_a_configuration_has_one_line_on_all_tasks_whatever_their_rewards_are_by_default(synthetic: Any) -> None:
    synthetic.run(method="egspo")
    synthetic.run(method="egspo", reward="random", config_hash="2a1b2c3d")
    synthetic.run(method="egspo", task="countdown", reward="correctness")
    groups, places = bar_lines(make_blocks(rows_of(synthetic))["tiny"])
    assert [(group.method, group.is_control) for group in groups] == [("egspo", False), ("egspo", True)]
    assert sorted(places.values()) == [0, 0, 1]


def test_two_rewards_on_one_task_have_a_line_each(synthetic: Any) -> None:
    synthetic.run(method="egspo")
    synthetic.run(method="egspo", reward="correctness", config_hash="1a1b2c3d")
    groups, _ = bar_lines(make_blocks(rows_of(synthetic))["tiny"])
    assert [group.reward for group in groups] == ["correctness", "task"]


def test_models_before_training_have_no_panel_beside_one_of_trained_models(synthetic: Any) -> None:
    synthetic.run(method="egspo")
    synthetic.run(method="none", records=[synthetic.evaluation("last", 0, synthetic.metrics(64), data="folder")])
    assert [[row.group.method for row in block] for block in make_blocks(rows_of(synthetic))["tiny"]] == [["egspo"]]
    synthetic.run(method="none", task="countdown")
    assert len(make_blocks(rows_of(synthetic))["tiny"]) == 2
