"""The builtin problems of mbpp and humaneval: what they ask, their tests, their splits, and what a beginner answers."""

import hashlib
import random

import pytest

from harness import registry
from harness.data.sources import parse_source
from harness.generators.problem import distinct_problems, owner
from harness.generators.programs import (
    CHANGE,
    CHOOSE,
    EACH,
    LEADS,
    Meaning,
    calls,
    draw_humaneval,
    draw_mbpp,
    family,
    humaneval_rows,
    mbpp_rows,
)
from harness.models.tiny import CharacterTokenizer
from harness.scoring.sandbox.client import missing
from harness.task.base import SPLITS

TASKS = ("mbpp", "humaneval")
needs_bwrap = pytest.mark.skipif(bool(missing()), reason=missing() or "-")


def part(parts, words):
    return next(one for one in parts if one.words == words)


def meaning(combine="sum", choose="numbers over ten", change="doubled"):
    return Meaning(combine=combine, choose=part(CHOOSE, choose), change=part(CHANGE, change))


def function(source):
    scope = {}
    exec(source, scope)
    return scope["f"]


def passes(answer, row):
    scope = {"f": function(answer)}
    try:
        for line in row["test_list"]:
            exec(line, scope)
    except (AssertionError, ValueError):
        return False
    return True


def builtin(name, split):
    return registry.get_task(name)().examples(split, parse_source("builtin"))


@pytest.mark.parametrize(
    ("asked", "words", "code"),
    [
        (meaning(), "sum of numbers over ten, each doubled", "sum(x*2 for x in a if x>10)"),
        (
            meaning("max", "numbers under five", "halved"),
            "max of numbers under five, each halved",
            "max(x//2 for x in a if x<5)",
        ),
        (
            meaning("list", "multiples of three", "cubed"),
            "list of multiples of three, each cubed",
            "[x**3 for x in a if x%3<1]",
        ),
    ],
)
def test_a_meaning_has_its_words_and_its_program(asked, words, code):
    assert asked.words() == words
    assert asked.expression() == code


@pytest.mark.parametrize("chosen", CHOOSE, ids=lambda one: one.words)
@pytest.mark.parametrize("changed", CHANGE, ids=lambda one: one.words)
def test_what_a_function_does_is_what_its_code_does(chosen, changed):
    asked = Meaning(combine="list", choose=chosen, change=changed)
    numbers = list(range(-31, 32))
    assert asked.value(numbers) == function(f"def f(a):\n return {asked.expression()}")(numbers)


def test_the_value_is_that_of_the_chosen_and_changed_numbers():
    assert meaning().value([10, 11, 20, -1]) == 22 + 40
    assert meaning().value([10, 11, 20, -1], choosing=False) == 80
    assert meaning().value([10, 11, 20, -1], changing=False) == 11 + 20
    assert meaning("list", "multiples of three", "negated").value([-3, 4, 0]) == [3, 0]
    assert meaning("max").value([5, 6]) is None
    assert meaning("sum").value([]) == 0


@pytest.mark.parametrize(
    ("asked", "stays"),
    [
        # The largest of the numbers over ten is the largest of all, but not once they are negated.
        (meaning("max", "numbers over ten", "doubled"), False),
        (meaning("max", "numbers over ten", "negated"), True),
        (meaning("min", "negative numbers", "plus one"), False),
        (meaning("min", "positive numbers", "plus one"), True),
        (meaning("max", "even numbers", "doubled"), True),
    ],
)
def test_a_choice_that_never_matters_is_no_problem(asked, stays):
    assert (asked.key in family()) == stays


def test_asserts_tell_a_missing_part_and_end_with_an_edge():
    for combine, edge in (("sum", 0), ("list", [])):
        *_, last = calls(meaning(combine))
        assert last == ((), edge)
    *_, last = calls(meaning("min", "positive numbers", "plus one"))
    assert len(last[0]) == 1
    assert last[1] == last[0][0] + 1
    for numbers, result in calls(meaning())[:2]:
        assert result not in (2 * sum(numbers), sum(x for x in numbers if x > 10))


@pytest.mark.parametrize("split", SPLITS)
def test_every_reference_passes_its_own_tests_in_both_forms(split):
    for row in mbpp_rows(split):
        assert passes(row["code"], row)
    for row in humaneval_rows(split):
        scope = {}
        exec(row["prompt"] + row["canonical_solution"] + "\n" + row["test"], scope)
        scope["check"](scope["f"])


