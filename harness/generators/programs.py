"""Builtin problems of mbpp and humaneval: one family of one-line functions over a list of whole numbers.

A problem chooses some of the numbers, changes each, and combines them: "sum of numbers over 5, each plus 3" is
`sum(x+3 for x in a if x>5)`. There are 2,978 problems, no two of them the same function: 4 x 35 x 26, less 630 whose
choice is idle (the largest of the numbers over 5 is the largest of all) and 32 that mean what another means. The two
tasks ask the same problems in their own forms, and a problem belongs to the same split in both.

The careless programmer leaves out comparisons (`sum(x+3 for x in a)`) but minds multiples, so that about a third of the
careless answers are right.
"""

from __future__ import annotations

import operator
import random
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from typing import Any

from harness.generators.problem import Problem, distinct_problems

COUNTS = {"train": 2048, "validation": 160, "test": 512}
"""Problems of each split: most of those that there are."""

HEAD = "def f(a):\n"
RETURN = " return "


@dataclass(frozen=True, kw_only=True)
class Choice:
    """One way to choose or to change numbers: words and code with a place for a constant, what it does to (x,
    constant), and the constants."""

    words: str
    code: str
    apply: Callable[[int, int], int | bool]
    constants: range


CHOOSE = (
    Choice(words="numbers over {}", code="x>{}", apply=operator.gt, constants=range(1, 10)),
    Choice(words="numbers under {}", code="x<{}", apply=operator.lt, constants=range(1, 10)),
    Choice(words="multiples of {}", code="x%{}<1", apply=lambda x, c: x % c < 1, constants=range(2, 10)),
)
OVER, UNDER, REMEMBERED = CHOOSE

CHANGE = (
    Choice(words="plus {}", code="x+{}", apply=operator.add, constants=range(1, 10)),
    Choice(words="minus {}", code="x-{}", apply=operator.sub, constants=range(1, 10)),
    Choice(words="times {}", code="x*{}", apply=operator.mul, constants=range(2, 10)),
    Choice(words="taken from {}", code="{}-x", apply=lambda x, c: c - x, constants=range(1, 10)),
)
_, MINUS, _, FALLING = CHANGE

COMBINE: Mapping[str, Callable[[list[int]], int | list[int]]] = {"sum": sum, "max": max, "min": min, "list": list}
EMPTY_IS_DEFINED = ("sum", "list")


@dataclass(frozen=True, kw_only=True)
class Meaning:
    """One problem of the family."""

    combine: str
    choose: Choice
    bound: int
    change: Choice
    amount: int

    @property
    def idle(self) -> bool:
        """Whether the choice never matters, as for the largest of the numbers over 5 or the least of those under 5."""
        highest = (self.combine == "max") != (self.change is FALLING)
        return self.combine in ("max", "min") and self.choose is (OVER if highest else UNDER)

    @property
    def has_twin(self) -> bool:
        """Whether the next bound gives the same function: in a sum of numbers over 4, each minus 5, a 5 adds 0."""
        step = {OVER: 1, UNDER: -1}.get(self.choose, 0)
        vanishes = self.change in (MINUS, FALLING) and self.bound + step == self.amount
        return self.combine == "sum" and step != 0 and vanishes

    @property
    def words(self) -> str:
        """The problem in words; also its key."""
        return f"{self.combine} of {self.choose.words}, each {self.change.words}".format(self.bound, self.amount)

    def expression(self, *, choosing: bool = True) -> str:
        """The Python expression over a list `a`; without the choice, what a careless programmer writes."""
        inner = f"{self.change.code.format(self.amount)} for x in a"
        inner += f" if {self.choose.code.format(self.bound)}" if choosing else ""
        return f"[{inner}]" if self.combine == "list" else f"{self.combine}({inner})"

    def value(self, numbers: Sequence[int], *, choosing: bool = True, changing: bool = True) -> Any:
        """What the program gives, or the program without a part; None where Python would raise."""
        chosen = [x for x in numbers if not choosing or self.choose.apply(x, self.bound)]
        changed = [int(self.change.apply(x, self.amount)) if changing else x for x in chosen]
        return COMBINE[self.combine](changed) if changed or self.combine in EMPTY_IS_DEFINED else None


