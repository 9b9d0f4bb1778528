"""Sudoku's scores: strict metrics, near misses, and the reward against the cases of the official code."""

from __future__ import annotations

import json
import sys

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from harness.records.schema import MetricTotals
from harness.registry import get_task
from harness.task.base import Example, Score

SUDOKU = get_task("sudoku")()
MODULE = sys.modules[type(SUDOKU).__module__]
FULL_WIDTH_2 = "\uff12"

# 2431 / 3124 / 4213 / 1342; nine blanks.
PUZZLE, SOLUTION = "2030012002100002", "2431312442131342"
# Swapping 1 and 3 in the four blanks gives the other valid grid.
TWO_WAYS, FIRST_WAY, SECOND_WAY = "0204040221434321", "1234341221434321", "3214143221434321"


def item(puzzle: str = PUZZLE, solution: str = SOLUTION) -> Example:
    return MODULE.make_example("hand", puzzle, solution)


def score(completion: str, puzzle: str = PUZZLE, solution: str = SOLUTION) -> Score:
    return SUDOKU.score([item(puzzle, solution)], [completion])[0]


def tagged(answer: str) -> str:
    return f"<reasoning>\nrow by row\n</reasoning>\n<answer>\n{answer}\n</answer>"


def parts(verdict: Score) -> dict[str, tuple[float, float]]:
    strict = ("exact_match", "cell_accuracy", "validity")
    return {name: (verdict.metrics[name].part, verdict.metrics[name].whole) for name in strict}


def test_a_prompt_sent_back_is_not_an_answer():
    verdict = score(SUDOKU.prompt(item())[0]["content"])
    assert (verdict.extracted, verdict.reward) == (None, 0.0)


@pytest.mark.parametrize("completion", [SOLUTION, f" {SOLUTION}\n", tagged(SOLUTION), tagged("2431\n3124\n4213\n1342")])
def test_the_stored_grid_solves_the_puzzle_bare_or_tagged(completion):
    verdict = score(completion)
    assert (verdict.reward, verdict.correct, verdict.extracted) == (1.0, True, SOLUTION)
    assert parts(verdict) == {"exact_match": (1, 1), "cell_accuracy": (9, 9), "validity": (1, 1)}


def test_one_wrong_blank_costs_one_ninth_and_the_solution():
    verdict = score(tagged("2431312442131332"))
    assert verdict.reward == pytest.approx(8 / 9)
    assert parts(verdict) == {"exact_match": (0, 1), "cell_accuracy": (8, 9), "validity": (0, 1)}
    assert not verdict.correct


def test_a_changed_clue_costs_the_solution_but_no_reward():
    verdict = score(tagged("1431312442131342"))
    assert verdict.reward == 1.0
    assert parts(verdict) == {"exact_match": (0, 1), "cell_accuracy": (9, 9), "validity": (0, 1)}


def test_a_legal_grid_that_changes_a_clue_is_not_valid():
    assert parts(score(tagged(SECOND_WAY)))["validity"] == (0, 1)


def test_the_other_solution_is_valid_but_not_exact():
    verdict = score(SECOND_WAY, TWO_WAYS, FIRST_WAY)
    assert (verdict.reward, verdict.correct) == (0.0, False)
    assert parts(verdict) == {"exact_match": (0, 1), "cell_accuracy": (0, 4), "validity": (1, 1)}


@pytest.mark.parametrize("answer", [f"{SOLUTION}1", f"1{SOLUTION}", f"{SOLUTION}{SOLUTION}", SOLUTION[:-1]])
def test_a_digit_too_many_or_too_few_is_no_grid(answer):
    for completion in (answer, tagged(answer)):
        verdict = score(completion)
        assert verdict.extracted is None
        assert parts(verdict) == {"exact_match": (0, 1), "cell_accuracy": (0, 9), "validity": (0, 1)}


def test_the_reward_ignores_a_17th_digit_and_counts_a_missing_one_as_wrong():
    assert score(f"{SOLUTION}1").reward == 1.0
    assert score("2431312442131").reward == pytest.approx(7 / 9)
    assert score(f"1{SOLUTION}").reward < 0.5


def test_a_cell_of_25_is_not_5_and_not_2_and_5():
    spaced = " ".join(SOLUTION)
    assert score(tagged(spaced)).correct
    assert score(tagged("25" + spaced[1:])).extracted is None
    fifteen_cells_and_sixteen_digits = "24" + spaced[3:]
    assert score(tagged(fifteen_cells_and_sixteen_digits)).extracted is None


