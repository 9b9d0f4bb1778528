from __future__ import annotations

import copy
import csv
import io
from typing import Any

import pytest

from harness.report.analysis.sweeps import Sweep, briefly_named, find_sweeps, sweep_points, without_variants
from harness.report.formats.csv import points_csv

SELECTION = "method.selection"
METRICS = {"sudoku": "exact_match"}


def run(
    synthetic: Any, solved: int, *, config_hash: str, changed: dict[str, Any] | None = None, **options: Any
) -> None:
    """A run with `solved` of 256 at its end and settings changed by dotted key on the command line."""
    settings = copy.deepcopy(dict(synthetic.settings))
    settings["evaluation"] = {"decoding": {"num_steps": 8}}
    settings["method"] |= {"selection": "entropy"}
    for key, value in (changed or {}).items():
        *above, name = key.split(".")
        place = settings
        for part in above:
            place = place[part]
        place[name] = value
    provenance = dict.fromkeys(changed or {}, "command line")
    end = synthetic.evaluation("last", 24, synthetic.metrics(solved), **options.pop("evaluation", {}))
    synthetic.run(settings=settings, provenance=provenance, config_hash=config_hash, records=[end], **options)


def sweeps_of(synthetic: Any) -> list[Sweep]:
    return find_sweeps(synthetic.groups(), METRICS)


def test_runs_that_differ_in_the_number_of_steps_are_a_sweep_by_rising_value(synthetic: Any) -> None:
    run(synthetic, 64, config_hash="k2")
    run(synthetic, 128, config_hash="k10", changed={"method.num_selected": 10})
    run(synthetic, 32, config_hash="k1", changed={"method.num_selected": 1})
    (sweep,) = sweeps_of(synthetic)
    (line,) = sweep.lines
    assert sweep.key == "method.num_selected"
    assert [(point.x, point.row.value) for point in line.points] == [(1, 0.125), (2, 0.25), (10, 0.5)]
    assert line.reference.variant == "num_selected=2"


def test_runs_that_differ_in_two_settings_are_no_sweep(synthetic: Any) -> None:
    run(synthetic, 64, config_hash="k2")
    run(synthetic, 64, config_hash="k4", changed={"method.num_selected": 4, "optimizer.learning_rate": 1.0})
    assert sweeps_of(synthetic) == []


def test_other_items_or_another_reward_are_no_sweep(synthetic: Any) -> None:
    run(synthetic, 64, config_hash="k2")
    changed = {"method.num_selected": 4}
    run(synthetic, 64, config_hash="k4", changed=changed, evaluation={"items_sha256": "other"})
    run(synthetic, 64, config_hash="k5", changed=changed, reward="random")
    assert sweeps_of(synthetic) == []


def test_methods_with_the_same_key_are_lines_of_one_sweep(synthetic: Any) -> None:
    for method in ("egspo", "egspo-sa"):
        run(synthetic, 64, config_hash="k2", method=method)
        run(synthetic, 64, config_hash="k4", method=method, changed={"method.num_selected": 4})
    (sweep,) = sweeps_of(synthetic)
    assert [line.reference.method for line in sweep.lines] == ["egspo", "egspo-sa"]


def test_a_setting_that_the_method_does_not_name_is_no_ablation(synthetic: Any) -> None:
    run(synthetic, 64, config_hash="w1")
    run(synthetic, 64, config_hash="w2", changed={"method.stepwise_weight": 0.25})
    run(synthetic, 64, config_hash="k2", method="someone-elses")
    run(synthetic, 64, config_hash="k4", method="someone-elses", changed={"method.num_selected": 4})
    assert sweeps_of(synthetic) == []


def test_values_that_are_names_are_a_choice_and_numbers_are_not(synthetic: Any) -> None:
    for number, changed in enumerate(({}, {SELECTION: "uniform"}, {"method.num_selected": 4})):
        run(synthetic, 64, config_hash=f"hash{number}", changed=changed)
    assert {sweep.key: sweep.is_choice for sweep in sweeps_of(synthetic)} == {
        SELECTION: True,
        "method.num_selected": False,
    }


