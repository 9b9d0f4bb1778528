"""GSM8K, MATH-500 and Countdown: rows, prompts, rewards, verdicts and near misses."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from harness.data.sources import DataSource
from harness.errors import UserError
from harness.registry import get_task
from harness.task.base import OFFICIAL, ROBUST, LeakageReport, TaskOptions

NAMES = ("gsm8k", "math500", "countdown")
TARGETS = {"gsm8k": "18", "math500": "\\frac{1}{2}", "countdown": [[3, 4, 5], 17]}


def make(name: str, **options):
    return get_task(name)(TaskOptions(**options))


def verdict(name: str, target, text: str, grader: str = ROBUST, **options):
    task = make(name, **{"bare_answers": False} | options)
    return task.grade(task.example_for("", target), text, grader)


def tagged(answer: str) -> str:
    return f"<reasoning>\nso\n</reasoning>\n<answer>\n{answer}\n</answer>\n"


@pytest.mark.parametrize(
    "answer",
    [
        *(
            "18",
            "18.0",
            "$18",
            "\\$18",
            "18.",
            "\\boxed{18}",
            "$\\boxed{18}$",
            "18 dollars",
            "18\\text{ eggs}",
            "boxed{18}",
        ),
        *(
            "`18`",
            "**18**",
            "\\boxed{\\text{18 apples}}",
            "She has 18 eggs left.",
            "x = 18",
            "3 * 6 = 18",
            "18%",
            "1.8e1",
        ),
        *("$3 \\times 6 = \\boxed{18}$", "9 + 9 = 18 eggs", "18 eggs per day", "18:00", "\\boxed{18} or \\boxed{18}"),
    ],
)
def test_gsm8k_reads_the_number_however_it_is_dressed(answer):
    assert verdict("gsm8k", "18", tagged(answer)).correct


@pytest.mark.parametrize(
    "answer",
    [
        *("118", "18.5", "-18", "1.8", "180", "", "eighteen", "18 or 19 or 20", "\\boxed{1, 18}", "16 or 17 or 18"),
        *(
            "It is not 18",
            "1 2 3 4 17 18",
            "\\boxed{12 = 18}",
            "\\boxed{18!}",
            "\\boxed{16} or \\boxed{18}",
            "17 or \\boxed{18}",
        ),
        *("It isn't \\boxed{18}", "between 17 and 18", "17-18", "18 of 20", "Ann has 3 and Bob has 18.", "3 * 5 = 18"),
        *("more than 18", "18 < x", "18x", "18_9", "maybe 17, maybe 18", "\\boxed{18}, \\boxed{20}"),
    ],
)
def test_gsm8k_takes_no_near_miss_and_no_answer_that_names_several_values(answer):
    assert not verdict("gsm8k", "18", tagged(answer)).correct
    task = make("gsm8k", profile="correctness")
    assert task.rewards([task.example_for("", "18")], [tagged(answer)])[0].total == 0.0


@pytest.mark.parametrize(
    ("target", "answer"),
    [
        *[("12000", text) for text in ("12\\,000", "12,000", "12 000", "12{,}000", "\\boxed{12\\,000}", "12 thousand")],
        *[("1200000", text) for text in ("1.2 million", "\\boxed{1.2 million}", "$1.2 million", "1,200,000 dollars")],
        *[("2.5", text) for text in ("2 1/2", "2\\frac{1}{2}", "5/2", "2.50", "2\u00bd hours")],
        *[("1000", text) for text in ("\\boxed{1e3}", "10^3", "1,000.00", "1000 m", "\\$1,000")],
    ],
)
def test_gsm8k_reads_large_and_broken_numbers(target, answer):
    assert verdict("gsm8k", target, tagged(answer)).correct


def test_gsm8k_knows_thousands_and_the_official_grader_does_not():
    assert verdict("gsm8k", "1,234", tagged("1,234")).correct
    assert not verdict("gsm8k", "1,234", "\\boxed{1,234}", OFFICIAL).correct
    assert verdict("gsm8k", "1,234", "\\boxed{1234}", OFFICIAL).extracted == "1234.0"


def test_gsm8k_s_official_reward_adds_up_the_parts_of_a_perfect_text():
    task = make("gsm8k")
    (reward,) = task.rewards([task.example_for("", "18")], [tagged("18")])
    assert reward.parts == {"correctness": 2.0, "integer": 0.5, "strict_format": 0.5, "soft_format": 0.0, "tags": 0.5}
    assert reward.total == 3.5


def test_an_item_whose_answer_was_lost_is_solved_by_nothing():
    for grader in (OFFICIAL, ROBUST):
        assert verdict("gsm8k", None, tagged("5"), grader).reason == "the item has no stored answer"


@pytest.mark.parametrize("text", ["\\frac{2}{4}", "0.5", "\\dfrac12", "\\boxed{1/2}"])
def test_math500_goes_by_the_value(text):
    assert verdict("math500", "\\frac{1}{2}", tagged(text)).correct


def test_math500_s_official_grader_goes_by_the_normal_form():
    assert verdict("math500", "\\frac{1}{2}", "\\boxed{1/2}", OFFICIAL).correct
    assert not verdict("math500", "\\frac{1}{2}", "\\boxed{2/4}", OFFICIAL).correct
    assert verdict("math500", "\\frac{1}{2}", "\\boxed{2/4}").correct


def test_math500_reads_the_answer_from_the_solution_where_the_row_has_none():
    example = make("math500").read_row({"problem": "p", "solution": "so $\\boxed{7}$."})
    assert example.target["answer"] == "7"


@pytest.mark.parametrize(
    "answer",
    [
        *("3*4+5", "5 + 4*3", "(3*4)+5", "3*4+5 = 17", "3 \\times 4 + 5", "\\boxed{3*4+5}", "3 \u00d7 4 + 5"),
        *("3\u00b74\u2009+\u20095", "\uff083\uff0a4\uff09\uff0b5"),
        *("**3*4+5**", "`3*4+5`", "$3\\cdot 4+5$.", "3*4+5 = 12+5 = 17", "[3*4]+5", "{3*4}+5", "3 x 4 + 5"),
        *("5 \u2212 3 \u00d7 (\u22124)", "\\left(3 \\cdot 4\\right) + 5", "The answer is 3*4+5."),
    ],
)
def test_countdown_takes_any_right_expression(answer):
    assert verdict("countdown", [[3, 4, 5], 17], tagged(answer)).correct


@pytest.mark.parametrize(
    ("answer", "reason"),
    [
        ("3*4+4", "other numbers"),
        ("3*4+5+0", "other numbers"),
        ("3*45", "other numbers"),
        ("17", "other numbers"),
        ("3+4+5", "wrong"),
        ("3**4-5", "wrong"),
        ("3*4+5 = 18", "an equation that is not the target"),
        ("9**9**9", "other numbers"),
    ],
)
def test_countdown_says_why_an_expression_is_wrong(answer, reason):
    assert verdict("countdown", [[3, 4, 5], 17], tagged(answer)).reason.startswith(reason)


@pytest.mark.parametrize(
    ("numbers", "target", "answer"),
    [
        ([108, 10], 98, "108 \u2212 10"),
        ([49, 2], 98, "49 \u00b7 2"),
        ([196, 2], 98, "196 \u00f7 2"),
        ([196, 2], 98, "\\frac{196}{2}"),
        ([196, 2], 98, "$\\dfrac{196}{2} = 98$"),
        ([8, 3, 8, 3], 24, "\\frac{8}{3-\\frac{8}{3}}"),
        ([9, 3, 4], 12, "\\frac93 \\cdot 4"),
        ([196, 2], 98, "196 \\div 2."),
    ],
)
def test_countdown_reads_the_signs_of_latex_and_unicode(numbers, target, answer):
    assert verdict("countdown", [numbers, target], tagged(answer)).correct


@pytest.mark.parametrize(
    "answer",
    [
        *("3*4+5 or 5+4*3", "3*4+5, 4*3+5", "\\boxed{3*4+5} or \\boxed{3+4+5}", "not 3*4+5", "3*4+5 = 17 = 18"),
        *("\\frac{3}{4}+5", "3*4+5!", "3*4+5\u00b2", "3(4)+5", "3*4+5\\%", "{3*4+5", "3**4+5", "3*4+5 apples"),
    ],
)
def test_countdown_takes_an_expression_and_nothing_beside_it(answer):
    assert not verdict("countdown", [[3, 4, 5], 17], tagged(answer)).correct


def test_countdown_is_exact_where_floats_are_not():
    assert verdict("countdown", [[1, 3, 3], 1], tagged("1/3*3")).correct
    assert not verdict("countdown", [[100, 33, 3], 3], tagged("100/33/3*3")).correct


def test_countdown_rewards_a_right_a_wrong_and_a_missing_answer():
    task = make("countdown", bare_answers=False)
    example = task.example_for("", [[3, 4, 5], 17])
    texts = [tagged("3*4+5"), tagged("3+4+5"), "3*4+5"]
    assert [reward.total for reward in task.rewards([example] * 3, texts)] == [1.0, 0.1, 0.0]


@pytest.mark.parametrize(("name", "answer"), [("gsm8k", "18"), ("math500", "\\frac{1}{2}"), ("countdown", "3*4+5")])
def test_a_bare_answer_counts_only_where_the_options_let_it(name, answer):
    assert verdict(name, TARGETS[name], answer, bare_answers=True).correct
    assert not verdict(name, TARGETS[name], answer).correct
    task = make(name)
    assert task.rewards([task.example_for("", TARGETS[name])], [answer])[0].parts["correctness"] > 0


@pytest.mark.parametrize("name", NAMES)
def test_the_correctness_profile_is_1_or_0_by_the_robust_grader(name):
    task = make(name, profile="correctness")
    example = task.example_for("", TARGETS[name])
    answer = {"gsm8k": "18.0", "math500": "2/4", "countdown": "5+4*3"}[name]
    rewards = task.rewards([example] * 2, [tagged(answer), tagged("0")])
    assert [reward.total for reward in rewards] == [1.0, 0.0]


@pytest.mark.parametrize("name", NAMES)
def test_a_profile_that_there_is_not_is_refused_with_the_choices(name):
    with pytest.raises(UserError, match=f"reward profile of {name} 'offical'.*Did you mean 'official'"):
        make(name, profile="offical")


@pytest.mark.parametrize(
    ("name", "target"), [("gsm8k", "many"), ("math500", " "), ("countdown", "17"), ("countdown", [[1, "a"], 2])]
)
def test_a_target_of_another_kind_is_refused(name, target):
    with pytest.raises(UserError, match=r"cannot be an answer of|not a number|not a list of"):
        make(name).example_for("", target)


def test_countdown_finds_its_numbers_in_the_question():
    example = make("countdown").example_for("Numbers: [3, 4, 5]\nTarget: 17", 17)
    assert example.target == {"numbers": [3, 4, 5], "target": 17}


def test_countdown_leaks_by_numbers_in_any_order_with_the_same_target():
    task = make("countdown")
    train = [task.example_for("a", [[3, 4, 5], 17])]
    test = [task.example_for("b", [[5, 3, 4], 17]), task.example_for("c", [[3, 4, 5], 18])]
    assert task.leakage(train, test) == LeakageReport(exact=0, normalised=0, structural=1)


@pytest.mark.parametrize("name", NAMES)
def test_the_prompt_holds_the_problem_and_the_tags_and_is_no_answer(name):
    task = make(name)
    example = task.example_for("What is it?", TARGETS[name])
    (message,) = task.prompt(example)
    for piece in ("<reasoning>", "</reasoning>", "<answer>", "</answer>"):
        assert piece in message["content"]
    assert task.compact_prompt(example).endswith("\n")
    assert not task.grade(example, message["content"], ROBUST).correct


ROWS = {
    "gsm8k": ("gsm8k/test.jsonl", {"question": "q", "answer": "work\n#### 1,234"}),
    "math500": ("math500/test.jsonl", {"problem": "q", "solution": "\\boxed{7}", "answer": "7"}),
    "countdown": ("countdown/countdown_cd3_test.jsonl", {"input": "3,4,5", "output": "17"}),
}


def folder_with(tmp_path: Path, name: str, text: str) -> DataSource:
    path = tmp_path / ROWS[name][0]
    path.parent.mkdir()
    path.write_text(text)
    return DataSource(kind="dir", folder=tmp_path)


@pytest.mark.parametrize("name", NAMES)
def test_a_folder_s_rows_become_examples(tmp_path, name):
    (example,) = make(name).examples("test", folder_with(tmp_path, name, json.dumps(ROWS[name][1]) + "\n\n"))
    assert example.id == f"{name}-test-0"


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize(
    ("line", "said"), [("{", "line 1 is not JSON"), ("[]", "row 1 is not an object"), ("{}", "lacks '")]
)
def test_a_damaged_row_is_named(tmp_path, name, line, said):
    with pytest.raises(UserError, match=said):
        make(name).examples("test", folder_with(tmp_path, name, line + "\n"))
