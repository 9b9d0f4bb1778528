"""Formulas for the tiny model: order of operations, equations and fractions, in LaTeX as in MATH-500."""

from __future__ import annotations

import random
from dataclasses import dataclass

from harness.generators.problem import Problem
from harness.generators.working import Text, draw_numbers, worked

COMPUTE = ("Calculate", "Compute", "Determine", "Evaluate", "Find", "Give", "Simplify", "State", "Work out")
SOLVE = ("Find $x$ if", "Find $x$ when", "Give $x$ if", "Give $x$ when", "Solve", "Solve for $x$:")


@dataclass(frozen=True, kw_only=True)
class Formula:
    """shown: the formula. right: the last step to its value. careless: the step of a beginner. asked: the words that
    it may follow."""

    shown: Text
    right: Text
    careless: Text
    asked: tuple[str, ...] = COMPUTE


FORMULAS = (
    Formula(
        shown=lambda a, b, c: rf"${c}+{a}\cdot {b}$",
        right=lambda a, b, c: f"{c}+{a * b}",
        careless=lambda a, b, c: f"{c + a}*{b}",
    ),
    Formula(
        shown=lambda a, b, c: rf"${a}\cdot {b}+{c}$",
        right=lambda a, b, c: f"{a * b}+{c}",
        careless=lambda a, b, c: f"{a * b}+{c}",
    ),
    Formula(
        shown=lambda a, b, c: rf"${a}\cdot ({b}+{c})$",
        right=lambda a, b, c: f"{a}*{b + c}",
        careless=lambda a, b, c: f"{a * b}+{c}",
    ),
    Formula(
        shown=lambda a, b, c: f"${a}^2+{c}$",
        right=lambda a, b, c: f"{a * a}+{c}",
        careless=lambda a, b, c: f"{2 * a}+{c}",
    ),
    Formula(
        shown=lambda a, b, c: f"${a}x+{c}={a * b + c}$",
        right=lambda a, b, c: f"{a * b}/{a}",
        careless=lambda a, b, c: f"{a * b + c}-{c}",
        asked=SOLVE,
    ),
    Formula(
        shown=lambda a, b, c: rf"$\frac{{1}}{{{c}}}+\frac{{{a}}}{{{c}}}$",
        right=lambda a, b, c: f"{1 + a}/{c}",
        careless=lambda a, b, c: f"{a}/{c}",
    ),
)


def draw(rng: random.Random) -> Problem:
    """A formula with small numbers; the answer is boxed, a fraction in lowest terms as 2/3."""
    formula = rng.choice(FORMULAS)
    numbers = draw_numbers(rng)
    shown = formula.shown(*numbers)
    return Problem(
        question=f"{rng.choice(formula.asked)} {shown}.\n",
        answer=worked(formula.right(*numbers)),
        careless=worked(formula.careless(*numbers)),
        key=shown,
    )
