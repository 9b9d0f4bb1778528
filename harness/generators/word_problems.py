"""Word problems of one step for the tiny model: short stories with whole numbers, as in GSM8K.

The careless answer adds the two numbers of the story, whatever it asks for. Products and quotients are worked out by
counting up. Two splits may hold the same sum in other
words, never the same question.
"""

from __future__ import annotations

import random
from collections.abc import Callable
from dataclasses import dataclass

from harness.generators.problem import Problem

NAMES = ("Ann", "Ben", "Eva", "Kim", "Lea", "Max", "Mia", "Sam", "Tim", "Tom")
THINGS = ("bags", "caps", "cups", "eggs", "figs", "keys", "nuts", "pens")
SMALLEST, LARGEST = 2, 9


@dataclass(frozen=True, kw_only=True)
class Story:
    """text: the problem, with places for a name, things, and two numbers. numbers: these two, of a and b. answer: of a
    and b. working: of the two numbers."""

    text: str
    numbers: Callable[[int, int], tuple[int, int]]
    answer: Callable[[int, int], int]
    working: Callable[[int, int], str]


def total(x: int, y: int) -> str:
    """How two numbers are added up."""
    return f"Add: {x}+{y}={x + y}"


def difference(x: int, y: int) -> str:
    """How one number is taken from another."""
    return f"Subtract: {x}-{y}={x - y}"


def product(x: int, y: int) -> str:
    """How two numbers are multiplied: y is counted up, x times."""
    return f"Multiply: {x}*{y}: {_counted(x, y)}"


def quotient(x: int, y: int) -> str:
    """How one number is divided by another: y is counted up to x."""
    return f"Divide: {x}/{y}: {_counted(x // y, y)}, {x // y} times"


def _counted(times: int, step: int) -> str:
    return " ".join(str(step * number) for number in range(1, times + 1))


STORIES = (
    Story(
        text="{name} has {x} {things} and gets {y} more. How many now?",
        numbers=lambda a, b: (a, b),
        answer=lambda a, b: a + b,
        working=total,
    ),
    Story(
        text="{name} eats {x} {things}, then {y}. How many in all?",
        numbers=lambda a, b: (a, b),
        answer=lambda a, b: a + b,
        working=total,
    ),
    Story(
        text="{name} had {x} {things} and lost {y}. How many are left?",
        numbers=lambda a, b: (a + b, b),
        answer=lambda a, b: a,
        working=difference,
    ),
    Story(
        text="{name} needs {x} {things} and has {y}. How many more?",
        numbers=lambda a, b: (a + b, b),
        answer=lambda a, b: a,
        working=difference,
    ),
    Story(
        text="{name} has {x} boxes of {y} {things}. How many in all?",
        numbers=lambda a, b: (a, b),
        answer=lambda a, b: a * b,
        working=product,
    ),
    Story(
        text="{name} buys {x} {things} at {y} dollars each. How much?",
        numbers=lambda a, b: (a, b),
        answer=lambda a, b: a * b,
        working=product,
    ),
    Story(
        text="{name} shares {x} {things} among {y}. How many each?",
        numbers=lambda a, b: (a * b, b),
        answer=lambda a, b: a,
        working=quotient,
    ),
)


def draw(rng: random.Random) -> Problem:
    """A story with a and b of 2 to 9; the key is its text."""
    story, a, b = rng.choice(STORIES), rng.randint(SMALLEST, LARGEST), rng.randint(SMALLEST, LARGEST)
    x, y = story.numbers(a, b)
    text = story.text.format(name=rng.choice(NAMES), things=rng.choice(THINGS), x=x, y=y)
    numbers = f"The numbers are {x} and {y}."
    return Problem(
        question=f"{text}\n",
        answer=boxed(story.answer(a, b)),
        careless=boxed(x + y),
        key=text,
        working=f"{numbers} {story.working(x, y)}",
        careless_working=f"{numbers} {total(x, y)}",
    )


def boxed(number: int) -> str:
    """The number as both graders read it."""
    return f"\\boxed{{{number}}}"
