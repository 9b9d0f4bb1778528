"""The table of the choices of a checkpoint: columns named as what they are, cells that say why they are empty."""

from __future__ import annotations

import csv
from pathlib import Path
from typing import Any

import pytest

import harness
from harness.report.chapters.checkpoints import choices_tables
from harness.report.chapters.document import make_document
from harness.report.formats.page import write_report
from harness.report.read.runs import collect

COLUMNS = [
    "Method",
    "Model",
    "Checkpoints",
    "Last, %",
    "Chosen on validation, %",
    "Best on test (optimistic), %",
    "Best per length (optimistic), %",
]


def test_every_choice_is_a_column_with_its_checkpoints_or_the_reason_why_there_is_none(synthetic: Any) -> None:
    on_test = [synthetic.evaluation("step", 12, synthetic.metrics(192)), *synthetic.ends(64, 128)]
    validation = [
        synthetic.evaluation(name, update, synthetic.metrics(right), split="validation", items_sha256="fedc")
        for name, update, right in (("step", 12, 9), ("last", 24, 8))
    ]
    synthetic.run(records=[*on_test, *validation])
    synthetic.run(method="egspo", config_hash="1b2c3d4e", records=on_test)
    (table,) = choices_tables(synthetic.groups(), "exact_match")
    assert [column.title for column in table.columns] == COLUMNS
    assert table.cells == (
        (
            "EGSPO",
            "tiny",
            "2",
            "50.0 at 24",
            "empty: no checkpoint was evaluated on the validation items",
            "75.0 at 12",
            "empty: one length alone was evaluated",
        ),
        ("EGSPO-SA", "tiny", "2", "50.0 at 24", "75.0 at 12", "75.0 at 12", "empty: one length alone was evaluated"),
    )
    assert table.supports == ("Choosing on the test items adds 25.0 points to the last checkpoint.",)


def test_runs_of_which_the_last_checkpoint_alone_was_evaluated_need_no_table(synthetic: Any) -> None:
    synthetic.run(records=synthetic.ends(64, 128))
    titles = [section.title for section in make_document(collect([synthetic.root])).sections]
    assert "Choice of a checkpoint" not in titles


@pytest.mark.slow
def test_of_a_run_that_kept_all_checkpoints_the_best_is_the_maximum_over_single_evaluations(tmp_path: Path) -> None:
    small = {"train.batch_size": 8, "train.group_size": 4, "evaluation.items": 16, "evaluation.validation_items": 8}
    keep = {"execution.keep": "all", "execution.checkpoint_every": 1}
    trained = harness.run(
        method="egspo", task="sudoku", budget="updates=6", overrides={**small, **keep}, runs=tmp_path / "runs"
    )
    kept = sorted((trained.folder / "checkpoints").iterdir())
    assert len(kept) > 2
    singles = {}
    for place in kept:
        for length in (16, 32):
            done = harness.evaluate(place, "sudoku", items=16, length=length, out=tmp_path / "evals")
            singles[done.record.update, length] = done.record.metrics["exact_match"].value
    write_report(collect([tmp_path / "runs", tmp_path / "evals"]), tmp_path / "report")
    (path,) = (tmp_path / "report" / "tables").glob("*choices-of-a-checkpoint.csv")
    with open(path, newline="") as stream:
        rows = list(csv.DictReader(stream))
    best = sorted(max(value for (_, at), value in singles.items() if at == length) for length in (16, 32))
    cells = sorted(float(row["Best per length (optimistic), %"].split()[0]) for row in rows)
    assert cells == [round(100 * value, 1) for value in best]
