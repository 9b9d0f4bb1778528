"""Formulas for the tiny model: products, powers, quotients, equations and the order of operations, in LaTeX as in
MATH-500.

Two splits may hold the same formula asked for in other words, never the same question.
"""

from __future__ import annotations

import random
from collections.abc import Callable
from dataclasses import dataclass

from harness.generators.problem import Problem
from harness.generators.word_problems import boxed, difference, product, quotient, total

COMPUTE = ("Calculate", "Compute", "Determine", "Evaluate", "Find", "Give", "Simplify", "State", "What is", "Work out")
SOLVE = ("Find {x} if", "Find {x} when", "Find {x}:", "Give {x} if", "Give {x} when", "Solve", "Solve for {x}:")
UNKNOWNS = ("x", "y", "k", "n", "t")
SMALLEST, LARGEST = 2, 9
LARGEST_OF_THREE = 5

Number = Callable[[int, int, int], int]
Steps = Callable[[int, int, int], str]


@dataclass(frozen=True, kw_only=True)
class Formula:
    """shown: the formula, of a, b and c, an unknown in it called x. right: its value. careless: what a beginner takes
    for it. working, careless_working: how either is found. asked: the words that it may follow. largest: of the three
    numbers."""

    shown: Callable[[int, int, int], str]
    right: Number
    careless: Number
    working: Steps
    careless_working: Steps
    asked: tuple[str, ...] = COMPUTE
    largest: int = LARGEST


FORMULAS = (
    Formula(
        shown=lambda a, b, c: f"{a}+{b}",
        right=lambda a, b, c: a + b,
        careless=lambda a, b, c: a + b,
        working=lambda a, b, c: total(a, b),
        careless_working=lambda a, b, c: total(a, b),
    ),
    Formula(
        shown=lambda a, b, c: rf"{a}\cdot {b}",
        right=lambda a, b, c: a * b,
        careless=lambda a, b, c: a + b,
        working=lambda a, b, c: product(a, b),
        careless_working=lambda a, b, c: total(a, b),
    ),
    Formula(
        shown=lambda a, b, c: f"{a}^2",
        right=lambda a, b, c: a * a,
        careless=lambda a, b, c: 2 * a,
        working=lambda a, b, c: product(a, a),
        careless_working=lambda a, b, c: product(2, a),
    ),
    Formula(
        shown=lambda a, b, c: rf"\frac{{{a * b}}}{{{b}}}",
        right=lambda a, b, c: a,
        careless=lambda a, b, c: a * b - b,
        working=lambda a, b, c: quotient(a * b, b),
        careless_working=lambda a, b, c: difference(a * b, b),
    ),
    Formula(
        shown=lambda a, b, c: f"x+{b}={a + b}",
        right=lambda a, b, c: a,
        careless=lambda a, b, c: a + 2 * b,
        working=lambda a, b, c: difference(a + b, b),
        careless_working=lambda a, b, c: total(a + b, b),
        asked=SOLVE,
    ),
    Formula(
        shown=lambda a, b, c: f"{b}x={a * b}",
        right=lambda a, b, c: a,
        careless=lambda a, b, c: a * b - b,
        working=lambda a, b, c: quotient(a * b, b),
        careless_working=lambda a, b, c: difference(a * b, b),
        asked=SOLVE,
    ),
    Formula(
        shown=lambda a, b, c: rf"{a}+{b}\cdot {c}",
        right=lambda a, b, c: a + b * c,
        careless=lambda a, b, c: (a + b) * c,
        working=lambda a, b, c: f"{product(b, c)}. {total(a, b * c)}",
        careless_working=lambda a, b, c: f"{total(a, b)}. {product(a + b, c)}",
        largest=LARGEST_OF_THREE,
    ),
    Formula(
        shown=lambda a, b, c: rf"{a}\cdot ({b}+{c})",
        right=lambda a, b, c: a * (b + c),
        careless=lambda a, b, c: a * b + c,
        working=lambda a, b, c: f"{total(b, c)}. {product(a, b + c)}",
        careless_working=lambda a, b, c: f"{product(a, b)}. {total(a * b, c)}",
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
        working=formula.working(a, b, c),
        careless_working=formula.careless_working(a, b, c),
    )
