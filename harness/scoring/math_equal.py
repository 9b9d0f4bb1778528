"""Whether two mathematical answers are the same: by normalised text, as the official graders do, and by meaning.

same_text    the normalisation of the MATH data set (Hendrycks et al. 2021), as d1 and EGSPO apply it
same_value   math-verify, in a process of its own with a limit that ends it
equal        either of the two
"""

from __future__ import annotations

import atexit
import functools
import json
import os
import re
import subprocess
import sys
import threading
from collections.abc import Mapping
from decimal import Decimal, InvalidOperation

from harness.scoring.math_worker import READY

DROPPED = ("\n", "\\!")
REPLACED: Mapping[str, str] = {
    "\\\\": "\\",
    "tfrac": "frac",
    "dfrac": "frac",
    "\\left": "",
    "\\right": "",
    "^{\\circ}": "",
    "^\\circ": "",
    "\\$": "",
}
UNIT = "\\text{ "
PLAIN_NUMBER = re.compile(r"-?[0-9]{1,30}(\.[0-9]{1,30})?")
PERCENTAGE = re.compile(r"(?<![0-9.,])([0-9]{1,30}(?:\.[0-9]{1,30})?)\s*\\?%")
STARTER = (
    "import json, sys; sys.path[:] = json.loads(sys.argv[1]); from harness.scoring.math_worker import main; main()"
)
FIXED_HASHES = {"PYTHONHASHSEED": "0"}
CLOSE_SECONDS = 10


class UnreadableError(ValueError):
    """The normalisation cannot read the text; such texts are compared as they stand."""


def same_text(first: str, second: str) -> bool:
    """Whether both normalise to the same text; compared as they stand where one of them cannot be normalised."""
    try:
        return normalised(first) == normalised(second)
    except UnreadableError:
        return first == second


def normalised(text: str) -> str:
    """The normal form of a LaTeX answer. Raises UnreadableError."""
    for piece in DROPPED:
        text = text.replace(piece, "")
    for old, new in REPLACED.items():
        text = text.replace(old, new)
    text = _without_unit(text).replace("\\%", "")
    text = text.replace(" .", " 0.").replace("{.", "{0.")
    if not text:
        return text
    text = _without_name("0" + text if text.startswith(".") else text)
    text = _braced_roots(text).replace(" ", "")
    text = _braced_fractions(text)
    return _spelt_fraction("\\frac{1}{2}" if text == "0.5" else text)


def _without_unit(text: str) -> str:
    head, *units = text.split(UNIT)
    if len(units) > 1:
        raise UnreadableError("two units")
    return head


def _without_name(text: str) -> str:
    """`x = 5` is 5, for names of up to two characters."""
    sides = text.split("=")
    return sides[1] if len(sides) == 2 and len(sides[0]) <= 2 else text


def _braced_roots(text: str) -> str:
    head, *rest = text.split("\\sqrt")
    if not all(rest):
        raise UnreadableError("a root of nothing")
    return head + "".join("\\sqrt" + (part if part[0] == "{" else f"{{{part[0]}}}{part[1:]}") for part in rest)


def _braced_fractions(text: str) -> str:
    """`\\frac12` as `\\frac{1}{2}`; the text as it is where a fraction lacks its denominator."""
    head, *rest = text.split("\\frac")
    pieces = [head]
    for part in rest:
        if not part:
            raise UnreadableError("a fraction of nothing")
        if part[0] == "{":
            pieces.append("\\frac" + part)
            continue
        if len(part) < 2:
            return text
        over, under, after = part[0], part[1], part[2:]
        pieces.append(f"\\frac{{{over}}}" + (under if under == "{" else f"{{{under}}}") + after)
    return "".join(pieces)


def _spelt_fraction(text: str) -> str:
    """`3/4` as `\\frac{3}{4}`, for whole numbers without leading zeros."""
    sides = text.split("/")
    if len(sides) != 2:
        return text
    try:
        over, under = int(sides[0]), int(sides[1])
    except ValueError as error:
        raise UnreadableError("a quotient of something else than whole numbers") from error
    return f"\\frac{{{over}}}{{{under}}}" if text == f"{over}/{under}" else text


def equal(gold: str, answer: str) -> bool:
    """Whether `answer`, LaTeX or plain text without surrounding dollar signs, is the same as `gold`."""
    if same_text(gold, answer):
        return True
    numbers = plain_number(gold), plain_number(answer)
    if None not in numbers and all(number == number.to_integral_value() for number in numbers if number is not None):
        return numbers[0] == numbers[1]
    return same_value(f"${gold}$", f"${answer}$")


def plain_number(text: str) -> Decimal | None:
    """The number that the text is and nothing else, up to 30 digits either side of the point; otherwise None."""
    try:
        return Decimal(text.strip()) if PLAIN_NUMBER.fullmatch(text.strip()) else None
    except InvalidOperation:
        return None


def same_value(first: str, second: str) -> bool:
    """Whether math-verify reads the same value in both texts (dollar signs around LaTeX).

    False where it takes longer than a second of processor time.
    """
    return bool(_checker().ask(first, second))


def same_value_by_older_rules(first: str, second: str) -> bool:
    """`same_value` as math-verify decided before version 0.9: 59% is 0.59, and not also 59."""
    return same_value(PERCENTAGE.sub(_hundredth, first), PERCENTAGE.sub(_hundredth, second))


def _hundredth(found: re.Match[str]) -> str:
    return f"{Decimal(found.group(1)).scaleb(-2):f}"


class _Checker:
    """The process with math-verify; one request at a time."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._process = subprocess.Popen(
            [sys.executable, "-P", "-c", STARTER, json.dumps(sys.path)],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            env={**os.environ, **FIXED_HASHES},
            text=True,
            encoding="ascii",
            start_new_session=True,
        )
        if self._read() != READY:
            raise RuntimeError("the process with math-verify says something else than that it is ready")

    def ask(self, first: str, second: str) -> bool | None:
        """The verdict, None where it took too long."""
        calls = self._process.stdin
        assert calls is not None
        with self._lock:
            calls.write(json.dumps([first, second]) + "\n")
            calls.flush()
            verdict = self._read()
        return verdict if isinstance(verdict, bool) else None

    def close(self) -> None:
        """Ends the process."""
        if self._process.stdin is not None:
            self._process.stdin.close()
        self._process.wait(CLOSE_SECONDS)

    def _read(self) -> object:
        replies = self._process.stdout
        assert replies is not None
        line = replies.readline()
        if not line:
            raise RuntimeError(f"the process with math-verify ended with status {self._process.wait()}")
        return json.loads(line)


@functools.cache
def _checker() -> _Checker:
    checker = _Checker()
    atexit.register(checker.close)
    return checker