@pytest.mark.parametrize(
    "answer",
    [
        "2|4|3|1|3|1|2|4|4|2|1|3|1|3|4|2",
        "[2431, 3124, 4213, 1342]",
        f"```\n{SOLUTION}\n```",
        "| 2 | 4 | 3 | 1 |\n|---|---|---|---|\n| 3 | 1 | 2 | 4 |\n| 4 | 2 | 1 | 3 |\n| 1 | 3 | 4 | 2 |",
        "|   |   |   |   |\n|:-:|:-:|:-:|:-:|\n| 2 | **4** | 3 | 1 |\n|3|1|2|4|\n|4|2|1|3|\n|1|3|4|2|",
        "| A | B | C | D |\n|---|---|---|---|\n|2|4|3|1|\n|3|1|2|4|\n|4|2|1|3|\n|1|3|4|2|",
        "+-----+-----+\n| 2 4 | 3 1 |\n| 3 1 | 2 4 |\n+-----+-----+\n| 4 2 | 1 3 |\n| 1 3 | 4 2 |\n+-----+-----+",
        "\u250c\u2500\u2500\u2510\n\u25022431\u2502\n\u25023124\u2502\n\u25024213\u2502\n\u25021342\u2502\n\u2514\u2500\u2500\u2518",
        f"\\boxed{{{SOLUTION}}}",
        f"The board is $\\boxed{{{SOLUTION}}}$.",
        "\\begin{array}{|c|c|c|c|} \\hline 2&4&3&1 \\\\ 3&1&2&4 \\\\ 4&2&1&3 \\\\ 1&3&4&2 \\\\ \\hline \\end{array}",
        f"**{SOLUTION}**",
    ],
)
def test_a_layout_of_equal_pieces_is_read(answer):
    verdict = score(tagged(answer))
    assert (verdict.correct, verdict.extracted) == (True, SOLUTION)


@pytest.mark.parametrize(
    "answer",
    [
        f"Grid: {SOLUTION}",
        f"-{SOLUTION}",
        "2431.312442131342",
        FULL_WIDTH_2 + SOLUTION[1:],
        f"\\boxed{{{SOLUTION}}} or \\boxed{{{SOLUTION[::-1]}}}",
        "| r1 | 2431 |\n|---|---|\n| r2 | 3124 |\n| r3 | 4213 |\n| r4 | 1342 |",
        f"{SOLUTION[:8]}\n-\n{SOLUTION[8:15]}",
        "---\n---",
    ],
)
def test_anything_beside_digits_and_layout_is_no_grid(answer):
    assert score(tagged(answer)).extracted is None


@pytest.mark.parametrize(
    "completion",
    ["", f"<answer>{SOLUTION}", f"{SOLUTION}</answer>", f"The grid is {SOLUTION}", "<answer></answer>"],
)
def test_without_an_answer_there_is_no_reward(completion):
    verdict = score(completion)
    assert (verdict.reward, verdict.correct, verdict.extracted) == (0.0, False, None)


def test_the_puzzle_written_back_solves_nothing():
    verdict = score(tagged(PUZZLE))
    assert verdict.reward == 0.0
    assert parts(verdict) == {"exact_match": (0, 1), "cell_accuracy": (0, 9), "validity": (0, 1)}


def test_a_puzzle_without_blanks_does_not_divide_by_zero():
    verdict = score(SOLUTION, SOLUTION, SOLUTION)
    assert (verdict.reward, verdict.correct) == (0.0, True)
    assert parts(verdict)["cell_accuracy"] == (0, 0)
    assert SUDOKU.ceiling([item(SOLUTION, SOLUTION)]) == {}


def test_cell_accuracy_weighs_items_by_their_blanks():
    verdicts = SUDOKU.score([item(), item(TWO_WAYS, FIRST_WAY)], ["2431312442131332", FIRST_WAY])
    ratios = [verdict.metrics["cell_accuracy"] for verdict in verdicts]
    assert MetricTotals.of((ratio.part, ratio.whole) for ratio in ratios).value == pytest.approx(12 / 13)


def test_examples_and_completions_must_pair_up():
    with pytest.raises(ValueError, match="shorter"):
        SUDOKU.score([item(), item()], [SOLUTION])


@pytest.fixture
def official_cases(golden_folder) -> list[dict]:
    path = golden_folder / "rewards" / "sudoku.jsonl"
    return [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines()]


def test_the_official_extraction_and_reward_agree_on_every_official_case(official_cases):
    assert official_cases
    for case in official_cases:
        digits = MODULE.official_digits(case["completion"])
        ours = digits, MODULE.official_correctness(digits, case["puzzle"], case["solution"])
        official = case["scores"]["egspo_and_d1"]
        assert ours == (official["extracted"], official["score"]), case["id"]


def test_the_reward_differs_from_the_official_one_for_bare_digits_alone(official_cases):
    for case in official_cases:
        verdict = score(case["completion"], case["puzzle"], case["solution"])
        bare = case["completion"].strip().isdigit()
        assert (verdict.reward == case["scores"]["egspo_and_d1"]["score"]) != bare, case["id"]


@settings(max_examples=60, deadline=None)
@given(
    st.text(max_size=200)
    | st.builds(lambda part, count: (part * count)[:20_000], st.text(min_size=1, max_size=12), st.integers(1, 20_000))
    | st.lists(st.sampled_from(["<answer>", "</answer>", SOLUTION, " ", "|", "2431", "٢", "²"]), max_size=20).map(
        "".join
    )
)
@example("<answer>" * 2500)
@example("<answer>" + "1 " * 9990 + "</answer>")
def test_no_completion_up_to_20_kilobytes_raises_or_leaves_the_range(completion):
    verdict = score(completion)
    assert 0.0 <= verdict.reward <= 1.0
    assert verdict.reward == sum(verdict.parts.values())
    assert set(verdict.metrics) == set(SUDOKU.metrics)
