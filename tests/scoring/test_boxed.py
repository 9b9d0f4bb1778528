"""Boxes: the robust reading and those of d1, AGRPO and the MATH data set."""

from __future__ import annotations

import pytest

from harness.scoring.boxed import boxes, first_boxed, last_boxed, official_boxed, shallow_boxes


def test_the_last_balanced_box_counts_with_its_inner_braces():
    assert last_boxed("\\boxed{1} then \\boxed{\\frac{1}{2}} and \\boxed{open") == "\\frac{1}{2}"
    assert last_boxed("\\boxed{open") is None
    assert last_boxed("none") is None


@pytest.mark.parametrize(
    ("text", "contents"),
    [
        ("\\boxed{1} \\boxed{2}", ["1", "2"]),
        ("\\boxed{1 \\boxed{2} 3} \\boxed{4}", ["1 \\boxed{2} 3", "4"]),
        ("\\boxed{1 \\boxed{2}", ["2"]),
        ("boxed{3} and \\.boxed{4}", ["3", "4"]),
        ("\\boxed {5} \\fbox{6}", ["5", "6"]),
        ("unboxed{7} \\boxed 8", []),
    ],
)
def test_boxes_are_found_in_order_also_without_their_backslash(text, contents):
    assert [box.content for box in boxes(text)] == contents
    assert all(text[box.start : box.end].endswith(f"{{{box.content}}}") for box in boxes(text))


def test_the_first_box_is_the_one_that_agrpo_reads():
    assert first_boxed("\\boxed{1{2}} \\boxed{3}") == "1{2}"
    assert first_boxed("\\boxed{1 \\boxed{3}") is None


def test_d1_cuts_boxes_at_the_first_closing_brace_on_their_line():
    assert shallow_boxes("\\boxed{\\frac{1}{2}} \\boxed{3\n} \\boxed{4}") == ["\\frac{1", "4"]
    assert shallow_boxes("\\boxed{") == []


@pytest.mark.parametrize(
    ("text", "read"),
    [
        ("no box", "no box"),
        ("\\boxed{1} \\boxed{2}", "2"),
        ("\\boxed{1} \\boxed{2", None),
        ("$\\boxed 7$ so", "7"),
        ("\\fbox{3}", "\\fbox{3}"),
        ("\\boxed{\\text{a}}", "\\text{a}"),
    ],
)
def test_the_official_box(text, read):
    assert official_boxed(text) == read
