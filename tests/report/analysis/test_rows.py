from __future__ import annotations

import csv
import io
from dataclasses import replace
from typing import Any

import pandas as pd
import pytest

from harness.report.analysis.rows import overlapping, row_points
from harness.report.analysis.statistics import Interval
from harness.report.formats.csv import points_csv


def test_a_row_is_the_mean_over_seeds_with_students_interval(synthetic: Any) -> None:
    for seed, solved in enumerate((128, 144, 160)):
        synthetic.run(seed=seed, records=synthetic.ends(32, solved))
    (row,) = synthetic.rows()
    assert row.seeds == (0, 1, 2)
    assert (row.value, row.base, row.gain) == (0.5625, 0.125, 0.4375)
    # s = 0.0625, t(2) = 4.3026527: half 0.1552586.
    assert row.over == "seeds"
    assert row.interval is not None
    assert (row.interval.low, row.interval.high) == pytest.approx((0.4072414, 0.7177586), abs=1e-6)
    assert row.gain_interval is not None
    assert (row.gain_interval.low, row.gain_interval.high) == pytest.approx((0.2822414, 0.5927586), abs=1e-6)
    assert (row.n, row.samples, row.flops_total, row.seconds) == (256, 1536, 2.4e11, 12.0)


def test_costs_are_means_over_seeds(synthetic: Any) -> None:
    for seed, seconds in enumerate((3.0, 5.0)):
        last = synthetic.evaluation("last", 24, synthetic.metrics(9), seconds=seconds, flops_total=1e9 * (seed + 1))
        synthetic.run(seed=seed, records=[last])
    (row,) = synthetic.rows()
    assert (row.seconds, row.flops_total) == (4.0, 1.5e9)


def test_the_seed_interval_is_cut_at_1(synthetic: Any) -> None:
    for seed, solved in enumerate((200, 256)):
        synthetic.run(seed=seed, records=synthetic.ends(32, solved))
    (row,) = synthetic.rows()
    assert row.interval is not None
    assert row.interval.high == 1.0


def test_the_headline_metric_comes_first_and_can_be_chosen(synthetic: Any) -> None:
    synthetic.run()
    assert [found.metric for found in synthetic.tables()] == ["exact_match", "cell_accuracy", "validity"]
    chosen = synthetic.tables(headline="validity")
    assert [found.metric for found in chosen] == ["validity", "cell_accuracy", "exact_match"]


def test_the_seed_and_the_device_do_not_make_a_variant(synthetic: Any) -> None:
    gpu = {**synthetic.settings, "seed": 1, "model": {"name": "tiny", "device": "cuda"}}
    synthetic.run(seed=0)
    synthetic.run(seed=1, settings=gpu)
    (row,) = synthetic.rows()
    assert row.seeds == (0, 1)
    assert row.group.variant == ""


def test_a_variant_names_what_matters_and_not_the_device(synthetic: Any) -> None:
    changes = {"model": {"name": "tiny", "device": "cuda"}, "optimizer": {"learning_rate": 0.001}}
    synthetic.run(seed=0)
    synthetic.run(seed=1, config_hash="ffffffff", settings={**synthetic.settings, **changes})
    assert [row.group.variant for row in synthetic.rows()] == [
        "optimizer.learning_rate=0.0003",
        "optimizer.learning_rate=0.001",
    ]


@pytest.mark.parametrize(
    ("change", "together"),
    [
        ({"decoding": {"num_steps": 16, "temperature": 0.0}}, False),
        ({"items_sha256": "other"}, False),
        ({"split": "validation"}, False),
        ({"decoding": {"num_steps": 8, "temperature": 0.0, "batch_size": 1}}, True),
        ({"eval_seconds": 9.0, "tokens_per_second": 1.0}, True),
    ],
)
def test_seeds_join_only_under_one_protocol(synthetic: Any, change: dict[str, Any], together: bool) -> None:
    synthetic.run(seed=0, records=synthetic.ends(32, 158))
    synthetic.run(seed=1, records=synthetic.ends(32, 158, **change))
    assert len(synthetic.rows()) == (1 if together else 2)


def test_step_evaluations_under_another_protocol_make_no_row(synthetic: Any) -> None:
    step = synthetic.evaluation("step", 12, synthetic.metrics(90), split="validation")
    synthetic.run(records=[*synthetic.ends(32, 158), step])
    assert len(synthetic.rows()) == 1


def test_the_csv_holds_fractions_and_survives_pandas(synthetic: Any) -> None:
    synthetic.demo()
    text = points_csv(row_points(synthetic.tables()))
    frame = pd.read_csv(io.StringIO(text))
    assert len(frame) == 9
    row = next(csv.DictReader(io.StringIO(text)))
    assert (row["method"], row["metric"], row["checkpoint"], row["interval"]) == (
        "egspo",
        "exact_match",
        "last",
        "seeds",
    )
    # 140, 149, 158 of 256.
    assert row["value"] == "0.58203125"
    assert (row["base"], row["gain"]) == ("0.1484375", "0.43359375")
    assert (row["bootstrap_low"], row["bootstrap_high"]) == ("0.546875", "0.6171875")
    assert (row["seeds"], row["n"], row["samples"], row["flops_total"]) == ("0 1 2", "256", "1536", "240000000000")
    assert row["labels"] == "tiny model; builtin data"
    assert ((frame.low <= frame.value) & (frame.value <= frame.high)).all()


def test_touching_intervals_overlap_and_a_missing_one_tells_nothing(synthetic: Any) -> None:
    synthetic.run(method="egspo")
    (row,) = synthetic.rows()
    best = replace(row, value=0.75, interval=Interval(low=0.625, high=0.875))
    assert overlapping(best, replace(row, value=0.5, interval=Interval(low=0.375, high=0.625)))
    assert not overlapping(best, replace(row, value=0.5, interval=Interval(low=0.4375, high=0.5625)))
    assert overlapping(best, replace(row, interval=None))
