"""Builtin problems of mbpp and humaneval: one family of one-line functions over a list of whole numbers.

A problem chooses some of the numbers, changes each, and combines them: "sum of even numbers, each doubled" is
`sum(x*2 for x in a if x%2<1)`. No two are the same function. Either task asks for them in its own form and in several
wordings; a function belongs to the same split in both, however it is asked for.

The careless programmer minds even and odd numbers and leaves out every other choice (`sum(x*2 for x in a)`), so that
about a quarter of the careless answers are right.
"""

from __future__ import annotations

import itertools
import random
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from typing import Any

from harness.generators.problem import Problem, distinct_problems

COUNTS = {"train": 2048, "validation": 128, "test": 384}
"""Problems of each split."""

HEAD = "def f(a):\n"
RETURN = " return "
CARELESS_SHARE = 0.8
"""Of the demonstrations. With less a tiny base is careful already: right and careless programs differ little."""
LEADS = ("The", "Return the", "Give the", "Find the", "Get the", "Compute the")
EACH = ("each", "each one", "all")
PROBES = 60
SMALLEST, LARGEST = -30, 30


@dataclass(frozen=True, kw_only=True)
class Part:
    """One way to choose or to change numbers: words, code, and what it does to a number."""

    words: str
    code: str
    apply: Callable[[int], int | bool]