def test_another_number_of_evaluation_steps_is_placed_by_its_forward_passes(synthetic: Any) -> None:
    key = "evaluation.decoding.num_steps"
    run(synthetic, 64, config_hash="s8", evaluation={"nfe": 7.5})
    decoding = {"num_steps": 16, "temperature": 0.0}
    run(synthetic, 96, config_hash="s16", changed={key: 16}, evaluation={"nfe": 16.0, "decoding": decoding})
    (sweep,) = sweeps_of(synthetic)
    assert sweep.key == key
    assert [(point.x, point.setting) for point in sweep.lines[0].points] == [(7.5, 8), (16.0, 16)]


def test_the_changed_variants_leave_the_main_tables_and_the_reference_needs_no_variant(synthetic: Any) -> None:
    run(synthetic, 64, config_hash="entropy")
    run(synthetic, 64, config_hash="uniform", changed={SELECTION: "uniform"})
    run(synthetic, 64, config_hash="rate", changed={"optimizer.learning_rate": 1.0})
    groups = synthetic.groups()
    sweeps = find_sweeps(groups, METRICS)
    assert [sweep.key for sweep in sweeps] == [SELECTION]
    # The other learning rate belongs to no sweep: it stays, and both keep their variants.
    standing = without_variants(groups, sweeps)
    assert {group.config_hash for group in standing} == {"entropy", "rate"}
    assert all("learning_rate=" in group.variant for group in standing)


def test_a_reference_that_is_left_alone_loses_its_variant(synthetic: Any) -> None:
    run(synthetic, 64, config_hash="entropy")
    run(synthetic, 64, config_hash="uniform", changed={SELECTION: "uniform"})
    groups = synthetic.groups()
    (alone,) = without_variants(groups, find_sweeps(groups, METRICS))
    assert (alone.config_hash, alone.variant) == ("entropy", "")


def test_the_plotted_points_as_csv(synthetic: Any) -> None:
    run(synthetic, 64, config_hash="entropy")
    run(synthetic, 128, config_hash="uniform", changed={SELECTION: "uniform"})
    rows = list(csv.DictReader(io.StringIO(points_csv(sweep_points(sweeps_of(synthetic)[0])))))
    assert [(row["value"], row["x"], row["mean"]) for row in rows] == [
        ("entropy", "0", "0.25"),
        ("uniform", "1", "0.5"),
    ]
    # Wilson, 128 of 256: 0.5 -+ 0.0608.
    assert float(rows[1]["low"]) == pytest.approx(0.4392, abs=5e-5)


def test_variants_are_named_by_their_own_setting_behind_the_groups_that_stand_for_their_method(synthetic: Any) -> None:
    run(synthetic, 64, config_hash="k2")
    run(synthetic, 64, config_hash="k4", changed={"method.num_selected": 4})
    run(synthetic, 64, config_hash="uniform", changed={SELECTION: "uniform"})
    groups = synthetic.groups()
    sweeps = find_sweeps(groups, METRICS)
    named = briefly_named(groups, without_variants(groups, sweeps), sweeps)
    first, *others = [group.label for group in named]
    assert first == "EGSPO-SA"
    assert set(others) == {"EGSPO-SA (num_selected=4)", "EGSPO-SA (selection=uniform)"}


def test_a_brief_name_that_fits_two_groups_is_not_used(synthetic: Any) -> None:
    key = "method.num_selected"
    run(synthetic, 64, config_hash="k2")
    run(synthetic, 64, config_hash="k4", changed={key: 4})
    run(synthetic, 64, config_hash="k2-uniform", changed={SELECTION: "uniform"})
    run(synthetic, 64, config_hash="k4-uniform", changed={key: 4, SELECTION: "uniform"})
    groups = synthetic.groups()
    sweeps = find_sweeps(groups, METRICS)
    labels = [group.label for group in briefly_named(groups, without_variants(groups, sweeps), sweeps)]
    assert len(labels) == len(set(labels)) == 4
