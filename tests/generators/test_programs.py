"""The builtin problems of mbpp and humaneval: what they ask, their tests, their splits, and what a beginner answers."""

import hashlib
import random

import pytest

from harness import registry
from harness.data import parse_source
from harness.generators.problem import owner
from harness.generators.programs import (
    CHANGE,
    CHOOSE,
    COUNTS,
    Meaning,
    calls,
    draw_humaneval,
    draw_mbpp,
    draw_meaning,
    humaneval_rows,
    mbpp_rows,
    meanings,
)
from harness.models.tiny import CharacterTokenizer
from harness.scoring.sandbox.client import missing
from harness.task import SPLITS

TASKS = ("mbpp", "humaneval")
needs_bwrap = pytest.mark.skipif(bool(missing()), reason=missing() or "-")


def meaning(combine="sum", choose=0, bound=5, change=0, amount=3):
    return Meaning(combine=combine, choose=CHOOSE[choose], bound=bound, change=CHANGE[change], amount=amount)


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
        (meaning(), "sum of numbers over 5, each plus 3", "sum(x+3 for x in a if x>5)"),
        (meaning("max", 1, 4, 1, 2), "max of numbers under 4, each minus 2", "max(x-2 for x in a if x<4)"),
        (meaning("min", 2, 3, 2, 7), "min of multiples of 3, each times 7", "min(x*7 for x in a if x%3<1)"),
        (meaning("list", 0, 9, 3, 8), "list of numbers over 9, each taken from 8", "[8-x for x in a if x>9]"),
    ],
)
def test_a_meaning_has_its_words_and_its_program(asked, words, code):
    assert asked.words == words
    assert asked.expression() == code


def test_the_value_is_that_of_the_chosen_and_changed_numbers():
    assert meaning().value([5, 6, 10, -1]) == (6 + 3) + (10 + 3)
    assert meaning().value([5, 6, 10, -1], choosing=False) == 20 + 4 * 3
    assert meaning().value([5, 6, 10, -1], changing=False) == 6 + 10
    assert meaning("list", 2, 3, 3, 8).value([-3, 4, 0]) == [11, 8]
    assert meaning("max", 1).value([5, 6]) is None
    assert meaning("sum").value([]) == 0


def test_the_largest_of_the_numbers_over_5_is_idle_and_of_those_under_5_it_is_not():
    assert meaning("max", 0, change=0).idle
    assert not meaning("max", 1, change=0).idle
    assert meaning("max", 1, change=3).idle
    assert not meaning("max", 0, change=3).idle
    assert meaning("min", 1, change=2).idle
    assert meaning("min", 0, change=3).idle
    assert not meaning("max", 2, change=0).idle
    assert not meaning("sum", 0, change=0).idle


def test_asserts_tell_a_missing_part_and_end_with_an_edge():
    for combine, edge in (("sum", 0), ("list", [])):
        *_, last = calls(meaning(combine))
        assert last == ((), edge)
    *_, last = calls(meaning("min", 0, 5, 0, 3))
    assert len(last[0]) == 1
    assert last[1] == last[0][0] + 3
    for numbers, result in calls(meaning())[:2]:
        assert result not in (sum(numbers) + 3 * len(numbers), sum(x for x in numbers if x > 5))


@pytest.mark.parametrize("split", SPLITS)
def test_every_reference_passes_its_own_tests_in_both_forms(split):
    for row in mbpp_rows(split):
        assert passes(row["code"], row)
    for row in humaneval_rows(split):
        scope = {}
        exec(row["prompt"] + row["canonical_solution"] + "\n" + row["test"], scope)
        scope["check"](scope["f"])


def test_careless_programs_pass_where_the_choice_is_of_multiples_and_fail_elsewhere():
    rng = random.Random(0)
    rows = {row["prompt"]: row for row in mbpp_rows("train")}
    problems = [draw_mbpp(rng) for _ in range(600)]
    known = [problem for problem in problems if problem.question.strip() in rows]
    passed = [passes(problem.careless, rows[problem.question.strip()]) for problem in known]
    assert passed == ["multiples" in problem.question for problem in known]
    assert 0.3 < sum(passed) / len(passed) < 0.5


