"""Arithmetic on whole numbers, exactly: + - * / and parentheses, nothing else. Never `eval`.

    expression: term {(+|-) term}     term: factor {(*|/) factor}     factor: [+|-] factor | number | (expression)

Powers, decimals, digits of other scripts and anything else are no expression. The official graders hand what
they read to Python; `as_python` also takes what Python would (floor division, decimal points) and refuses what it
would (a line break outside parentheses), but never a power: `9**9**9` must end. The parser keeps its own stack,
so that no depth of parentheses is too much, and the numbers are counted before anything is computed, so that
no text costs more than linear time.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping, Sequence
from fractions import Fraction

TOKEN = re.compile(r"[0-9]+|[-+*/()]|[ \t\n\r\f]+|.", re.DOTALL)
PYTHON_TOKEN = re.compile(r"[0-9]+(?:\.[0-9]*)?|\.[0-9]+|//|\*\*|[-+*/()]|[ \t\n\r\f]+|.", re.DOTALL)
NUMBER = re.compile(r"0+|[1-9][0-9]{0,17}|[0-9]{1,18}\.[0-9]{0,18}|\.[0-9]{1,18}")
DIGITS = re.compile(r"\d+")
PRECEDENCE = {"+": 1, "-": 1, "*": 2, "/": 2, "//": 2, "negative": 3, "positive": 3}
OPERATIONS: Mapping[str, Callable[[Fraction, Fraction], Fraction]] = {
    "+": lambda left, right: left + right,
    "-": lambda left, right: left - right,
    "*": lambda left, right: left * right,
    "/": lambda left, right: left / right,
    "//": lambda left, right: Fraction(left // right),
}
MAX_NUMBERS = 16
LONGEST_NUMBER = 4000


def uses(text: str, numbers: Sequence[int]) -> bool:
    """Whether the runs of digits in the text are these numbers, each used once, in any order."""
    runs = DIGITS.findall(text)
    if len(runs) != len(numbers) or any(len(run) > LONGEST_NUMBER for run in runs):
        return False
    return sorted(int(run) for run in runs) == sorted(numbers)


def evaluate(text: str, *, as_python: bool = False) -> Fraction | None:
    """The value of an expression of at most 16 numbers; None for any other text and for a division by zero."""
    tokens = (PYTHON_TOKEN if as_python else TOKEN).findall(text.strip())
    if sum(token[0] in "0123456789." for token in tokens) > MAX_NUMBERS:
        return None
    try:
        return _Parser(breaks=not as_python).run(tokens)
    except (ValueError, ZeroDivisionError):
        return None


class _Parser:
    """Two stacks, of values and of operators that wait for their right side."""

    def __init__(self, *, breaks: bool) -> None:
        """breaks: whether a line may end outside parentheses."""
        self.breaks = breaks
        self.open_parentheses = 0
        self.values: list[Fraction] = []
        self.operators: list[str] = []

    def run(self, tokens: Sequence[str]) -> Fraction:
        """The value. Raises ValueError where the tokens are no expression, ZeroDivisionError."""
        wants_value = True
        for token in tokens:
            if token.isspace():
                self._pass(token)
            else:
                wants_value = self._begin(token) if wants_value else self._go_on(token)
        if wants_value:
            raise ValueError("ends too early")
        while self.operators:
            self._apply()
        return self.values[0]

    def _pass(self, blank: str) -> None:
        if not self.breaks and not self.open_parentheses and ("\n" in blank or "\r" in blank):
            raise ValueError("a line break")

    def _begin(self, token: str) -> bool:
        """Takes a token where a value may begin; returns whether a value is still wanted."""
        if token in ("+", "-"):
            self.operators.append("negative" if token == "-" else "positive")
            return True
        if token == "(":
            self.open_parentheses += 1
            self.operators.append(token)
            return True
        if not NUMBER.fullmatch(token):
            raise ValueError(token)
        self.values.append(Fraction(token))
        return False

    def _go_on(self, token: str) -> bool:
        """Takes a token after a value; returns whether a value is wanted next."""
        if token == ")":
            while self.operators and self.operators[-1] != "(":
                self._apply()
            if not self.operators:
                raise ValueError("a parenthesis too many")
            self.open_parentheses -= 1
            self.operators.pop()
            return False
        if token not in ("+", "-", "*", "/", "//"):
            raise ValueError(token)
        while self.operators and PRECEDENCE.get(self.operators[-1], 0) >= PRECEDENCE[token]:
            self._apply()
        self.operators.append(token)
        return True

    def _apply(self) -> None:
        operator = self.operators.pop()
        if operator == "(":
            raise ValueError("a parenthesis is not closed")
        right = self.values.pop()
        if operator in ("negative", "positive"):
            self.values.append(-right if operator == "negative" else right)
            return
        left = self.values.pop()
        self.values.append(OPERATIONS[operator](left, right))
