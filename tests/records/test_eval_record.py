"""The record of an evaluation: what makes it another one, and lines that are older than some of its fields."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from harness.records.agreement import Agreement
from harness.records.jsonl import RecordError, read_lines
from harness.records.schema import EvalRecord, MetricTotals

OLD_RUNS = Path(__file__).resolve().parents[1] / "old_runs"
RECORD = EvalRecord(
    checkpoint="last",
    update=8,
    samples=64,
    flops_total=1.0,
    seconds=1.0,
    data="builtin",
    split="test",
    items_sha256="aa",
    decoding={"num_steps": 8, "temperature": 0.0},
    metrics={"accuracy": MetricTotals.of([(1, 1)])},
    ceiling={},
    nfe=8.0,
    tokens_per_second=9.0,
    eval_seconds=1.0,
    eval_flops=1.0,
    samples_file=None,
    batch_size=64,
    dtype="float32",
    weights="bb",
    prompts={"sha256": None, "few_shot": 0, "train_data": None},
)


@pytest.mark.parametrize(
    "change",
    [
        {"checkpoint": "step"},
        {"update": 9},
        {"data": "hub"},
        {"split": "train"},
        {"items_sha256": "ab"},
        {"decoding": {"num_steps": 4, "temperature": 0.0}},
        {"batch_size": 32},
        {"dtype": "bfloat16"},
        {"weights": "bc"},
        {"prompts": {"sha256": None, "few_shot": 1, "train_data": None}},
        {"seed": 1},
        {"packages": {"numpy": "2.0.0"}},
    ],
    ids=lambda change: next(iter(change)),
)
def test_what_was_evaluated_and_how_tells_records_apart(change: dict[str, Any]) -> None:
    assert replace(RECORD, **change).identity != RECORD.identity


def test_other_versions_of_what_programs_may_import_tell_records_apart() -> None:
    older, newer = (replace(RECORD, packages={"numpy": version}) for version in ("2.0.0", "2.1.0"))
    assert older.identity != newer.identity


def test_what_was_measured_does_not() -> None:
    again = replace(
        RECORD,
        metrics={"accuracy": MetricTotals.of([(0, 1)])},
        decoding={"temperature": 0.0, "num_steps": 8},
        eval_seconds=2.0,
        tokens_per_second=4.0,
        samples_file="samples.jsonl.gz",
    )
    assert again.identity == RECORD.identity


def test_a_record_is_read_as_it_was_written() -> None:
    assert EvalRecord.from_json(RECORD.to_json()) == RECORD


AGREEMENT = Agreement(
    exact="0123abcd",
    tokens=0.98,
    completions=0.75,
    metric="accuracy",
    exact_value=0.5,
    difference=-0.25,
    low=None,
    high=None,
    p=0.5,
    cost=0.4,
    gap_mean=0.01,
    gap_largest=2.0,
    gap_tokens=512,
)


def test_an_agreement_is_a_part_of_the_line_where_there_is_one_and_tells_no_records_apart() -> None:
    told = replace(RECORD, agreement=AGREEMENT)
    assert EvalRecord.from_json(told.to_json()) == told
    assert "agreement" not in RECORD.to_json()
    assert told.identity == RECORD.identity


@pytest.mark.parametrize(
    "change",
    [{"tokens": None}, {"exact": 3}, {"gap_tokens": "512"}, {"p": float("nan")}, {"exact": "a\nb"}, {"extra": 1.0}],
    ids=lambda change: next(iter(change)),
)
def test_an_agreement_with_values_of_a_wrong_kind_is_refused(change: dict[str, Any]) -> None:
    line = replace(RECORD, agreement=AGREEMENT).to_json()
    with pytest.raises(RecordError):
        EvalRecord.from_json({**line, "agreement": {**line["agreement"], **change}})
    with pytest.raises(RecordError):
        EvalRecord.from_json({**line, "agreement": "complete"})


def test_old_lines_without_the_younger_fields_are_read() -> None:
    lines = [line for path in sorted(OLD_RUNS.rglob("eval.jsonl")) for line in read_lines(path)]
    assert len(lines) > 100
    records = [EvalRecord.from_json(line) for line in lines]
    assert {(one.batch_size, one.dtype, one.weights) for one in records} == {(0, "", "")}
    assert all(one.to_json().items() >= line.items() for one, line in zip(records, lines, strict=True))
