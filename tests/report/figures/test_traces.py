from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from harness.report.figures.traces import shown_token, text_lines


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