REMEMBERED = (
    Part(words="even numbers", code="x%2<1", apply=lambda x: x % 2 < 1),
    Part(words="odd numbers", code="x%2>0", apply=lambda x: x % 2 > 0),
)
CHOOSE = (
    *REMEMBERED,
    Part(words="positive numbers", code="x>0", apply=lambda x: x > 0),
    Part(words="negative numbers", code="x<0", apply=lambda x: x < 0),
    Part(words="numbers over ten", code="x>10", apply=lambda x: x > 10),
    Part(words="numbers under five", code="x<5", apply=lambda x: x < 5),
    Part(words="multiples of three", code="x%3<1", apply=lambda x: x % 3 < 1),
    Part(words="multiples of five", code="x%5<1", apply=lambda x: x % 5 < 1),
)
CHANGE = (
    Part(words="plus one", code="x+1", apply=lambda x: x + 1),
    Part(words="minus one", code="x-1", apply=lambda x: x - 1),
    Part(words="doubled", code="x*2", apply=lambda x: x * 2),
    Part(words="tripled", code="x*3", apply=lambda x: x * 3),
    Part(words="squared", code="x*x", apply=lambda x: x * x),
    Part(words="cubed", code="x**3", apply=lambda x: x**3),
    Part(words="halved", code="x//2", apply=lambda x: x // 2),
    Part(words="negated", code="-x", apply=lambda x: -x),
)
COMBINE: Mapping[str, Callable[[list[int]], int | list[int]]] = {"sum": sum, "max": max, "min": min, "list": list}
EMPTY_IS_DEFINED = ("sum", "list")


@dataclass(frozen=True, kw_only=True)
class Meaning:
    """One function of the family."""

    combine: str
    choose: Part
    change: Part

    @property
    def key(self) -> str:
        """What makes two of them the same."""
        return self.expression()

    def words(self, each: str = EACH[0]) -> str:
        """The function in words."""
        return f"{self.combine} of {self.choose.words}, {each} {self.change.words}"

    def expression(self, *, choosing: bool = True) -> str:
        """The Python expression over a list `a`; without the choice, what a careless programmer writes."""
        inner = f"{self.change.code} for x in a" + (f" if {self.choose.code}" if choosing else "")
        return f"[{inner}]" if self.combine == "list" else f"{self.combine}({inner})"

    def working(self, *, choosing: bool = True) -> str:
        """The parts in words and in code, one after the other."""
        parts = (self.choose, self.change) if choosing else (self.change,)
        return " ".join(f"{part.words}: {part.code}." for part in parts) + f" Then {self.combine}."

    def value(self, numbers: Sequence[int], *, choosing: bool = True, changing: bool = True) -> Any:
        """What the program gives, or the program without a part; None where Python would raise."""
        chosen = [x for x in numbers if not choosing or self.choose.apply(x)]
        changed = [int(self.change.apply(x)) if changing else x for x in chosen]
        return COMBINE[self.combine](changed) if changed or self.combine in EMPTY_IS_DEFINED else None


@cache
def family() -> dict[str, Meaning]:
    """All functions by key, told apart by what they give for random lists.

    Left out is what does the same as one before it, and what does the same without its choice where that finds any
    number: the largest of the positive numbers is the largest of all.
    """
    rng = random.Random("probes")
    lists = [[rng.randint(SMALLEST, LARGEST) for _ in range(rng.randint(1, 8))] for _ in range(PROBES)]
    seen: set[tuple[str, ...]] = set()
    found = {}
    for combine, choose, change in itertools.product(COMBINE, CHOOSE, CHANGE):
        meaning = Meaning(combine=combine, choose=choose, change=change)
        values = [meaning.value(numbers) for numbers in lists]
        idle = all(value in (None, meaning.value(a, choosing=False)) for value, a in zip(values, lists, strict=True))
        behaviour = tuple(map(str, values))
        if not idle and behaviour not in seen:
            found[meaning.key] = meaning
        seen.add(behaviour)
    return found


def draw_mbpp(rng: random.Random) -> Problem:
    """A sentence."""
    return _draw(rng, lambda words: f"Write f(a). {words}.\n")


def draw_humaneval(rng: random.Random) -> Problem:
    """A signature with a docstring."""
    return _draw(rng, lambda words: f'{HEAD} """{words}."""\n')


def _draw(rng: random.Random, form: Callable[[str], str]) -> Problem:
    """Any function in any wording; the answer is the whole function in both tasks."""
    meaning = rng.choice(tuple(family().values()))
    remembers = meaning.choose in REMEMBERED
    return Problem(
        question=form(f"{rng.choice(LEADS)} {meaning.words(rng.choice(EACH))}"),
        answer=f"{HEAD}{RETURN}{meaning.expression()}",
        careless=f"{HEAD}{RETURN}{meaning.expression(choosing=remembers)}",
        key=meaning.key,
        working=meaning.working(),
        careless_working=meaning.working(choosing=remembers),
    )


def calls(meaning: Meaning) -> tuple[tuple[tuple[int, ...], Any], ...]:
    """Three inputs with the right results: two on which leaving out a part shows, and an edge: the empty list where
    that is defined, otherwise a list of one number."""
    rng = random.Random(f"calls-{meaning.key}")
    first, second = _telling(meaning, rng), _telling(meaning, rng)
    edge: tuple[int, ...] = ()
    while meaning.value(edge) is None:
        edge = (rng.randint(SMALLEST, LARGEST),)
    return tuple((numbers, meaning.value(numbers)) for numbers in (first, second, edge))


def _telling(meaning: Meaning, rng: random.Random) -> tuple[int, ...]:
    """Numbers for which the program gives something else than without its choice and than without its change."""
    while True:
        numbers = tuple(rng.randint(SMALLEST, LARGEST) for _ in range(6))
        value = meaning.value(numbers)
        others = (meaning.value(numbers, choosing=False), meaning.value(numbers, changing=False))
        if value not in (None, [], 0) and value not in others:
            return numbers


def mbpp_rows(split: str) -> list[dict[str, Any]]:
    """The problems of a split as rows of MBPP."""
    return [
        {
            "task_id": number,
            "prompt": problem.question.strip(),
            "code": problem.answer,
            "test_list": [f"assert f({list(a)}) == {value}" for a, value in calls(family()[problem.key])],
            "test_imports": [],
        }
        for number, problem in enumerate(distinct_problems(draw_mbpp, split, COUNTS[split], seed="mbpp"))
    ]


def humaneval_rows(split: str) -> list[dict[str, str]]:
    """The problems of a split as rows of HumanEval."""
    return [
        {
            "task_id": f"builtin-{split}-{number:04d}",
            "prompt": problem.question,
            "entry_point": "f",
            "canonical_solution": f"{RETURN}{family()[problem.key].expression()}",
            "test": "def check(candidate):\n"
            + "\n".join(f" assert candidate({list(a)}) == {value}" for a, value in calls(family()[problem.key])),
        }
        for number, problem in enumerate(distinct_problems(draw_humaneval, split, COUNTS[split], seed="humaneval"))
    ]
