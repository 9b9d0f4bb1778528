"""Problems drawn from a seed, owned by one split each, and how a beginner answers them. No torch.

A generator is a function of a random.Random that gives a Problem. Which split owns it follows from its key alone, so
no key occurs in two splits, however many problems are drawn. Embedded base models learn from `demonstrate` and
`demonstrate_worked`: most answers are careless, the others right, so that the base has the skill and reinforcement
learning has to bring it out.
"""

from __future__ import annotations

import functools
import hashlib
import random
from collections.abc import Callable
from dataclasses import dataclass, replace

from harness.task.base import Demonstration, Example, worked

CARELESS_SHARE = 0.6
SHARES = 16
OWNERS = {0: "validation", 1: "test", 2: "test", 3: "test"}
SIZES = {"train": 4096, "validation": 256, "test": 512}


@dataclass(frozen=True, kw_only=True)
class Problem:
    """question: what the tiny model is shown, ending in a newline. answer: a right completion. careless: the completion
    of somebody who leaves out the hard part; now and then it is right. key: what makes two problems the same. working,
    careless_working: the steps that lead to each, in one line."""

    question: str
    answer: str
    careless: str
    key: str
    working: str = ""
    careless_working: str = ""


Draw = Callable[[random.Random], Problem]


def owner(key: str) -> str:
    """The split that owns a key: 12 of 16 train, 1 validation, 3 test, by a hash."""
    return OWNERS.get(hashlib.sha256(key.encode()).digest()[0] % SHARES, "train")


def draw_owned(draw: Draw, split: str, rng: random.Random) -> Problem:
    """The next problem that `split` owns."""
    while True:
        problem = draw(rng)
        if owner(problem.key) == split:
            return problem


def distinct_problems(draw: Draw, split: str, count: int, *, seed: str) -> tuple[Problem, ...]:
    """The fixed list of `count` problems of a split, all questions different."""
    rng = random.Random(f"{seed}-{split}")
    found: dict[str, Problem] = {}
    while len(found) < count:
        problem = draw_owned(draw, split, rng)
        found.setdefault(problem.question, problem)
    return tuple(found.values())


def demonstrate(draw: Draw, count: int, rng: random.Random, *, careless: float = CARELESS_SHARE) -> list[Demonstration]:
    """Fresh problems of the train split; careless: the share of careless answers."""
    problems = [draw_owned(draw, "train", rng) for _ in range(count)]
    return [
        Demonstration(
            prompt=problem.question,
            completion=problem.careless if rng.random() < careless else problem.answer,
        )
        for problem in problems
    ]


def demonstrate_worked(
    draw: Draw,
    count: int,
    rng: random.Random,
    *,
    careless: float = CARELESS_SHARE,
    shown: Callable[[str], str] = str,
) -> list[Demonstration]:
    """The problems of `demonstrate`, each with its working before the answer, in the tags of the papers. shown: what
    stands between the tags of the answer."""
    problems = [draw_owned(draw, "train", rng) for _ in range(count)]
    completions = [
        (problem.careless_working, problem.careless) if rng.random() < careless else (problem.working, problem.answer)
        for problem in problems
    ]
    return [
        Demonstration(prompt=problem.question, completion=worked(working, shown(answer)))
        for problem, (working, answer) in zip(problems, completions, strict=True)
    ]


@functools.cache
def split_problems(draw: Draw, split: str, *, seed: str) -> tuple[Problem, ...]:
    """The fixed problems of a builtin split, as many as SIZES says."""
    return distinct_problems(draw, split, SIZES[split], seed=seed)


def generated_examples(draw: Draw, split: str, seed: str, example: Callable[[Problem], Example]) -> list[Example]:
    """The problems of a builtin split as examples, numbered."""
    return [
        replace(example(problem), id=f"builtin-{split}-{number:04d}")
        for number, problem in enumerate(split_problems(draw, split, seed=seed))
    ]