def draw_meaning(rng: random.Random) -> Meaning:
    """Any problem of the family, none that is idle or has a twin."""
    while True:
        choose, change = rng.choice(CHOOSE), rng.choice(CHANGE)
        meaning = Meaning(
            combine=rng.choice(tuple(COMBINE)),
            choose=choose,
            bound=rng.choice(choose.constants),
            change=change,
            amount=rng.choice(change.constants),
        )
        if not (meaning.idle or meaning.has_twin):
            return meaning


def problem_of(meaning: Meaning, question: str) -> Problem:
    """The problem as a task asks it; the answer is the whole function in both tasks."""
    careless = meaning.expression(choosing=meaning.choose is REMEMBERED)
    return Problem(
        question=question,
        answer=f"{HEAD}{RETURN}{meaning.expression()}",
        careless=f"{HEAD}{RETURN}{careless}",
        key=meaning.words,
    )


def draw_mbpp(rng: random.Random) -> Problem:
    """A sentence."""
    meaning = draw_meaning(rng)
    return problem_of(meaning, f"{mbpp_question(meaning)}\n")


def draw_humaneval(rng: random.Random) -> Problem:
    """A signature with a docstring."""
    meaning = draw_meaning(rng)
    return problem_of(meaning, f"{humaneval_prompt(meaning)}\n")


def mbpp_question(meaning: Meaning) -> str:
    """The sentence of a problem."""
    return f"Write f(a): {meaning.words}."


def humaneval_prompt(meaning: Meaning) -> str:
    """Signature and docstring of a problem."""
    return f'{HEAD} """{meaning.words}."""\n'


@cache
def meanings(split: str) -> tuple[Meaning, ...]:
    """The fixed problems of a split, in a fixed order, the same for both tasks."""
    known: dict[str, Meaning] = {}

    def draw(rng: random.Random) -> Problem:
        meaning = draw_meaning(rng)
        known[meaning.words] = meaning
        return problem_of(meaning, meaning.words)

    return tuple(known[problem.key] for problem in distinct_problems(draw, split, COUNTS[split], seed="programs"))


def calls(meaning: Meaning) -> tuple[tuple[tuple[int, ...], Any], ...]:
    """Three inputs with the right results: two on which leaving out a part shows, and an edge: the empty list where
    that is defined, otherwise a list of one number."""
    rng = random.Random(f"calls-{meaning.words}")
    first, second = _telling(meaning, rng), _telling(meaning, rng)
    edge: tuple[int, ...] = ()
    while meaning.value(edge) is None:
        edge = (rng.randint(-9, 29),)
    return tuple((numbers, meaning.value(numbers)) for numbers in (first, second, edge))


def _telling(meaning: Meaning, rng: random.Random) -> tuple[int, ...]:
    """Numbers for which the program gives something else than without its choice and than without its change."""
    while True:
        numbers = tuple(rng.randint(-9, 29) for _ in range(6))
        value = meaning.value(numbers)
        others = (meaning.value(numbers, choosing=False), meaning.value(numbers, changing=False))
        if value not in (None, [], 0) and value not in others:
            return numbers


def mbpp_rows(split: str) -> list[dict[str, Any]]:
    """The problems of a split as rows of MBPP."""
    return [
        {
            "task_id": number,
            "prompt": mbpp_question(meaning),
            "code": f"{HEAD}{RETURN}{meaning.expression()}",
            "test_list": [f"assert f({list(numbers)}) == {value}" for numbers, value in calls(meaning)],
            "test_imports": [],
        }
        for number, meaning in enumerate(meanings(split))
    ]


def humaneval_rows(split: str) -> list[dict[str, str]]:
    """The problems of a split as rows of HumanEval."""
    return [
        {
            "task_id": f"builtin-{split}-{number:04d}",
            "prompt": humaneval_prompt(meaning),
            "entry_point": "f",
            "canonical_solution": f"{RETURN}{meaning.expression()}",
            "test": "def check(candidate):\n"
            + "\n".join(f" assert candidate({list(numbers)}) == {value}" for numbers, value in calls(meaning)),
        }
        for number, meaning in enumerate(meanings(split))
    ]
