"""math-verify in its own process: older rules, and the limit on a verdict."""

from __future__ import annotations

import time

import pytest

from harness.scoring.maths.verifier import same_value, same_value_by_older_rules
from harness.scoring.maths.worker import VERDICT_WALL_SECONDS


def test_a_percentage_was_not_its_number_by_the_older_rules():
    assert same_value("$59$", "$59\\%$")
    assert not same_value_by_older_rules("$59$", "$59\\%$")
    assert same_value_by_older_rules("$\\frac{1}{2}$", "$50\\%$")


@pytest.mark.parametrize(
    "answer",
    ["9^{9^{9^{9}}}", "10^{10^{10}}!", "(" * 10_000, "{" * 20_000, "\\frac{" * 3_000, "1+" * 10_000, "٣" * 20_000],
)
def test_no_answer_keeps_the_process_beyond_its_limit_and_the_next_verdict_is_right(answer):
    start = time.monotonic()
    assert not same_value("$7$", f"${answer}$")
    assert same_value("$\\frac{14}{2}$", "$7$")
    assert time.monotonic() - start < 10 * VERDICT_WALL_SECONDS