def test_splits_share_no_problem_and_both_tasks_give_a_problem_to_the_same_split():
    keys = {split: [item.words for item in meanings(split)] for split in SPLITS}
    assert {split: len(set(found)) for split, found in keys.items()} == COUNTS
    for split, found in keys.items():
        assert {owner(key) for key in found} == {split}
        assert [row["prompt"] for row in mbpp_rows(split)] == [f"Write f(a): {key}." for key in found]
        assert [row["prompt"] for row in humaneval_rows(split)] == [f'def f(a):\n """{key}."""\n' for key in found]


def test_a_sum_has_a_twin_where_the_next_bound_adds_nothing():
    # A 5 minus 5 adds nothing, so over 4 is over 5; over 3 adds a 4 minus 5 as well.
    assert meaning("sum", 0, 4, 1, 5).has_twin
    assert not meaning("sum", 0, 3, 1, 5).has_twin
    assert meaning("sum", 1, 6, 3, 5).has_twin
    assert not meaning("sum", 1, 4, 3, 5).has_twin
    assert not meaning("list", 0, 4, 1, 5).has_twin
    assert not meaning("sum", 0, 4, 0, 5).has_twin
    assert not meaning("sum", 2, 5, 1, 5).has_twin


def test_no_two_problems_are_the_same_function():
    rng = random.Random(1)
    inputs = [[rng.randint(-30, 30) for _ in range(rng.randint(1, 9))] for _ in range(300)]
    family = {item for split in SPLITS for item in meanings(split)}
    assert len(family) == sum(COUNTS.values())
    assert len({tuple(str(item.value(numbers)) for numbers in inputs) for item in family}) == len(family)


def test_no_drawn_problem_is_idle_or_has_a_twin():
    rng = random.Random(2)
    drawn = [draw_meaning(rng) for _ in range(3000)]
    assert not any(item.idle or item.has_twin for item in drawn)


@pytest.mark.parametrize(("name", "draw"), [("mbpp", draw_mbpp), ("humaneval", draw_humaneval)])
def test_texts_are_short_and_within_the_tiny_vocabulary(name, draw):
    encode = CharacterTokenizer().encode
    task = registry.get_task(name)()
    prompts = [task.compact_prompt(example) for split in SPLITS for example in builtin(name, split)]
    problems = [draw(random.Random(seed)) for seed in range(300)]
    assert max(len(encode(text)) for text in [*prompts, *(problem.question for problem in problems)]) <= 64
    assert max(len(encode(problem.answer)) for problem in problems) <= 48
    assert {text.endswith(".\n" if name == "mbpp" else '"""\n\n') for text in prompts} == {True}


@pytest.mark.parametrize(
    ("split", "digest"),
    [("train", "1444a5d36280ea3a"), ("validation", "14dc349893a3951b"), ("test", "360a96d6f215224b")],
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
    prefix, suffix = ("Write f(a): ", ".\n") if name == "mbpp" else ('def f(a):\n """', '."""\n\n')
    assert {owner(row.prompt.removeprefix(prefix).removesuffix(suffix)) for row in rows} == {"train"}


@needs_bwrap
@pytest.mark.parametrize("name", TASKS)
def test_references_pass_and_careless_programs_fail_in_the_sandbox(name):
    examples, items = builtin(name, "test")[:20], meanings("test")[:20]
    task = registry.get_task(name)()
    right = task.score(examples, [f"def f(a):\n return {item.expression()}" for item in items])
    wrong = task.score(examples, [f"def f(a):\n return {item.expression(choosing=False)}" for item in items])
    assert [score.correct for score in right] == [True] * 20
    assert [score.correct for score in wrong] == [False] * 20


@needs_bwrap
def test_a_body_alone_completes_a_function_of_humaneval():
    (example,) = builtin("humaneval", "test")[:1]
    (item,) = meanings("test")[:1]
    (score,) = registry.get_task("humaneval")().score([example], [f" return {item.expression()}"])
    assert score.correct
