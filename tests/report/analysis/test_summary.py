from __future__ import annotations

import csv
import io
from dataclasses import replace
from typing import Any

import pandas as pd
import pytest

from harness.records.schema import MetricTotals
from harness.report.analysis.rows import all_rows, summary_points
from harness.report.formats.csv import points_csv
from harness.report.read.runs import collect

HEADER = (
    "run,task,method,model,data,recipe,reward,seed,update,checkpoint,metric,value,low,high,n,"
    "flops_total,flops_forward,samples,seconds,split,completion_length,num_steps,batch_size,dtype"
)


def rows(synthetic: Any) -> list[dict[str, str]]:
    return list(csv.DictReader(io.StringIO(points_csv(summary_points(collect([synthetic.root]).runs)))))


def test_the_columns_are_exactly_these(synthetic: Any) -> None:
    synthetic.run()
    assert points_csv(summary_points(collect([synthetic.root]).runs)).splitlines()[0] == HEADER


def test_a_row_holds_the_numbers_of_its_checkpoint(synthetic: Any) -> None:
    records = [
        synthetic.evaluation("base", 0, synthetic.metrics(38)),
        synthetic.evaluation("last", 24, synthetic.metrics(158), flops_total=2.4e11, seconds=3.25),
    ]
    synthetic.run(seed=1, reward="random", records=records)
    found = {(row["checkpoint"], row["metric"]): row for row in rows(synthetic)}
    last = found["last", "exact_match"]
    assert last.pop("run") == "sudoku/egspo-sa/tiny/0a1b2c3d-seed1"
    assert float(last.pop("low")) == pytest.approx(0.556328, abs=1e-6)
    assert float(last.pop("high")) == pytest.approx(0.674581, abs=1e-6)
    assert last == {
        "task": "sudoku",
        "method": "egspo-sa",
        "model": "tiny",
        "data": "builtin",
        "recipe": "tiny",
        "reward": "random",
        "seed": "1",
        "update": "24",
        "checkpoint": "last",
        "metric": "exact_match",
        "value": "0.6171875",
        "n": "256",
        "flops_total": "240000000000",
        "flops_forward": "96000000000",
        "samples": "1536",
        "seconds": "3.25",
        "split": "test",
        "completion_length": "",
        "num_steps": "8",
        "batch_size": "",
        "dtype": "",
    }
    # 158 grids with 8 of 8 and 98 with 4 of 8: (1264 + 392) / 2048.
    assert found["last", "cell_accuracy"]["value"] == "0.80859375"
    assert found["base", "exact_match"]["value"] == "0.1484375"


def test_every_run_checkpoint_and_metric_has_one_row(synthetic: Any) -> None:
    synthetic.demo()
    found = rows(synthetic)
    keys = {(row["run"], row["checkpoint"], row["update"], row["metric"]) for row in found}
    assert len(found) == len(keys) == 9 * 7 * 3


def test_data_is_that_of_the_evaluation_not_of_the_run(synthetic: Any) -> None:
    records = [*synthetic.learning(40, 160), synthetic.evaluation("last", 24, synthetic.metrics(90), data="dir:papers")]
    synthetic.run(records=records)
    last = [row for row in rows(synthetic) if row["checkpoint"] == "last" and row["metric"] == "exact_match"]
    assert {(row["data"], row["value"]) for row in last} == {("builtin", "0.625"), ("dir:papers", "0.3515625")}


def test_an_evaluation_done_again_replaces_the_earlier_one(synthetic: Any) -> None:
    records = [*synthetic.learning(40, 160), synthetic.evaluation("last", 24, synthetic.metrics(128))]
    synthetic.run(records=records)
    last = [row for row in rows(synthetic) if row["checkpoint"] == "last" and row["metric"] == "exact_match"]
    assert [row["value"] for row in last] == ["0.5"]


def test_a_metric_without_items_has_no_value_and_no_interval(synthetic: Any) -> None:
    metrics = {**synthetic.metrics(10), "pass@1": MetricTotals.of([])}
    synthetic.run(records=[synthetic.evaluation("last", 24, metrics)])
    empty = next(row for row in rows(synthetic) if row["metric"] == "pass@1")
    assert (empty["value"], empty["low"], empty["high"], empty["n"]) == ("", "", "", "0")


def test_values_lie_inside_their_intervals_and_survive_pandas(synthetic: Any) -> None:
    synthetic.demo()
    text = points_csv(summary_points(collect([synthetic.root]).runs))
    frame = pd.read_csv(io.StringIO(text))
    assert ((frame.low <= frame.value) & (frame.value <= frame.high)).all()
    assert frame.value.between(0, 1).all()
    assert pd.read_csv(io.StringIO(frame.to_csv(index=False))).equals(frame)


def test_a_comma_in_a_name_stays_in_its_cell(synthetic: Any) -> None:
    synthetic.run(recipe="my, own.yaml")
    assert {row["recipe"] for row in rows(synthetic)} == {"my, own.yaml"}


def test_forward_passes_alone_stand_beside_all_and_are_blank_where_they_were_not_counted(synthetic: Any) -> None:
    synthetic.run(seed=0)
    synthetic.run(seed=1, records=[replace(record, flops_forward=None) for record in synthetic.learning(40, 160)])
    found = {
        (row["seed"], row["checkpoint"], row["update"]): (row["flops_total"], row["flops_forward"])
        for row in rows(synthetic)
    }
    assert found["0", "last", "24"] == ("240000000000", "96000000000")
    assert found["0", "base", "0"] == ("0", "0")
    assert found["1", "last", "24"] == ("240000000000", "")
    (table,) = [found for found in all_rows(synthetic.groups()) if found.metric == "exact_match"]
    assert table.rows[0].flops_forward is None
