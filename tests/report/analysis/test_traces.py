from __future__ import annotations

import csv
import io
import math
from typing import Any

import pytest

from harness.report.analysis.traces import step_entropies, trace_points
from harness.report.formats.csv import points_csv


def test_the_entropy_of_a_step_is_the_mean_over_what_it_revealed(synthetic: Any) -> None:
    assert step_entropies(synthetic.trace()) == pytest.approx([0.1, 0.4])
    # Step 3 of 3 never came; the last token is filler.
    early = synthetic.trace(num_steps=3, unmask_step=(0, 0, 1, 3))
    assert step_entropies(early)[:2] == pytest.approx([0.1, 0.3])
    assert math.isnan(step_entropies(early)[2])


def test_every_token_and_every_greedy_token_is_a_line_of_the_csv(synthetic: Any) -> None:
    rows = list(csv.DictReader(io.StringIO(points_csv(trace_points([synthetic.trace()])))))
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
