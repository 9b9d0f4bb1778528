from __future__ import annotations

import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from harness.report.analysis.points import make_points
from harness.report.formats.csv import csv_text, exact, points_csv


@pytest.mark.parametrize(
    ("value", "text"),
    [(None, ""), (math.nan, ""), (math.inf, ""), (240000000000.0, "240000000000"), (1 / 3, "0.3333333333"), (0, "0")],
)
def test_exact_numbers_of_csv_files(value: float | None, text: str) -> None:
    assert exact(value) == text


@given(st.floats(-1e300, 1e300))
def test_exact_numbers_read_back_to_ten_digits(value: float) -> None:
    assert float(exact(value)) == pytest.approx(value, rel=1e-9)


def test_a_record_fills_the_columns_that_it_has_and_no_others() -> None:
    points = make_points("label mean low", [{"mean": 0.5, "label": "a,b", "unasked": 1}, {"low": None, "label": ""}])
    assert points_csv(points) == 'label,mean,low\n"a,b",0.5,\n,,\n'


def test_no_record_leaves_the_columns() -> None:
    assert points_csv(make_points("a b", [])) == "a,b\n"


def test_texts_stay_as_they_are_and_numbers_are_written_exactly() -> None:
    assert csv_text(["a", "b"], [["1.50", 1.5], ["x", 2.0]]) == "a,b\n1.50,1.5\nx,2\n"
