"""Small numbers, and one line of working as the tiny model writes it: a calculation of two numbers, its value boxed."""

from __future__ import annotations

import operator
import random
import re
from collections.abc import Callable
from fractions import Fraction

CALCULATION = re.compile(r"(-?\d+)([-+*/])(\d+)")
SMALLEST, LARGEST_A, LARGEST_B, LARGEST_C = 2, 5, 6, 9
OPERATIONS = {"+": operator.add, "-": operator.sub, "*": operator.mul, "/": operator.truediv}

Text = Callable[[int, int, int], str]
"""Of the numbers a, b and c of a problem."""


def draw_numbers(rng: random.Random) -> tuple[int, int, int]:
    """a of 2 to 5, b of 2 to 6, c of 2 to 9: a and b are multiplied, and a tiny model has few products to learn."""
    return rng.randint(SMALLEST, LARGEST_A), rng.randint(SMALLEST, LARGEST_B), rng.randint(SMALLEST, LARGEST_C)


def worked(calculation: str) -> str:
    """`24-3` as `24-3=\\boxed{21}`; a quotient in lowest terms, `6/8=\\boxed{3/4}`."""
    return f"{calculation}=\\boxed{{{value(calculation)}}}"


def value(calculation: str) -> Fraction:
    """What two numbers joined by + - * / come to. Raises ValueError for another text, ZeroDivisionError."""
    found = CALCULATION.fullmatch(calculation)
    if found is None:
        raise ValueError(f"{calculation!r} is no calculation of two numbers")
    left, sign, right = found.groups()
    result: Fraction = OPERATIONS[sign](Fraction(left), Fraction(right))
    return result