def test_careless_programs_pass_for_even_and_odd_numbers_and_fail_elsewhere():
    rng = random.Random(0)
    rows = {row["prompt"]: row for row in mbpp_rows("train")}
    problems = [draw_mbpp(rng) for _ in range(600)]
    known = [problem for problem in problems if problem.question.strip() in rows]
    passed = [passes(problem.careless, rows[problem.question.strip()]) for problem in known]
    assert passed == [" even " in problem.question or " odd " in problem.question for problem in known]
    assert 0.2 < sum(passed) / len(passed) < 0.4


def test_a_function_belongs_to_one_split_in_both_tasks():
    for split in SPLITS:
        codes = {row["code"].removeprefix("def f(a):\n return ") for row in mbpp_rows(split)}
        codes |= {row["canonical_solution"].removeprefix(" return ") for row in humaneval_rows(split)}
        assert codes <= set(family())
        assert {owner(code) for code in codes} == {split}


def test_no_two_functions_are_the_same():
    rng = random.Random(1)
    inputs = [[rng.randint(-30, 30) for _ in range(rng.randint(1, 9))] for _ in range(300)]
    assert len({tuple(str(item.value(numbers)) for numbers in inputs) for item in family().values()}) == len(family())
    assert len(family()) == 228


@pytest.mark.parametrize(("name", "draw"), [("mbpp", draw_mbpp), ("humaneval", draw_humaneval)])
def test_texts_are_short_and_within_the_tiny_vocabulary(name, draw):
    encode = CharacterTokenizer().encode
    task = registry.get_task(name)()
    prompts = [task.compact_prompt(example) for split in SPLITS for example in builtin(name, split)]
    problems = [draw(random.Random(seed)) for seed in range(300)]
    assert max(len(encode(text)) for text in [*prompts, *(problem.question for problem in problems)]) <= 78
    assert max(len(encode(problem.answer)) for problem in problems) <= 48
    assert {text.endswith(".\n" if name == "mbpp" else '"""\n') for text in prompts} == {True}


@pytest.mark.parametrize(
    ("split", "digest"),
    [("train", "458d642c680a7d7a"), ("validation", "a45af59103a57be8"), ("test", "25e7d17c95fbd452")],
)
def test_the_questions_of_a_split_never_change(split, digest):
    text = "\n".join(example.question for example in builtin("mbpp", split))
    assert hashlib.sha256(text.encode()).hexdigest()[:16] == digest


@pytest.mark.parametrize("name", TASKS)
def test_builtin_items_have_ids_of_their_split_and_leak_nothing(name):
    train, test = builtin(name, "train"), builtin(name, "test")
    assert test[7].id == "builtin-test-0007"
    report = registry.get_task(name)().leakage(train, test)
    assert (report.exact, report.normalised) == (0, 0)


@pytest.mark.parametrize("name", TASKS)
def test_demonstrations_are_whole_functions_for_training_items(name):
    rows = registry.get_task(name)().demonstrations(200, random.Random(3))
    assert {row.completion[:18] for row in rows} == {"def f(a):\n return "}
    held_out = [item.words(each) for key, item in family().items() for each in EACH if owner(key) != "train"]
    assert not any(f"{words}." in row.prompt for row in rows for words in held_out)
    assert {lead for lead in LEADS for row in rows if f"{lead} " in row.prompt} == set(LEADS)


@needs_bwrap
@pytest.mark.parametrize("name", TASKS)
def test_references_pass_and_careless_programs_fail_in_the_sandbox(name):
    draw = draw_mbpp if name == "mbpp" else draw_humaneval
    problems = distinct_problems(draw, "test", 20, seed=name)
    examples, task = builtin(name, "test")[:20], registry.get_task(name)()
    right = task.score(examples, [problem.answer for problem in problems])
    wrong = task.score(examples, [f"def f(a):\n return {unchosen(problem)}" for problem in problems])
    assert [score.correct for score in right] == [True] * 20
    assert [score.correct for score in wrong] == [False] * 20


def unchosen(problem):
    return family()[problem.key].expression(choosing=False)


@needs_bwrap
def test_a_body_alone_completes_a_function_of_humaneval():
    (example,) = builtin("humaneval", "test")[:1]
    (problem,) = distinct_problems(draw_humaneval, "test", 1, seed="humaneval")
    (score,) = registry.get_task("humaneval")().score([example], [f" return {problem.key}"])
    assert score.correct
