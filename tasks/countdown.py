"""Countdown: reach a target with the given numbers, each used once, and + - * / (d1's three-number version of the
game in Pan et al. 2025, TinyZero).

    accuracy            an expression in the answer, all numbers once, exactly the target (robust)
    official_accuracy   d1's evaluation parser: the last box, or else the whole text, evaluated

Expressions are computed with exact fractions and hold whole numbers, + - * / and parentheses alone. The official
code calls `eval` on anything of digits, points and operators, so `9**9**9` never returns there. The official grader
and profile here take what it takes (also `//` and `13.`), but no power: such an answer is well-formed and wrong.

Rewards by profile (parts are added up):
    official, espo   1 for the target, 0.1 for an answer block with anything else, 0 without one
    agrpo            the answer is an equation: correctness 3 where its left side is right; form a third each for
                     the target on the right, a left side of legal characters, and the right numbers, less 0.5
                     for more than one equals sign

It differs in one point, where the options let it: a completion that is nothing but an expression is read as it
stands (the tiny model's output).
"""

from __future__ import annotations

import random
import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from fractions import Fraction
from itertools import permutations
from typing import Any, ClassVar

from harness.data.hub import HubSplit
from harness.errors import UserError
from harness.generators.countdown import draw
from harness.generators.problem import CARELESS_SHARE, demonstrate, demonstrate_worked, generated_examples
from harness.registry import task
from harness.scoring.answers import (
    ANY_CLOSE,
    ANY_OPEN,
    bare_line,
    final_answer,
    first_tagged,
    official_first_answer,
    official_last_answer,
)
from harness.scoring.boxed import official_boxed
from harness.scoring.expressions import MAX_NUMBERS, evaluate, uses
from harness.scoring.maths.reader import LONGEST
from harness.scoring.maths.text import undressed
from harness.task.base import (
    OFFICIAL,
    Demonstration,
    Example,
    LeakageReport,
    Message,
    Verdict,
    outcome,
    required,
    worked,
)
from harness.task.rows import RowsTask

TOLERANCE = Fraction(1, 100_000)
ATTEMPT = 0.1
COUNT = 3
LATEX_OPERATORS = {"\\div": "/", "\\times": "*", "\\cdot": "*"}
EQUATION_END = re.compile(r"=[0-9. ]+")
LEFT_CHARACTERS = frozenset("0123456789+-*/() ")
EXPRESSION = re.compile(r"[0-9+\-*/() ]+")
LEGAL_LEFT = re.compile(r"[\d\s+\-*/()]+")
FRACTION = re.compile(r"\\[dtc]?frac\s*(\{[^{}]*\}|[0-9])\s*(\{[^{}]*\}|[0-9])")
TIMES = re.compile(r"(?<=[0-9)\]])\s*[xX]\s*(?=[0-9(\[])")
PARENTHESES = str.maketrans("[]{}", "()()")
QUESTION_NUMBERS = re.compile(r"Numbers: \[([\d, ]+)\]", re.IGNORECASE)
QUESTION_TARGET = re.compile(r"Target: (\d+)", re.IGNORECASE)

PROMPT = """\
Use the numbers {numbers} to make {target}. Every number has to be used exactly once; you may add, subtract, \
multiply, divide and set parentheses.

Work it out between <reasoning> and </reasoning>. Then write between <answer> and </answer> the expression alone, \
without an equals sign; for the numbers 2, 3 and 4 and the target 5 that would be 2*4-3."""


def make_example(identifier: str, numbers: Sequence[int], target: int) -> Example:
    """An Example whose target has `numbers` (list) and `target`."""
    question = f"Numbers: {list(numbers)}\nTarget: {target}"
    return Example(id=identifier, question=question, target={"numbers": list(numbers), "target": target})


def builtin_example(question: str) -> Example:
    """The example of a generated question, which is the compact prompt: `3,4,5=17`."""
    numbers, target = question.split("=")
    return make_example("", [int(number) for number in numbers.split(",")], int(target))


def is_right(expression: str, numbers: Sequence[int], target: int) -> bool:
    """Whether the expression uses the numbers and comes to the target exactly."""
    return uses(expression, numbers) and evaluate(expression) == target


def official_is_right(expression: str, numbers: Sequence[int], target: float) -> bool:
    """The same for what Python would compute, within 1e-5; powers aside."""
    value = evaluate(expression, as_python=True) if uses(expression, numbers) else None
    return value is not None and abs(value - Fraction(target)) < TOLERANCE


