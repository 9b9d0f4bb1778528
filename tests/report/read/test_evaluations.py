"""Folders of `harness eval` beside run folders: read with them, merged into the run that their model comes from."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest

import harness
from harness.app.api import RunResult
from harness.report.analysis.groups import evaluations, latest, make_groups
from harness.report.analysis.rows import all_rows, summary_points
from harness.report.analysis.sweeps import find_sweeps, without_variants
from harness.report.read.runs import Run, collect, scan

SMALL = {
    "train.batch_size": 8,
    "train.group_size": 4,
    "evaluation.items": 8,
    "evaluation.every": 2,
    "evaluation.validation_items": 4,
}


@pytest.fixture(scope="module")
def trained(tmp_path_factory: pytest.TempPathFactory) -> RunResult:
    return harness.run(
        method="egspo", task="sudoku", budget="updates=4", overrides=SMALL, runs=tmp_path_factory.mktemp("runs")
    )


def rows(*paths: Path) -> list[Any]:
    found = collect(paths)
    assert found.skipped == ()
    tables = all_rows(make_groups(found.runs))
    return [row for table in tables if table.metric == "exact_match" for row in table.rows]


def read(folder: Path) -> Run:
    (run,) = collect([folder]).runs
    return run


def summary(run: Run) -> list[Mapping[str, Any]]:
    return list(summary_points([run]).records)


def test_validation_items_are_no_row_of_a_table(trained: RunResult) -> None:
    (row,) = rows(trained.folder)
    assert (row.n, row.group.label) == (8, "EGSPO")


def test_a_run_s_further_lengths_are_rows_of_their_own_beside_its_own(trained: RunResult, tmp_path: Path) -> None:
    for length in (8, 16, 32):
        harness.evaluate(trained.folder, "sudoku", items=8, length=length, out=tmp_path)
    found = rows(trained.folder, tmp_path)
    assert sorted(row.group.label for row in found) == [
        "EGSPO (block_length=16, completion_length=16, num_steps=8)",
        "EGSPO (block_length=16, completion_length=32, num_steps=16)",
        "EGSPO (block_length=8, completion_length=8, num_steps=4)",
    ]
    assert {row.value for row in found if "length=16, num_steps=8" in row.group.label} == {
        trained.evaluation.metrics["exact_match"].value
    }


def test_an_evaluation_at_another_batch_size_or_dtype_is_in_the_summary_and_takes_no_place_in_the_tables(
    trained: RunResult, tmp_path: Path
) -> None:
    harness.evaluate(trained.folder, "sudoku", items=8, batch_size=3, out=tmp_path)
    harness.evaluate(trained.folder, "sudoku", items=8, dtype="float64", out=tmp_path)
    (run,) = collect([tmp_path, trained.folder]).runs
    assert [record.dtype for record in latest(run)] == [record.dtype for record in latest(read(trained.folder))]
    lasts = [row for row in summary(run) if row["checkpoint"] == "last" and row["split"] == "test"]
    assert [(row["batch_size"], row["dtype"]) for row in lasts if row["metric"] == "exact_match"] == [
        (64, "float32"),
        (3, "float32"),
        (64, "float64"),
    ]


def test_of_a_model_s_evaluations_at_several_batch_sizes_and_dtypes_the_first_counts(tmp_path: Path) -> None:
    for options in ({"batch_size": 4}, {"batch_size": 2}, {"batch_size": 4, "dtype": "float64"}):
        harness.evaluate("tiny", "sudoku", items=4, out=tmp_path, **options)
    (run,) = collect([tmp_path]).runs
    assert [(record.batch_size, record.dtype) for record in latest(run)] == [(4, "float32")]
    assert len(evaluations(run)) == 3


def test_evaluations_stand_alone_where_their_run_is_not_there(trained: RunResult, tmp_path: Path) -> None:
    harness.evaluate(trained.folder, "sudoku", items=8, out=tmp_path)
    (row,) = rows(tmp_path)
    assert (row.group.method, row.seeds, row.updates) == ("egspo", (0,), 4)


def test_a_model_that_no_run_trained_is_a_row_that_says_so(tmp_path: Path) -> None:
    harness.evaluate("tiny", "sudoku", items=8, out=tmp_path)
    (row,) = rows(tmp_path)
    assert (row.group.label, row.group.model, row.updates) == ("not trained here", "tiny", 0)


def test_several_numbers_of_steps_of_one_run_are_a_sweep_and_its_own_number_stands_for_it(
    trained: RunResult, tmp_path: Path
) -> None:
    for steps in (4, 16):
        harness.evaluate(trained.folder, "sudoku", items=8, decoding={"num_steps": steps}, out=tmp_path)
    groups = make_groups(collect([trained.folder, tmp_path]).runs)
    (sweep,) = find_sweeps(groups, {"sudoku": "exact_match"})
    assert [(point.setting, point.x) for point in sweep.points] == [(4, 4.0), (8, 8.0), (16, 16.0)]
    (standing,) = [group for group in without_variants(groups, [sweep]) if group.lasts]
    assert (standing.label, standing.is_decoded_as_configured) == ("EGSPO", True)


def test_a_damaged_folder_of_evaluations_is_left_out_by_name(tmp_path: Path) -> None:
    done = harness.evaluate("tiny", "sudoku", items=2, out=tmp_path)
    assert done.folder is not None
    (done.folder / "evaluated.yaml").write_text("identity: 3\nschema: 1\n")
    found = collect([tmp_path])
    assert [found.runs, [one.path for one in found.skipped]] == [(), ["sudoku/tiny"]]
    (done.folder / "evaluated.yaml").unlink()
    assert "foreign: no config.yaml" in collect([tmp_path]).skipped[0].reason


def test_every_folder_is_listed(trained: RunResult, tmp_path: Path) -> None:
    harness.evaluate("tiny", "sudoku", items=2, out=tmp_path)
    (run,) = scan([tmp_path])
    assert isinstance(run, Run)
    assert run.evaluated_only
