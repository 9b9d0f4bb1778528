"""Countdown, word problems and formulas: what is drawn, right and careless answers, short texts in plain characters."""

import random
import re

import pytest

from harness.generators import countdown, formulas, word_problems
from harness.generators.problem import SIZES, owner, split_problems
from harness.models.tiny import CHARACTERS

DRAWS = {"countdown": countdown.draw, "gsm8k": word_problems.draw, "math500": formulas.draw}
LONGEST_COMPLETION = {"countdown": 8, "gsm8k": 10, "math500": 10}


def drawn(name, count=2000, seed=0):
    rng = random.Random(seed)
    return [DRAWS[name](rng) for _ in range(count)]


@pytest.mark.parametrize("name", DRAWS)
def test_texts_are_short_and_within_the_vocabulary_of_the_tiny_model(name):
    for problem in drawn(name):
        assert problem.question.endswith("\n")
        assert "\n" not in problem.question[:-1]
        assert len(problem.question) <= 80
        for completion in (problem.answer, problem.careless):
            assert 0 < len(completion) <= LONGEST_COMPLETION[name]
            assert set(problem.question + completion) <= set(CHARACTERS)


@pytest.mark.parametrize("name", DRAWS)
def test_the_careless_answer_is_right_now_and_then(name):
    problems = drawn(name)
    assert 0.1 < sum(problem.careless == problem.answer for problem in problems) / len(problems) < 0.4


@pytest.mark.parametrize("name", DRAWS)
def test_a_question_belongs_to_one_key_and_so_to_one_split(name):
    keys = {}
    for problem in drawn(name, count=20_000):
        keys.setdefault(problem.question, set()).add(owner(problem.key))
    assert all(len(owners) == 1 for owners in keys.values())


def test_a_split_has_its_size_and_is_drawn_once():
    problems = split_problems(countdown.draw, "validation", seed="countdown")
    assert len({problem.question for problem in problems}) == SIZES["validation"] == 256
    assert split_problems(countdown.draw, "validation", seed="countdown") is problems


@pytest.mark.parametrize(
    ("numbers", "form", "answer", "careless"),
    [
        # 3*4+5 = 17 and 3+4+5 = 12.
        ((3, 4, 5), "{a}*{b}+{c}", "3*4+5", "3+4+5"),
        # 1*8-7 = 1, and 1+8-7 = 2 is the nearest that a beginner comes to.
        ((1, 8, 7), "{a}*{b}-{c}", "1*8-7", "1+8-7"),
        # 2*2+3 = 7 is also 2+2+3, which comes first.
        ((2, 2, 3), "{a}*{b}+{c}", "2+2+3", "2+2+3"),
        ((9, 5, 2), "({a}-{b})*{c}", "(9-5)*2", "9+5-2"),
    ],
)
def test_countdown_takes_the_simplest_form_that_reaches_the_target(numbers, form, answer, careless):
    chosen = next(one for one in countdown.FORMS if one.text == form)
    problem = countdown.problem_of(numbers, chosen.value(*numbers))
    assert (problem.answer, problem.careless) == (answer, careless)
    assert problem.key == " ".join(map(str, sorted(numbers)))


STORIES = {
    # a, b = 6, 3 in every story; the careless answer is the sum of the two numbers shown.
    "has 6 pens and gets 3 more": 9,
    "eats 6 pens, then 3": 9,
    "had 9 pens and lost 3": 6,
    "needs 9 pens and has 3": 6,
    "has 6 boxes of 3 pens": 18,
    "buys 6 pens at 3 dollars": 18,
    "shares 18 pens among 3": 6,
}


@pytest.mark.parametrize(("story", "words"), list(zip(word_problems.STORIES, STORIES, strict=True)))
def test_a_story_has_the_answer_that_it_asks_for(story, words):
    x, y = story.numbers(6, 3)
    assert words in story.text.format(name="Ann", things="pens", x=x, y=y)
    assert story.answer(6, 3) == STORIES[words]


def test_the_careless_add_whatever_the_story_says():
    for problem in drawn("gsm8k"):
        x, y = [int(word) for word in re.findall(r"\d+", problem.question)]
        assert problem.careless == f"\\boxed{{{x + y}}}"


FORMULAS = {
    # a, b, c = 4, 2, 3: right and careless.
    "4+2": (6, 6),
    r"4\cdot 2": (8, 6),
    "4^2": (16, 8),
    r"\frac{8}{2}": (4, 6),
    "x+2=6": (4, 8),
    "2x=8": (4, 6),
    r"4+2\cdot 3": (10, 18),
    r"4\cdot (2+3)": (20, 11),
}


@pytest.mark.parametrize(("formula", "shown"), list(zip(formulas.FORMULAS, FORMULAS, strict=True)))
def test_a_formula_has_its_value(formula, shown):
    assert formula.shown(4, 2, 3) == shown
    assert (formula.right(4, 2, 3), formula.careless(4, 2, 3)) == FORMULAS[shown]


def test_an_unknown_has_one_name_in_its_question():
    questions = [problem.question for problem in drawn("math500") if "=" in problem.question]
    assert {letter for text in questions for letter in re.findall(r"\$(?:\d*)([a-z])[=+$]", text)} == set("xyknt")
    for text in questions:
        assert len(set(re.findall(r"(?<![A-Za-z])[xyknt](?![A-Za-z])", text))) == 1
