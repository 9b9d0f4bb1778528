"""Builtin Countdown, word problems and formulas: fixed splits that share nothing, and how answers are graded."""

import random

import pytest

from harness.data.sources import DataSource, sha256_of_text
from harness.generators import countdown, formulas, word_problems
from harness.generators.problem import split_problems
from harness.registry import get_task
from harness.task.base import OFFICIAL, ROBUST, LeakageReport, TaskOptions

DRAWS = {"countdown": countdown.draw, "gsm8k": word_problems.draw, "math500": formulas.draw}
BUILTIN = DataSource(kind="builtin")
QUESTIONS = {
    ("countdown", "train"): "447f37f2772834bb",
    ("countdown", "validation"): "c154a898a0478635",
    ("countdown", "test"): "fba3ad191e9a438f",
    ("gsm8k", "train"): "22650efa4b5667f6",
    ("gsm8k", "validation"): "48c8cc26147f18ed",
    ("gsm8k", "test"): "eeec3d073b59fc64",
    ("math500", "train"): "24c0f8ae11ba5591",
    ("math500", "validation"): "b9f97b8b811d60e1",
    ("math500", "test"): "8db5119b5511c74f",
}


@pytest.fixture(params=DRAWS)
def name(request):
    return request.param


def problems_and_examples(name, split):
    return split_problems(DRAWS[name], split, seed=name), get_task(name)().examples(split, BUILTIN)


@pytest.mark.parametrize(("split", "size"), [("train", 4096), ("validation", 256), ("test", 512)])
def test_a_split_never_changes(name, split, size):
    examples = get_task(name)().examples(split, BUILTIN)
    assert len(examples) == size
    assert examples[0].id == f"builtin-{split}-0000"
    assert sha256_of_text([example.question for example in examples])[:16] == QUESTIONS[name, split]


def test_no_test_or_validation_item_is_in_train(name):
    task = get_task(name)()
    train = task.examples("train", BUILTIN)
    for split in ("validation", "test"):
        nothing = LeakageReport(exact=0, normalised=0, structural=0)
        assert task.leakage(train, task.examples(split, BUILTIN)) == nothing


@pytest.mark.parametrize("split", ["validation", "test"])
def test_the_compact_prompt_is_the_generated_question(name, split):
    problems, examples = problems_and_examples(name, split)
    task = get_task(name)()
    assert [task.compact_prompt(example) for example in examples] == [problem.question for problem in problems]


@pytest.mark.parametrize("grader", [OFFICIAL, ROBUST])
def test_every_generated_answer_is_right_and_most_careless_ones_are_wrong(name, grader):
    problems, examples = problems_and_examples(name, "test")
    task = get_task(name)(TaskOptions(profile="correctness"))
    assert all(
        task.grade(example, problem.answer, grader).correct for problem, example in zip(problems, examples, strict=True)
    )
    careless = [
        task.grade(example, problem.careless, grader).correct
        for problem, example in zip(problems, examples, strict=True)
    ]
    assert 0.1 < sum(careless) / len(careless) < 0.4


def test_the_answer_of_one_problem_does_not_solve_another(name):
    problems, examples = problems_and_examples(name, "validation")
    task = get_task(name)()
    verdicts = [
        task.grade(example, problem.answer, ROBUST).correct
        for problem, example in zip(problems[1:], examples, strict=False)
    ]
    assert sum(verdicts) / len(verdicts) < 0.1


def test_demonstrations_are_of_the_train_split_and_partly_careless(name):
    rows = get_task(name)().demonstrations(200, random.Random(0))
    task = get_task(name)()
    held_out = {task.compact_prompt(example) for example in task.examples("test", BUILTIN)}
    assert len(rows) == 200
    assert not held_out & {row.prompt for row in rows}


def test_a_countdown_example_has_its_numbers_and_target():
    example = get_task("countdown")().examples("test", BUILTIN)[0]
    numbers, target = example.target["numbers"], example.target["target"]
    assert example.question == f"Numbers: {numbers}\nTarget: {target}"
    assert len(numbers) == 3
    assert all(1 <= number <= 9 for number in numbers)


@pytest.mark.parametrize("name", ["gsm8k", "math500"])
def test_targets_are_the_boxed_answers(name):
    problems, examples = problems_and_examples(name, "test")
    for problem, example in zip(problems, examples, strict=True):
        assert problem.answer == f"\\boxed{{{example.target['answer']}}}"
        assert not example.question.endswith("\n")
