from __future__ import annotations

import csv
import io
import math
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from harness.records.run_folder import TRACE_FILE
from harness.report.collect import collect
from harness.report.groups import make_groups
from harness.report.traces import GroupTraces, read_traces, shown_token, step_entropies, text_lines, traces_csv


def found(synthetic: Any) -> GroupTraces:
    return read_traces(make_groups(collect([synthetic.root]).runs)[0])


def test_the_traces_of_the_first_seed_are_read_in_their_order(synthetic: Any) -> None:
    first, last = synthetic.trace(), synthetic.trace(iteration=24, update=46)
    synthetic.run(seed=1, traces=[synthetic.trace(reward=0.0)])
    synthetic.run(seed=0, traces=[first, last])
    assert found(synthetic).traces == (first, last)


def test_a_run_from_before_traces_has_none_and_no_problem(synthetic: Any) -> None:
    synthetic.run()
    item = found(synthetic)
    assert (item.traces, item.problem) == ((), None)


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
    problem = found(synthetic).problem
    assert problem is not None
    assert problem.path == "sudoku/egspo-sa/tiny/0a1b2c3d-seed0/traces.jsonl"
    assert reason in problem.reason


def test_the_entropy_of_a_step_is_the_mean_over_what_it_revealed(synthetic: Any) -> None:
    assert step_entropies(synthetic.trace()) == pytest.approx([0.1, 0.4])
    # Step 3 of 3 never came; the last token is filler.
    early = synthetic.trace(num_steps=3, unmask_step=(0, 0, 1, 3))
    assert step_entropies(early)[:2] == pytest.approx([0.1, 0.3])
    assert math.isnan(step_entropies(early)[2])


def test_every_token_and_every_greedy_token_is_a_line_of_the_csv(synthetic: Any) -> None:
    rows = list(csv.DictReader(io.StringIO(traces_csv([synthetic.trace()]))))
    assert [(row["token"], row["unmask_step"], row["chosen"]) for row in rows[:4]] == [
        ("1", "0", "0"),
        ("2", "0", "0"),
        ("3", "1", "1"),
        ("4", "1", "1"),
    ]
    assert [(row["greedy_step"], row["token"], row["reward"]) for row in rows[6:]] == [
        ("1", "3", "0.5"),
        ("1", "3", "0.5"),
    ]


@pytest.mark.parametrize(
    ("token", "shown"),
    [
        ("7", "7"),
        (" calculate", "calcula…"),
        ("\n", "↵"),
        (" ", "␣"),
        ("", ""),
        ("数", "▯"),
        ("a\tb", "a⇥b"),
    ],
)
def test_a_token_as_a_picture_shows_it(token: str, shown: str) -> None:
    assert shown_token(token, 8) == shown


@given(st.text(), st.integers(1, 12))
def test_a_shown_token_has_no_more_letters_than_asked_for_and_none_that_breaks_the_line(token: str, most: int) -> None:
    shown = shown_token(token, most)
    assert len(shown) <= most
    assert shown.isprintable()


def test_of_long_texts_the_end_is_shown() -> None:
    assert text_lines("one two three four five six", 10) == ["… four", "five six"]
    assert text_lines("one two\nthree", 10) == ["one two", "three"]
    assert text_lines("", 40) == ["(nothing before the first end token)"]
