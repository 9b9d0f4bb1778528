"""Word problems of one or two steps for the tiny model: short stories with whole numbers, as in GSM8K."""

from __future__ import annotations

import random
from dataclasses import dataclass

from harness.generators.problem import Problem
from harness.generators.working import Text, draw_numbers, value, worked

NAMES = ("Ann", "Ben", "Eva", "Kim", "Max", "Mia", "Sam", "Tom")
THINGS = ("caps", "cups", "eggs", "figs", "nuts", "pens")


@dataclass(frozen=True, kw_only=True)
class Story:
    """text: the problem, with places for a name, things, a, b, c and the product ab. right: its last step. careless:
    the step of a beginner who leaves one out or takes the wrong one."""

    text: str
    right: Text
    careless: Text


STORIES = (
    Story(
        text="{name} has {c} {things} and gets {a}. How many now?",
        right=lambda a, b, c: f"{c}+{a}",
        careless=lambda a, b, c: f"{c}+{a}",
    ),
    Story(
        text="{name} had {c} {things} and lost {a}. How many are left?",
        right=lambda a, b, c: f"{c}-{a}",
        careless=lambda a, b, c: f"{c}-{a}",
    ),
    Story(
        text="{name} has {c} {things}, gets {a}, loses {b}. How many now?",
        right=lambda a, b, c: f"{c + a}-{b}",
        careless=lambda a, b, c: f"{c}+{a}",
    ),
    Story(
        text="{name} has {a} bags of {b} {things}. How many {things}?",
        right=lambda a, b, c: f"{a}*{b}",
        careless=lambda a, b, c: f"{a}+{b}",
    ),
    Story(
        text="{name} has {a} bags of {b} {things}, loses {c}. How many now?",
        right=lambda a, b, c: f"{a * b}-{c}",
        careless=lambda a, b, c: f"{a}*{b}",
    ),
    Story(
        text="{name} has {c} {things}, I have {a} more. How many in all?",
        right=lambda a, b, c: f"{c + a}+{c}",
        careless=lambda a, b, c: f"{c}+{a}",
    ),
    Story(
        text="{name} shares {ab} {things} among {b} boys. How many each?",
        right=lambda a, b, c: f"{a * b}/{b}",
        careless=lambda a, b, c: f"{a * b}-{b}",
    ),
    Story(
        text="{a} {things} at {b} dollars and a bag at {c}: how much?",
        right=lambda a, b, c: f"{a * b}+{c}",
        careless=lambda a, b, c: f"{a + b}+{c}",
    ),
)


def draw(rng: random.Random) -> Problem:
    """A story with numbers of 2 to 9; its answer is 1 or more."""
    number, story = rng.choice(list(enumerate(STORIES)))
    a, b, c = draw_numbers(rng)
    while value(story.right(a, b, c)) < 1:
        a, b, c = draw_numbers(rng)
    text = story.text.format(name=rng.choice(NAMES), things=rng.choice(THINGS), a=a, b=b, c=c, ab=a * b)
    return Problem(
        question=f"{text}\n",
        answer=worked(story.right(a, b, c)),
        careless=worked(story.careless(a, b, c)),
        key=f"story {number}: {' '.join(character for character in text if character.isdigit())}",
    )
