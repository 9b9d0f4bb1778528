"""Exact arithmetic: what is an expression, what it is worth, and that no text takes long."""

from __future__ import annotations

from fractions import Fraction

import pytest
from hypothesis import given
from hypothesis import strategies as st

from harness.scoring.expressions import evaluate, uses

SECONDS = 0.05
DEADLINE = 10 * SECONDS

TREES = st.recursive(
    st.integers(0, 99).map(str),
    lambda inner: st.builds("({}{}{})".format, inner, st.sampled_from("+-*/"), inner) | st.builds("-{}".format, inner),
    max_leaves=8,
)


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("1+2*3", 7),
        ("(1+2)*3", 9),
        ("8-3-2", 3),
        ("8/4/2", 1),
        ("2*-3", -6),
        ("--4", 4),
        ("-2+5", 3),
        ("+(3)", 3),
        (" 1 +\n 2 ", 3),
        ("1/3+1/3+1/3", 1),
        ("7/2", Fraction(7, 2)),
        ("0", 0),
    ],
)
def test_an_expression_has_its_exact_value(text, value):
    assert evaluate(text) == value


@pytest.mark.parametrize(
    "text",
    [
        "",
        "()",
        "1+",
        "+",
        "1 2",
        "(1",
        "1)",
        "2(3)",
        "(2)(3)",
        "1=1",
        "2**3",
        "7//2",
        "1.5",
        "1.",
        "05",
        "1e3",
        "a",
        "²",
        "٣+1",
    ],
)
def test_anything_else_is_no_expression(text):
    assert evaluate(text) is None


def test_a_division_by_zero_has_no_value():
    assert evaluate("1/(2-2)") is None


@pytest.mark.parametrize(("text", "value"), [("7//2", 3), ("13.", 13), (".5+1.5", 2), ("00", 0), ("(1\n+2)", 3)])
def test_as_python_also_takes_what_eval_takes(text, value):
    assert evaluate(text, as_python=True) == value


@pytest.mark.parametrize("text", ["1\n+2", "2**3", "9**9**9", "05", "1,2", "(5)(3)", "٣"])
def test_as_python_refuses_what_eval_refuses_and_every_power(text):
    assert evaluate(text, as_python=True) is None


@given(TREES)
def test_a_random_expression_has_python_s_value(text):
    try:
        expected = eval(text.replace("/", "*F(1)/"), {"F": Fraction})
    except ZeroDivisionError:
        expected = None
    assert evaluate(text) == expected


@pytest.mark.parametrize(
    ("text", "numbers", "right"),
    [
        ("3*4+5", [3, 4, 5], True),
        ("5+4*3", [3, 4, 5], True),
        ("3*4", [3, 4, 5], False),
        ("3*4+5+5", [3, 4, 5], False),
        ("3*45", [3, 4, 5], False),
        ("25", [5, 2], False),
        ("3+3", [3, 3], True),
        ("", [], True),
    ],
)
def test_every_number_is_used_once(text, numbers, right):
    assert uses(text, numbers) is right


@pytest.mark.parametrize(
    "text", ["(" * 20_000, ")" * 20_000, "-" * 20_000 + "1", "9" * 20_000, "1+" * 10_000, "9*" * 9999 + "9", "9**9**9"]
)
def test_20_kilobytes_of_anything_are_judged_in_time(text, processor_time):
    with processor_time() as seconds:
        evaluate(text)
        evaluate(text, as_python=True)
        uses(text, [9, 9, 9])
        assert seconds() < DEADLINE


def test_ten_thousand_parentheses_are_not_too_deep():
    assert evaluate("(" * 9_000 + "7" + ")" * 9_000) == 7