def with_operators(text: str) -> str:
    """LaTeX's operators as Python's."""
    for latex, operator in LATEX_OPERATORS.items():
        text = text.replace(latex, operator)
    return text


def official_expression(text: str) -> str:
    """What d1's evaluation computes.

    The last box; the whole text where there is none; the first answer block where the box is never closed. Of an
    equation its left side, whatever stands on the right.
    """
    boxed = official_boxed(text)
    if boxed is None:
        block = official_first_answer(text)
        boxed = text if block is None else block.strip()
    expression = with_operators(boxed)
    left = _left_of_equation(expression)
    return expression if left is None else left


def _left_of_equation(text: str) -> str | None:
    """The longest run of expression characters before the first equals sign that has such a run and a number."""
    for sign in re.finditer("=", text):
        start = sign.start()
        while start > 0 and text[start - 1] in LEFT_CHARACTERS:
            start -= 1
        if start < sign.start() and EQUATION_END.match(text, sign.start()):
            return text[start : sign.start()].strip()
    return None


def robust_expression(answer: str, target: int) -> str | None:
    """The expression of an answer; None for an equation with a side that is not the target."""
    left, *others = plain_expression(answer).split("=")
    return left.strip() if all(evaluate(side) == target for side in others) else None


def plain_expression(answer: str) -> str:
    """The answer in Python's signs: LaTeX's, Unicode's and Markdown's dress taken off, fractions as quotients."""
    text = undressed(answer) if len(answer) <= LONGEST else answer
    for _ in range(MAX_NUMBERS):
        text = FRACTION.sub(lambda found: f"(({found[1].strip('{}')})/({found[2].strip('{}')}))", text)
    return TIMES.sub("*", with_operators(text)).translate(PARENTHESES)


def same_problem(example: Example) -> tuple[tuple[int, ...], int]:
    """The numbers, in rising order, and the target."""
    return tuple(sorted(example.target["numbers"])), example.target["target"]


def find_expression(numbers: Sequence[int], target: int) -> str | None:
    """An expression of all numbers that comes to the target exactly; None where there is none."""
    terms = [(Fraction(number), str(number)) for number in numbers]
    found = next((text for value, text in _combined(terms) if value == target), None)
    return found.removeprefix("(").removesuffix(")") if found is not None and len(numbers) > 1 else found


def _combined(terms: list[tuple[Fraction, str]]) -> Iterator[tuple[Fraction, str]]:
    """Every value with its expression, in outer parentheses, that all terms together come to."""
    if len(terms) == 1:
        yield terms[0]
    for (i, (left, a)), (j, (right, b)) in permutations(enumerate(terms), 2):
        rest = [term for k, term in enumerate(terms) if k not in (i, j)]
        values = {"+": left + right, "-": left - right, "*": left * right}
        if right:
            values["/"] = left / right
        for operator, value in values.items():
            yield from _combined([*rest, (value, f"({a}{operator}{b})")])


