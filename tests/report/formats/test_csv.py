from __future__ import annotations

import csv
import io
import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from harness.report.analysis.points import make_points
from harness.report.chapters.table import Table, text_columns
from harness.report.formats.csv import csv_text, exact, points_csv, table_csv


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


@pytest.mark.parametrize(
    "text",
    [
        "=1+1",
        "=HYPERLINK('https://evil.example')",
        "+cmd|' /C calc'!A0",
        "-2+3",
        "@SUM(A1:A9)",
        "\t=1+1",
        "\r=1+1",
        "-1.5 [a1, b2]",
        "+1.5;=1",
        "--5",
        "+",
    ],
)
def test_a_text_that_a_spreadsheet_would_run_is_marked_as_one(text: str) -> None:
    ((cell,),) = csv.reader(io.StringIO(csv_text(["a"], [[text]]).partition("\n")[2]))
    assert cell == (text if len(text) == 1 else "'" + text.replace("\r", "\\r"))


@pytest.mark.parametrize(
    "text",
    ["-29.0", "+7.2", "-29.0 [-37.4, -20.7]", "-1,536", "+1.5e-05", "-", "a=b", "<0.001", "", "63.3 [59.4, 67.2]"],
)
def test_numbers_and_other_texts_stay_as_they_are(text: str) -> None:
    assert csv_text(["a", "b"], [[text, -1.5]]).splitlines()[1] in (f"{text},-1.5", f'"{text}",-1.5')


def test_a_carriage_return_begins_no_row() -> None:
    assert csv_text(["a"], [["x\r=1+1"], ["y\n=2"]]) == 'a\nx\\r=1+1\n"y\n=2"\n'


def test_titles_and_points_are_made_harmless_too() -> None:
    table = Table(title="t", columns=text_columns("=a()"), cells=(("@b()",),), notes=())
    assert table_csv(table) == "'=a()\n'@b()\n"
    assert points_csv(make_points("label", [{"label": "=c()"}])) == "label\n'=c()\n"
