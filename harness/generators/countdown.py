"""Countdown problems for the tiny model: three numbers and a target that one way of joining them in order reaches."""

from __future__ import annotations

import random
from collections.abc import Callable
from dataclasses import dataclass

from harness.generators.problem import Problem

LARGEST = 9


@dataclass(frozen=True, kw_only=True)
class Form:
    """text: an expression with places for a, b and c. value: what it comes to. first: what is computed first, text and
    value. then: what is computed of that, r, and the number that is left."""

    text: str
    value: Callable[[int, int, int], int]
    first: Callable[[int, int, int], tuple[str, int]]
    then: str

    def working(self, a: int, b: int, c: int) -> str:
        """The two steps: `3*4:12, 12+5:17`."""
        first, r = self.first(a, b, c)
        return f"{first}:{r}, {self.then.format(a=a, c=c, r=r)}:{self.value(a, b, c)}"

    def equation(self, a: int, b: int, c: int) -> str:
        """The whole: `3*4+5=17`. d1's parser reads what stands before the first equals sign of a text."""
        return f"{self.text.format(a=a, b=b, c=c)}={self.value(a, b, c)}"


TOTAL = Form(
    text="{a}+{b}+{c}",
    value=lambda a, b, c: a + b + c,
    first=lambda a, b, c: (f"{a}+{b}", a + b),
    then="{r}+{c}",
)
LESS = Form(
    text="{a}+{b}-{c}",
    value=lambda a, b, c: a + b - c,
    first=lambda a, b, c: (f"{a}+{b}", a + b),
    then="{r}-{c}",
)
FORMS = (
    TOTAL,
    LESS,
    Form(
        text="{a}-{b}+{c}",
        value=lambda a, b, c: a - b + c,
        first=lambda a, b, c: (f"{a}-{b}", a - b),
        then="{r}+{c}",
    ),
    Form(
        text="{a}*{b}+{c}",
        value=lambda a, b, c: a * b + c,
        first=lambda a, b, c: (f"{a}*{b}", a * b),
        then="{r}+{c}",
    ),
    Form(
        text="{a}*{b}-{c}",
        value=lambda a, b, c: a * b - c,
        first=lambda a, b, c: (f"{a}*{b}", a * b),
        then="{r}-{c}",
    ),
    Form(
        text="{a}+{b}*{c}",
        value=lambda a, b, c: a + b * c,
        first=lambda a, b, c: (f"{b}*{c}", b * c),
        then="{a}+{r}",
    ),
    Form(
        text="{a}*{b}*{c}",
        value=lambda a, b, c: a * b * c,
        first=lambda a, b, c: (f"{a}*{b}", a * b),
        then="{r}*{c}",
    ),
    Form(
        text="({a}+{b})*{c}",
        value=lambda a, b, c: (a + b) * c,
        first=lambda a, b, c: (f"{a}+{b}", a + b),
        then="{r}*{c}",
    ),
    Form(
        text="{a}*({b}+{c})",
        value=lambda a, b, c: a * (b + c),
        first=lambda a, b, c: (f"{b}+{c}", b + c),
        then="{a}*{r}",
    ),
    Form(
        text="({a}-{b})*{c}",
        value=lambda a, b, c: (a - b) * c,
        first=lambda a, b, c: (f"{a}-{b}", a - b),
        then="{r}*{c}",
    ),
)
"""Simplest first: the answer to a problem is the first form that reaches the target."""


def draw(rng: random.Random) -> Problem:
    """Three numbers of 1 to 9 and what one of FORMS, a number of 1 or more, makes of them: `3,4,5=17`."""
    while True:
        numbers = (rng.randint(1, LARGEST), rng.randint(1, LARGEST), rng.randint(1, LARGEST))
        target = rng.choice(FORMS).value(*numbers)
        if target >= 1:
            return problem_of(numbers, target)


def problem_of(numbers: tuple[int, int, int], target: int) -> Problem:
    """The problem of three numbers and a target that one of FORMS reaches.

    A beginner adds all three up, or takes the last away where that would be too much.
    """
    a, b, c = numbers
    right = next(form for form in FORMS if form.value(a, b, c) == target)
    careless = TOTAL if a + b + c <= target else LESS
    return Problem(
        question=f"{a},{b},{c}={target}\n",
        answer=right.text.format(a=a, b=b, c=c),
        careless=careless.text.format(a=a, b=b, c=c),
        key=" ".join(map(str, sorted(numbers))),
        working=_tried(careless, right, numbers),
        careless_working=_tried(careless, careless, numbers),
    )


def _tried(careless: Form, taken: Form, numbers: tuple[int, int, int]) -> str:
    """The steps of the form that is taken, after those of the careless one where that has failed."""
    steps = f"{taken.working(*numbers)}. {taken.equation(*numbers)}"
    return steps if careless is taken else f"{careless.working(*numbers)}, no. {steps}"