@task("countdown", title="Countdown")
class Countdown(RowsTask):
    """`Example.target` has `numbers`, a list of whole numbers, and `target`."""

    name = "countdown"
    files: ClassVar[Mapping[str, str]] = {
        "train": "countdown/train.jsonl",
        "test": "countdown/countdown_cd3_test.jsonl",
    }
    hub: ClassVar[Mapping[str, HubSplit]] = {
        "train": HubSplit(
            dataset="Jiayi-Pan/Countdown-Tasks-3to4", split="train", revision="408f70d177020686d34a56bba5952feb45aaaee4"
        ),
    }
    profiles = ("official", "agrpo", "espo", "correctness")
    prompt_fields = ("numbers", "target")

    def takes(self, row: Mapping[str, Any], split: str) -> bool:
        """Of Countdown-Tasks-3to4 the items with three numbers, as the test file has them."""
        return "nums" not in row or len(row["nums"]) == COUNT

    def without_test_items(self, train: Sequence[Example], test: Sequence[Example]) -> list[Example]:
        """Leaves out what the test list asks, too, in whatever order of the numbers."""
        known = {same_problem(example) for example in test}
        return [example for example in train if same_problem(example) not in known]

    def read_row(self, row: Mapping[str, Any]) -> Example:
        """A row of d1's file (`input` "3,4,5", `output` "7") or of Countdown-Tasks-3to4 (`nums`, `target`)."""
        if "nums" in row:
            return self.example_for("", required(row, "nums", "target"))
        numbers, target = required(row, "input", "output")
        return self.example_for("", [str(numbers).split(","), target])

    def example_for(self, question: str, target: Any) -> Example:
        """target: [numbers, target], a mapping with these, or a number where the question lists the others."""
        if isinstance(target, Mapping):
            target = [target.get("numbers", target.get("nums")), target.get("target")]
        found, wanted = QUESTION_NUMBERS.search(question), QUESTION_TARGET.search(question)
        if not isinstance(target, list | tuple) and found:
            target = [found.group(1).split(","), wanted.group(1) if wanted else target]
        try:
            numbers, goal = target if isinstance(target, list | tuple) else ()
            return make_example(question, [int(number) for number in numbers], int(goal))
        except (TypeError, ValueError) as error:
            raise UserError(f"{str(target)[:80]!r} is not a list of numbers and a target of countdown.") from error

    def builtin_examples(self, split: str) -> list[Example]:
        """Generated problems of three numbers from 1 to 9; no three numbers, in any order, are in two splits."""
        return generated_examples(draw, split, self.name, lambda one: builtin_example(one.question))

    def demonstrations(self, count: int, rng: random.Random) -> list[Demonstration]:
        """Fresh problems; 60 % of the answers are sums that leave multiplication and parentheses out."""
        return demonstrate(draw, count, rng)

    def worked_demonstrations(
        self, count: int, rng: random.Random, careless: float = CARELESS_SHARE
    ) -> list[Demonstration]:
        """The same with steps: a right answer first tries the sum, where that fails."""
        return demonstrate_worked(draw, count, rng, careless=careless)

    def prompt(self, example: Example) -> list[Message]:
        """One user message: the numbers, the rules, and where reasoning and answer go."""
        return [{"role": "user", "content": PROMPT.format(**example.target)}]

    def worked_answer(self, example: Example) -> str:
        """The first expression that a search finds. Raises UserError where there is none."""
        numbers, target = example.target["numbers"], example.target["target"]
        found = find_expression(numbers, target)
        if found is None:
            raise UserError(f"No expression of {numbers} comes to {target}; leave --few-shot out.")
        return worked(f"{found} = {target}, and every number is used once.", found)

    def compact_prompt(self, example: Example) -> str:
        """The numbers, the target and a newline: `3,4,5=17`."""
        return f"{','.join(map(str, example.target['numbers']))}={example.target['target']}\n"

    def grade(self, example: Example, completion: str, grader: str) -> Verdict:
        """By d1's parser, or exactly and by the answer alone."""
        numbers, target = example.target["numbers"], example.target["target"]
        if grader == OFFICIAL:
            expression = official_expression(completion)
            return outcome(official_is_right(expression, numbers, target), expression, "wrong")
        answer = final_answer(completion, bare=self.options.bare_answers)
        if answer is None:
            return outcome(False, None, "no answer")
        chosen = robust_expression(answer, target)
        if chosen is None:
            return outcome(False, answer, "an equation that is not the target")
        reason = "wrong" if uses(chosen, numbers) else "other numbers than the given ones"
        return outcome(is_right(chosen, numbers, target), chosen, reason)

    def reward_parts(self, example: Example, completion: str) -> Mapping[str, float]:
        """See the head of this file."""
        numbers, target = example.target["numbers"], example.target["target"]
        if self.options.profile == "agrpo":
            return _agrpo_parts(first_tagged(completion, ANY_OPEN, ANY_CLOSE), numbers, target)
        answer = official_last_answer(completion)
        bare = bare_line(completion) if answer is None and self.options.bare_answers else None
        answer = bare if bare is not None and EXPRESSION.fullmatch(bare) else answer
        if answer is None:
            return {"correctness": 0.0}
        return {"correctness": 1.0 if official_is_right(answer.strip(), numbers, target) else ATTEMPT}

    def leakage(self, train: Sequence[Example], test: Sequence[Example]) -> LeakageReport:
        """Adds the test items whose numbers, in any order, and target are also those of a train item."""
        known = {same_problem(example) for example in train}
        structural = sum(same_problem(example) in known for example in test)
        return replace(super().leakage(train, test), structural=structural)


def _agrpo_parts(answer: str | None, numbers: Sequence[int], target: int) -> dict[str, float]:
    if answer is None or "=" not in answer:
        return {"correctness": 0.0, "form": 0.0}
    sides = answer.split("=")
    left, right = sides[0].strip(), sides[-1].strip()
    reaches = re.fullmatch(r"[0-9]{1,18}", right) is not None and int(right) == target
    form = (reaches + (LEGAL_LEFT.fullmatch(left) is not None) + uses(left, numbers)) / 3
    return {
        "correctness": 3.0 * is_right(left, numbers, target),
        "form": form - 0.5 * (len(sides) > 2),
    }
