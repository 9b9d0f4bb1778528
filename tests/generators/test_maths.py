"""Countdown, word problems and formulas: what is drawn, right and careless answers, short texts in plain characters."""

import random

import pytest

from harness.generators import countdown, formulas, word_problems
from harness.generators.problem import SIZES, owner, split_problems
from harness.generators.working import value, worked
from harness.models.tiny import CHARACTERS

DRAWS = {"countdown": countdown.draw, "gsm8k": word_problems.draw, "math500": formulas.draw}
LONGEST_COMPLETION = {"countdown": 8, "gsm8k": 16, "math500": 16}


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
    # a, b, c = 5, 3, 7 in every story.
    0: ("has 7 {things} and gets 5.", "7+5", "7+5"),
    1: ("had 7 {things} and lost 5.", "7-5", "7-5"),
    2: ("has 7 {things}, gets 5, loses 3.", "12-3", "7+5"),
    3: ("has 5 bags of 3 {things}.", "5*3", "5+3"),
    4: ("has 5 bags of 3 {things}, loses 7.", "15-7", "5*3"),
    5: ("has 7 {things}, I have 5 more.", "12+7", "7+5"),
    6: ("shares 15 {things} among 3 boys.", "15/3", "15-3"),
    7: ("5 {things} at 3 dollars and a bag at 7", "15+7", "8+7"),
}


@pytest.mark.parametrize("number", STORIES)
def test_a_story_s_last_step_is_the_one_it_asks_for(number):
    story = word_problems.STORIES[number]
    words, right, careless = STORIES[number]
    text = story.text.format(name="Ann", things="{things}", a=5, b=3, c=7, ab=15)
    assert words in text
    assert (story.right(5, 3, 7), story.careless(5, 3, 7)) == (right, careless)


FORMULAS = {
    # a, b, c = 4, 2, 3 in every formula.
    0: (r"$3+4\cdot 2$", "3+8", "7*2"),
    1: (r"$4\cdot 2+3$", "8+3", "8+3"),
    2: (r"$4\cdot (2+3)$", "4*5", "8+3"),
    3: ("$4^2+3$", "16+3", "8+3"),
    4: ("$4x+3=11$", "8/4", "11-3"),
    5: (r"$\frac{1}{3}+\frac{4}{3}$", "5/3", "4/3"),
}


@pytest.mark.parametrize("number", FORMULAS)
def test_a_formula_s_last_step_comes_to_its_value(number):
    formula = formulas.FORMULAS[number]
    assert (formula.shown(4, 2, 3), formula.right(4, 2, 3), formula.careless(4, 2, 3)) == FORMULAS[number]


def test_every_story_and_formula_is_written_down_here():
    assert (len(STORIES), len(FORMULAS)) == (len(word_problems.STORIES), len(formulas.FORMULAS))


def test_answers_to_stories_are_at_least_1():
    assert min(value(problem.answer.split("=")[0]) for problem in drawn("gsm8k")) >= 1


@pytest.mark.parametrize(
    ("calculation", "text"),
    [
        ("24-3", "24-3=\\boxed{21}"),
        ("-3+8", "-3+8=\\boxed{5}"),
        ("3-8", "3-8=\\boxed{-5}"),
        ("7*8", "7*8=\\boxed{56}"),
        ("56/8", "56/8=\\boxed{7}"),
        ("6/8", "6/8=\\boxed{3/4}"),
    ],
)
def test_a_working_ends_in_its_boxed_value(calculation, text):
    assert worked(calculation) == text


@pytest.mark.parametrize("text", ["", "3", "3+", "3+4+5", "3^2", "2+-3", "a+b"])
def test_what_is_no_calculation_of_two_numbers_is_refused(text):
    with pytest.raises(ValueError, match="no calculation"):
        value(text)
