"""Worked demonstrations of all six tasks: both graders take the careful ones for right and few of the careless ones."""

from __future__ import annotations

import random

import pytest

from harness import registry
from harness.data.sources import DataSource
from harness.errors import UserError
from harness.generators.sudoku import all_grids, keeps_clues, to_cells, to_texts
from harness.task.base import GRADERS, Demonstration, Example, Task, TaskOptions

BUILTIN = DataSource(kind="builtin")
STRICT = TaskOptions(bare_answers=False)
MATHS = ["countdown", "gsm8k", "math500", "sudoku"]
CODE = ["humaneval", "mbpp"]


def examples_of(task: Task, rows: list[Demonstration]) -> list[tuple[Example, str]]:
    """The demonstrations whose problem is one of the train split, with that problem; of Sudoku all, solved."""
    if task.name == "sudoku":
        puzzles = [row.prompt.strip() for row in rows]
        solutions = to_texts(all_grids()[keeps_clues(to_cells(puzzles)).argmax(axis=1)])
        known = {f"{one}\n": task.example_for(one, solution) for one, solution in zip(puzzles, solutions, strict=True)}
    else:
        known = {task.compact_prompt(example): example for example in task.examples("train", BUILTIN)}
    return [(known[row.prompt], row.completion) for row in rows if row.prompt in known]


def verdicts(name: str, count: int, careless: float) -> list[tuple[bool, ...]]:
    """What each grader says of demonstrations of which a share is careless."""
    task = registry.get_task(name)(STRICT)
    pairs = examples_of(task, task.worked_demonstrations(count, random.Random(3), careless))
    scores = task.score([example for example, _ in pairs], [completion for _, completion in pairs])
    return [tuple(score.verdicts[grader].correct for grader in GRADERS) for score in scores]


@pytest.mark.parametrize("name", [*MATHS, *(pytest.param(name, marks=pytest.mark.slow) for name in CODE)])
def test_careful_answers_are_right_to_both_graders_and_most_careless_ones_to_neither(name: str) -> None:
    careful, careless = (verdicts(name, 400, share) for share in (0.0, 1.0))
    assert len(careful) > 20
    assert set(careful) == {(True, True)}
    assert set(careless) == {(True, True), (False, False)}
    assert careless.count((True, True)) < 0.5 * len(careless)


@pytest.mark.parametrize("name", CODE)
def test_a_careful_program_passes_its_tests(name: str) -> None:
    assert verdicts(name, 4, 0.0)[:1] == [(True, True)]


@pytest.mark.parametrize("name", [*MATHS, *CODE])
def test_the_usual_share_is_careless(name: str) -> None:
    task = registry.get_task(name)()
    drawn = [task.worked_demonstrations(300, random.Random(5), *share) for share in ((), (0.0,), (1.0,))]
    usual, careful, careless = ([row.completion for row in rows] for rows in drawn)
    differ = [i for i in range(300) if careful[i] != careless[i]]
    assert {row in pair for row, *pair in zip(usual, careful, careless, strict=True)} == {True}
    share = sum(usual[i] == careless[i] for i in differ) / len(differ)
    assert share == pytest.approx(0.8 if name in CODE else 0.6, abs=0.12)


@pytest.mark.parametrize(
    ("name", "prompt", "working", "answer"),
    [
        ("gsm8k", "shares 12 caps among 4", "The numbers are 12 and 4. Divide: 12/4: 4 8 12, 3 times", "3"),
        ("countdown", "9,2,3=45\n", "9+2:11, 11+3:14, no. 2+3:5, 9*5:45. 9*(2+3)=45", "9*(2+3)"),
        ("countdown", "4,2,8=14\n", "4+2:6, 6+8:14. 4+2+8=14", "4+2+8"),
    ],
)
def test_quotients_are_counted_up_and_a_sum_that_fails_comes_first(
    name: str, prompt: str, working: str, answer: str
) -> None:
    rows = registry.get_task(name)().worked_demonstrations(100, random.Random(1), 0.0)
    completion = next(row.completion for row in rows if prompt in row.prompt)
    assert completion == f"<reasoning>\n{working}\n</reasoning>\n<answer>\n{answer}\n</answer>"


def test_a_task_without_worked_demonstrations_says_so() -> None:
    with pytest.raises(UserError, match="no worked demonstrations"):
        Task.worked_demonstrations(registry.get_task("gsm8k")(), 1, random.Random(0))
