from __future__ import annotations

import csv
import io
from typing import Any

import pytest

from harness.report.analysis.curves import FLOPS, SAMPLES, UPDATES, Axis, Panel, curve_points, make_panels
from harness.report.formats.csv import points_csv


def panels(synthetic: Any, **options: Any) -> list[Panel]:
    return make_panels(synthetic.groups(), **options)


def plotted(panel: Panel, axis: Axis) -> list[dict[str, str]]:
    return list(csv.DictReader(io.StringIO(points_csv(curve_points(panel, axis)))))


def curve(synthetic: Any, *points: tuple[str, int, int], **changes: Any) -> list[Any]:
    return [
        synthetic.evaluation(checkpoint, update, synthetic.metrics(solved), **changes)
        for checkpoint, update, solved in points
    ]


def test_points_are_means_over_seeds_with_students_band(synthetic: Any) -> None:
    for seed, last in enumerate((128, 144, 160)):
        synthetic.run(seed=seed, records=curve(synthetic, ("base", 0, 32), ("step", 12, 64), ("last", 24, last)))
    (panel,) = panels(synthetic)
    rows = plotted(panel, FLOPS)
    assert [(row["checkpoint"], row["flops_total"], row["mean"]) for row in rows] == [
        ("base", "0", "0.125"),
        ("step", "120000000000", "0.25"),
        ("last", "240000000000", "0.5625"),
    ]
    assert (rows[1]["low"], rows[1]["high"]) == ("0.25", "0.25")
    assert float(rows[2]["low"]) == pytest.approx(0.4072414, abs=1e-6)
    assert float(rows[2]["high"]) == pytest.approx(0.7177586, abs=1e-6)
    assert rows[2]["seeds"] == "0 1 2"


@pytest.mark.parametrize(
    ("axis", "column", "last"),
    [(FLOPS, "flops_total", "240000000000"), (SAMPLES, "samples", "1536"), (UPDATES, "update", "24")],
)
def test_the_same_values_stand_against_every_axis(synthetic: Any, axis: Axis, column: str, last: str) -> None:
    synthetic.run(records=curve(synthetic, ("base", 0, 32), ("last", 24, 128)))
    rows = plotted(panels(synthetic)[0], axis)
    assert [row["mean"] for row in rows] == ["0.125", "0.5"]
    assert rows[-1][column] == last


def test_one_seed_has_no_band(synthetic: Any) -> None:
    synthetic.run()
    assert {(row["low"], row["high"]) for row in plotted(panels(synthetic)[0], FLOPS)} == {("", "")}


def test_last_checkpoints_are_matched_with_each_other_under_a_budget_of_minutes(synthetic: Any) -> None:
    synthetic.run(seed=0, records=curve(synthetic, ("base", 0, 32), ("step", 8, 64), ("last", 20, 128)))
    synthetic.run(seed=1, records=curve(synthetic, ("base", 0, 32), ("step", 8, 64), ("last", 28, 160)))
    rows = plotted(panels(synthetic)[0], UPDATES)
    assert [(row["update"], row["mean"]) for row in rows] == [("0", "0.125"), ("8", "0.25"), ("24", "0.5625")]


def test_a_checkpoint_that_one_seed_lacks_is_left_out(synthetic: Any) -> None:
    synthetic.run(seed=0, records=curve(synthetic, ("base", 0, 32), ("step", 8, 64), ("last", 24, 128)))
    synthetic.run(seed=1, records=curve(synthetic, ("base", 0, 32), ("last", 24, 160)))
    assert [row["update"] for row in plotted(panels(synthetic)[0], UPDATES)] == ["0", "24"]


def test_a_step_at_the_update_of_the_last_checkpoint_is_drawn_once(synthetic: Any) -> None:
    synthetic.run(records=curve(synthetic, ("base", 0, 32), ("step", 24, 128), ("last", 24, 128)))
    assert [row["checkpoint"] for row in plotted(panels(synthetic)[0], UPDATES)] == ["base", "last"]


def test_methods_and_controls_share_a_panel_in_a_fixed_order(synthetic: Any) -> None:
    synthetic.demo()
    (panel,) = panels(synthetic)
    labels = [line.group.label for line in panel.lines]
    assert labels == ["EGSPO", "EGSPO-SA", "EGSPO-SA, random-reward control"]
    assert panel.stem == "sudoku-exact_match"


def test_the_metric_can_be_chosen(synthetic: Any) -> None:
    synthetic.run()
    (panel,) = panels(synthetic, headline="cell_accuracy")
    assert (panel.metric, panel.stem) == ("cell_accuracy", "sudoku-cell_accuracy")


def test_models_and_protocols_never_share_a_panel(synthetic: Any) -> None:
    ends = [("base", 0, 32), ("last", 24, 128)]
    synthetic.run(records=curve(synthetic, *ends))
    synthetic.run(model="GSAI-ML/LLaDA-8B-Instruct", records=curve(synthetic, *ends))
    synthetic.run(method="egspo", records=curve(synthetic, *ends, split="validation"))
    synthetic.run(method="espo", records=curve(synthetic, *ends, items_sha256="other"))
    assert [panel.stem for panel in panels(synthetic)] == [
        "sudoku-GSAI-ML-LLaDA-8B-Instruct-builtin-test-exact_match",
        "sudoku-tiny-builtin-test-exact_match",
        "sudoku-tiny-builtin-test-exact_match-2",
        "sudoku-tiny-builtin-validation-exact_match",
    ]


def test_a_single_checkpoint_is_no_curve(synthetic: Any) -> None:
    synthetic.run(records=curve(synthetic, ("last", 24, 128)))
    assert panels(synthetic) == []


def test_step_evaluations_on_the_validation_split_are_drawn_apart(synthetic: Any) -> None:
    steps = curve(synthetic, ("step", 8, 64), ("step", 16, 80), split="validation")
    synthetic.run(records=[*curve(synthetic, ("base", 0, 32), ("last", 24, 128)), *steps])
    points = {panel.protocol.split: len(panel.lines[0].points) for panel in panels(synthetic)}
    assert points == {"test": 2, "validation": 2}


def test_names_from_outside_make_safe_file_names(synthetic: Any) -> None:
    metrics = {"pass@1": synthetic.metrics(9)["exact_match"]}
    records = [synthetic.evaluation("base", 0, metrics), synthetic.evaluation("last", 24, metrics)]
    synthetic.run(task="a b:..c", records=records)
    assert panels(synthetic)[0].stem == "a-b-c-pass-1"
