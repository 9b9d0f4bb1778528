"""Formulas for the tiny model: products, powers, quotients, equations and the order of operations, in LaTeX as in
MATH-500.

Two splits may hold the same formula asked for in other words, never the same question.
"""

from __future__ import annotations

import random
from collections.abc import Callable
from dataclasses import dataclass

from harness.generators.problem import Problem
from harness.generators.word_problems import boxed

COMPUTE = ("Calculate", "Compute", "Determine", "Evaluate", "Find", "Give", "Simplify", "State", "What is", "Work out")
SOLVE = ("Find {x} if", "Find {x} when", "Find {x}:", "Give {x} if", "Give {x} when", "Solve", "Solve for {x}:")
UNKNOWNS = ("x", "y", "k", "n", "t")
SMALLEST, LARGEST = 2, 9
LARGEST_OF_THREE = 5

Number = Callable[[int, int, int], int]


@dataclass(frozen=True, kw_only=True)
class Formula:
    """shown: the formula, of a, b and c, an unknown in it called x. right: its value. careless: what a beginner takes
    for it. asked: the words that it may follow. largest: of the three numbers."""

    shown: Callable[[int, int, int], str]
    right: Number
    careless: Number
    asked: tuple[str, ...] = COMPUTE
    largest: int = LARGEST


FORMULAS = (
    Formula(
        shown=lambda a, b, c: f"{a}+{b}",
        right=lambda a, b, c: a + b,
        careless=lambda a, b, c: a + b,
    ),
    Formula(
        shown=lambda a, b, c: rf"{a}\cdot {b}",
        right=lambda a, b, c: a * b,
        careless=lambda a, b, c: a + b,
    ),
    Formula(
        shown=lambda a, b, c: f"{a}^2",
        right=lambda a, b, c: a * a,
        careless=lambda a, b, c: 2 * a,
    ),
    Formula(
        shown=lambda a, b, c: rf"\frac{{{a * b}}}{{{b}}}",
        right=lambda a, b, c: a,
        careless=lambda a, b, c: a * b - b,
    ),
    Formula(
        shown=lambda a, b, c: f"x+{b}={a + b}",
        right=lambda a, b, c: a,
        careless=lambda a, b, c: a + 2 * b,
        asked=SOLVE,
    ),
    Formula(
        shown=lambda a, b, c: f"{b}x={a * b}",
        right=lambda a, b, c: a,
        careless=lambda a, b, c: a * b - b,
        asked=SOLVE,
    ),
    Formula(
        shown=lambda a, b, c: rf"{a}+{b}\cdot {c}",
        right=lambda a, b, c: a + b * c,
        careless=lambda a, b, c: (a + b) * c,
        largest=LARGEST_OF_THREE,
    ),
    Formula(
        shown=lambda a, b, c: rf"{a}\cdot ({b}+{c})",
        right=lambda a, b, c: a * (b + c),
        careless=lambda a, b, c: a * b + c,
        largest=LARGEST_OF_THREE,
    ),
)


def draw(rng: random.Random) -> Problem:
    """A formula with numbers from 2; the answer is boxed and the key the question."""
    formula = rng.choice(FORMULAS)
    a, b, c = (rng.randint(SMALLEST, formula.largest) for _ in range(3))
    unknown = rng.choice(UNKNOWNS)
    words = rng.choice(formula.asked).format(x=f"${unknown}$")
    text = f"{words} ${formula.shown(a, b, c).replace('x', unknown)}$."
    return Problem(
        question=f"{text}\n",
        answer=boxed(formula.right(a, b, c)),
        careless=boxed(formula.careless(a, b, c)),
        key=text,
    )
