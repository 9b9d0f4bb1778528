"""The normal form of the official graders, with its peculiarities."""

from __future__ import annotations

import pytest

from harness.scoring.maths.hendrycks import same_text


@pytest.mark.parametrize(
    ("first", "second"),
    [
        ("\\dfrac12", "\\frac{1}{2}"),
        ("1/2", "\\frac{1}{2}"),
        ("0.5", "\\frac{1}{2}"),
        ("x = 5", "5"),
        ("\\sqrt3", "\\sqrt{3}"),
        ("90^\\circ", "90"),
        ("5\\text{ cm}", "5"),
        ("5\\text{ or }6", "5"),
        (".5", "0.5"),
        ("\\left( 1, 2 \\right)", "(1,2)"),
        ("50\\%", "50"),
    ],
)
def test_texts_with_one_normal_form(first, second):
    assert same_text(first, second)


@pytest.mark.parametrize(
    ("first", "second"),
    [("2/4", "1/2"), ("0.50", "0.5"), ("a/b", "\\frac{a}{b}"), ("25", "5"), ("xyz = 5", "5"), ("5.", "5")],
)
def test_texts_with_different_normal_forms(first, second):
    assert not same_text(first, second)


@pytest.mark.parametrize("text", ["\\sqrt", "\\frac", "a/b", "1 \\text{ a} \\text{ b}"])
def test_what_cannot_be_normalised_equals_itself_alone(text):
    assert same_text(text, text)
    assert not same_text(text, text + " ")
