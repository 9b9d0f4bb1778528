"""Owners of problems, fixed lists of distinct ones, and demonstrations with careless answers."""

import random

import pytest

from harness.generators.problem import Problem, demonstrate, distinct_problems, draw_owned, owner
from harness.task.base import SPLITS


def draw(rng):
    a, b = rng.randint(0, 99), rng.randint(0, 99)
    return Problem(question=f"{a}+{b}\n", answer=str(a + b), careless=str(a), key=" ".join(map(str, sorted((a, b)))))


def key(problem):
    return " ".join(sorted(problem.question.strip().split("+"), key=int))


def test_a_key_keeps_its_owner():
    # First bytes of sha256 by the command sha256sum: 0x4e, 0xb1, 0x53 and 0xd0; modulo 16 14, 1, 3 and 0.
    assert [owner(key) for key in ("3", "16", "23", "61")] == ["train", "test", "test", "validation"]


def test_three_of_four_keys_are_for_training():
    owners = [owner(str(number)) for number in range(16_000)]
    shares = {split: owners.count(split) / 16_000 for split in SPLITS}
    assert shares == pytest.approx({"train": 0.75, "validation": 0.0625, "test": 0.1875}, abs=0.01)


def test_splits_share_no_key_and_repeat_no_question():
    lists = {split: distinct_problems(draw, split, 200, seed="sums") for split in SPLITS}
    for split, problems in lists.items():
        assert {owner(key(problem)) for problem in problems} == {split}
        assert len({problem.question for problem in problems}) == 200
    keys = [{key(problem) for problem in problems} for problems in lists.values()]
    assert sum(len(found) for found in keys) == len(set.union(*keys))


def test_the_list_of_a_split_is_fixed_by_its_seed_and_begins_alike_at_any_length():
    assert distinct_problems(draw, "test", 20, seed="a") == distinct_problems(draw, "test", 30, seed="a")[:20]
    assert distinct_problems(draw, "test", 20, seed="a") != distinct_problems(draw, "test", 20, seed="b")


def test_six_of_ten_demonstrations_are_careless_and_all_are_for_training():
    rows = demonstrate(draw, 2000, random.Random(0))
    careless = sum(row.completion == row.prompt.split("+")[0] for row in rows)
    assert careless / 2000 == pytest.approx(0.6, abs=0.03)
    problems = [Problem(question=row.prompt, answer="", careless="", key="") for row in rows]
    assert {owner(key(problem)) for problem in problems} == {"train"}


def test_drawing_for_a_split_goes_on_until_it_owns_the_problem():
    rng = random.Random(1)
    assert {owner(draw_owned(draw, "validation", rng).key) for _ in range(20)} == {"validation"}
