from __future__ import annotations

import math
from pathlib import Path
from typing import Any

import pytest

from harness.records.jsonl import append_line, write_samples
from harness.records.run_folder import METRICS_FILE, TRACE_FILE
from harness.records.schema import TraceRecord
from harness.report.read.records import read_traces, read_updates, read_verdicts
from harness.report.read.runs import Skipped, collect


def traces_of(synthetic: Any) -> tuple[TraceRecord, ...] | Skipped:
    return read_traces(collect([synthetic.root]).runs[0])


def test_an_update_is_read_with_its_rates_and_means(synthetic: Any) -> None:
    synthetic.run(
        lines=[synthetic.line(3, reward_mean=0.5, clip_low=0.02, clip_high=0.01, step_entropy=[0.1, 0.2, 0.6])]
    )
    (update,) = read_updates(collect([synthetic.root]).runs[0])
    assert (update.update, update.reward, update.chosen_steps) == (3, 0.5, (1.0, 2.0))
    assert (update.clip_fraction, update.entropy) == (pytest.approx(0.03), pytest.approx(0.3))


def test_a_line_without_an_update_number_is_left_out_and_a_missing_number_is_nan(synthetic: Any) -> None:
    folder = synthetic.run(lines=[{"note": "resumed"}])
    append_line(folder / METRICS_FILE, {"update": 1})
    (update,) = read_updates(collect([synthetic.root]).runs[0])
    assert math.isnan(update.kl)
    assert (update.chosen_steps, update.first_of_rollout) == ((), True)


def test_traces_are_read_in_their_order(synthetic: Any) -> None:
    first, last = synthetic.trace(), synthetic.trace(iteration=24, update=46)
    synthetic.run(traces=[first, last])
    assert traces_of(synthetic) == (first, last)


def test_a_run_from_before_traces_has_none_and_no_problem(synthetic: Any) -> None:
    synthetic.run()
    assert traces_of(synthetic) == ()


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ("[1]\n", "a line is not a record"),
        ('{"schema": 9}\n', "schema 9, this version reads 1"),
        ('{"schema": 1}\n', "incomplete"),
        ("{\n{}\n", "not JSON"),
    ],
)
def test_a_damaged_file_has_a_reason_and_never_breaks_the_report(synthetic: Any, text: str, reason: str) -> None:
    (synthetic.run() / TRACE_FILE).write_text(text)
    problem = traces_of(synthetic)
    assert isinstance(problem, Skipped)
    assert problem.path == "sudoku/egspo-sa/tiny/0a1b2c3d-seed0/traces.jsonl"
    assert reason in problem.reason


def test_an_item_twice_is_no_verdict(tmp_path: Path) -> None:
    write_samples(tmp_path / "s.jsonl.gz", [{"id": "a", "metrics": {"exact_match": {"part": 1.0, "whole": 1.0}}}] * 2)
    assert read_verdicts(tmp_path, "s.jsonl.gz", "exact_match") == "exact match is no verdict per item"
