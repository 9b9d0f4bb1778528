"""Extraction of the answer block: which block and which box count, and what is refused."""

from __future__ import annotations

import re

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from harness.scoring.answers import (
    answer_or_digits,
    bare_digits,
    bare_line,
    final_answer,
    last_answer,
    official_digits,
    official_last_answer,
    until_end,
)

FRAGMENTS = st.lists(
    st.sampled_from(["<answer>", "</answer>", "<answer", "answer>", "</", "12", " ", "\n", "٢", "²", "<Answer>"])
    | st.text(max_size=5),
    max_size=12,
).map("".join)
REPETITIONS = st.builds(lambda part, count: (part * count)[:20_000], FRAGMENTS, st.integers(1, 20_000))


def test_the_last_closed_block_counts():
    assert last_answer("<answer>1</answer> or rather <answer> 2\n</answer> done") == " 2\n"


def test_the_innermost_opening_tag_counts():
    assert last_answer("<answer>put it in <answer>7</answer>") == "7"


def test_a_stray_closing_tag_does_not_lengthen_the_block():
    assert last_answer("<answer>7</answer> see </answer>") == "7"


def test_an_empty_block_is_an_empty_answer_not_a_missing_one():
    assert last_answer("<answer></answer>2431") == ""


@pytest.mark.parametrize(
    "text",
    [
        "",
        "2431",
        "<answer>2431",
        "2431</answer>",
        "</answer>2431<answer>",
        "<Answer>2431</Answer>",
        "<answer >2431</answer>",
    ],
)
def test_without_a_closed_block_in_lower_case_there_is_no_answer(text):
    assert last_answer(text) is None


def test_a_block_opened_last_and_never_closed_leaves_the_closed_one_before_it():
    assert last_answer("<answer>1</answer><answer>2") == "1"
    assert official_last_answer("<answer>1</answer><answer>2") == "1"


def test_the_official_block_begins_at_its_first_opening_tag():
    assert official_last_answer("<answer>5 in <answer>7</answer>") == "5 in <answer>7"
    assert official_digits("<answer>5 in <answer>7</answer>") == "57"


def test_official_digits_join_what_words_and_separators_kept_apart():
    assert official_digits("<answer>row1: 2431, row2: 3124</answer>") == "1243123124"


def test_official_digits_keep_those_of_other_scripts():
    assert official_digits("<answer>\uff124²x٣</answer>") == "\uff124²٣"


def test_official_digits_tell_no_block_from_a_block_without_digits():
    assert official_digits("2431") is None
    assert official_digits("<answer>none</answer>") == ""


def test_bare_digits_are_read_without_the_white_space_around_them():
    assert bare_digits("\n 2431 ") == "2431"


@pytest.mark.parametrize("text", ["", "  ", "24 31", "-2431", "2431.", "x2431", "\uff12431", "24²1", "<answer>2431"])
def test_anything_beside_digits_is_not_bare(text):
    assert bare_digits(text) is None


def test_a_block_goes_before_bare_digits_and_bare_digits_need_no_block():
    assert answer_or_digits("<answer>x</answer>") == "x"
    assert answer_or_digits("2431") == "2431"
    assert answer_or_digits("The grid is 2431") is None


@given(FRAGMENTS)
def test_the_official_block_is_the_last_match_of_the_lazy_expression(text):
    matches = re.findall(r"<answer>(.*?)</answer>", text, re.DOTALL)
    assert official_last_answer(text) == (matches[-1] if matches else None)


@given(FRAGMENTS)
def test_the_strict_block_is_the_one_after_the_last_opening_tag_that_is_closed(text):
    match = re.match(r".*<answer>(.*?)</answer>", text, re.DOTALL)
    assert last_answer(text) == (match.group(1) if match else None)


@settings(max_examples=50, deadline=None)
@given(REPETITIONS)
def test_no_text_up_to_20_kilobytes_raises(text):
    official_digits(text)
    answer_or_digits(text)


@pytest.mark.parametrize(
    ("text", "answer"),
    [
        ("<answer>\\boxed{5}</answer>", "5"),
        ("\\boxed{4} <answer>5</answer>", "5"),
        ("<answer>\\boxed{5</answer>", "5"),
        ("<answer>\\boxed{5\n</answer}", "5"),
        ("so \\boxed{5}.", "5"),
        ("so boxed{5}.", "5"),
        ("\\boxed{4} is wrong, so it is \\boxed{5}", "5"),
        ("<answer>\\boxed{5", None),
        ("<answer></answer>", None),
        ("<answer>5</answer><|endoftext|><answer>6</answer>", "5"),
        ("5", None),
    ],
)
def test_the_final_answer(text, answer):
    assert final_answer(text, bare=False) == answer


@pytest.mark.parametrize(
    ("text", "answer"),
    [
        ("\\boxed{16} or \\boxed{18}", "16, 18"),
        ("$\\boxed{16}$, $\\boxed{17}$, and $\\boxed{18}$", "16, 17, 18"),
        ("\\boxed{16} \\text{ or } \\boxed{18}", "16, 18"),
        ("\\boxed{5}\n\\boxed{5}", "5, 5"),
        ("a line\nIt is not \\boxed{18}.\nanother", "It is not {18}."),
        ("17 or \\boxed{18}", "17 or {18}"),
        ("\\boxed{18} or 17", "{18} or 17"),
        ("It isn't $\\boxed{18}$", "It isn't ${18}$"),
        ("For all \\boxed{18}", "18"),
        ("\\boxed{18} orders", "18"),
    ],
)
def test_what_ties_a_box_to_other_values_is_part_of_the_answer(text, answer):
    assert final_answer(text, bare=False) == answer
    assert final_answer(f"<answer>\n{text}\n</answer>", bare=False) == answer


def test_a_bare_line_is_an_answer_only_where_asked_for():
    assert final_answer(" 5\n", bare=True) == "5"
    assert final_answer("5\n6", bare=True) is None
    assert bare_line("x" * 81) is None
    assert bare_line("<answer>5") is None


def test_what_follows_an_end_token_is_filler():
    assert until_end("a<|eot_id|>b<|endoftext|>c") == "a"
