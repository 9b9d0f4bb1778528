"""Reading a 4x4 Sudoku grid from a text: strictly, as d1's evaluation does, and as the official rewards do.

A grid is 16 digits row by row, a puzzle the same with 0 for a blank. Linear in the length of the text.
"""

from __future__ import annotations

import re

from harness.scoring.answers import (
    ANSWER_CLOSE,
    ANSWER_OPEN,
    ANY_CLOSE,
    ANY_OPEN,
    bare_digits,
    boxed_answer,
    first_tagged,
    last_answer,
    until_end,
)
from harness.scoring.boxed import first_boxed

CELLS = 16
LAYOUT = re.compile(
    r"(?:[\s|,;\[\]`*$&\u2500-\u257f]|\\(?:begin|end)\{[a-z]{1,12}\}(?:\{[lcr|\s]{0,40}\})?|\\hline|\\\\|\\[\[\]()])+"
)
DASHES = frozenset("-=\u2014\u2013") | frozenset(map(chr, range(0x2500, 0x2580)))
RULE_SIGNS = DASHES | frozenset(" \t|:+")
FENCE = "```"
OFFICIAL_ENDS = ("<|eot_id|>", "<|endoftext|>")
DIGITS_AND_FENCE = re.compile(r"([\d\s]+)```")
SIXTEEN_DIGITS = re.compile(r"\b\d{16}\b")


def keeps(grid: str, puzzle: str) -> bool:
    """Whether the grid leaves every clue of the puzzle as it is."""
    return all(clue in ("0", cell) for clue, cell in zip(puzzle, grid, strict=True))


def read_grid(completion: str, *, bare: bool = True) -> str | None:
    """The 16 digits of the answer, or of the box in it; None where it is not exactly a grid.

    Pieces set apart by white space or by the signs of lists, tables and matrices must be of one length, so that cells
    never run together: "2 4 31 .." is refused, "2431 3124 .." is read. A rule of a table is skipped, and so is the line
    above the first one where it has letters. bare: a completion of digits alone is an answer.
    """
    text = until_end(completion)
    block = last_answer(text)
    answer = bare_digits(text) if block is None and bare else block
    pieces = LAYOUT.sub(" ", _without_rules(boxed_answer(answer or "") or answer or "")).split()
    grid = "".join(pieces)
    is_grid = len(grid) == CELLS and grid.isascii() and grid.isdigit()
    return grid if is_grid and len({len(piece) for piece in pieces}) == 1 else None


def _without_rules(answer: str) -> str:
    lines = answer.split("\n")
    rules = [number for number, line in enumerate(lines) if RULE_SIGNS.issuperset(line) and not DASHES.isdisjoint(line)]
    heading = rules[0] - 1 if rules and rules[0] and any(map(str.isalpha, lines[rules[0] - 1])) else None
    return "\n".join(line for number, line in enumerate(lines) if number not in (*rules, heading))


def official_grid(text: str) -> str:
    """What d1's evaluation takes for the grid: 16 characters that are not white space, empty where there is nothing.

    More are cut off, fewer are filled up with zeros.
    In this order: digits in a code fence after the first opening answer tag; what follows that tag up to an end
    token or a closing tag; what follows the first closing tag; 16 digits before a closing tag; 16 digits alone.
    """
    readings = (_fenced, _after_opening, _after_closing, _before_closing, _alone)
    found = next((grid for grid in (reading(text).strip() for reading in readings) if grid), "")
    cells = "".join(found.split())
    return cells[:CELLS].ljust(CELLS, "0") if cells else ""


def _fenced(text: str) -> str:
    start = text.find(ANSWER_OPEN)
    fence = text.find(FENCE, start) if start >= 0 else -1
    while fence >= 0:
        found = DIGITS_AND_FENCE.match(text, fence + len(FENCE))
        if found:
            return found.group(1)
        fence = text.find(FENCE, fence + 1)
    return ""


def _after_opening(text: str) -> str:
    start = text.find(ANSWER_OPEN)
    rest = text[start + len(ANSWER_OPEN) :] if start >= 0 else ""
    ends = [place for place in (rest.find(end) for end in (*OFFICIAL_ENDS, ANSWER_CLOSE)) if place >= 0]
    return rest[: min(ends)] if ends else ""


def _after_closing(text: str) -> str:
    start = text.find(ANSWER_CLOSE)
    rest = text[start + len(ANSWER_CLOSE) :] if start >= 0 else ""
    ends = [place for place in (rest.find(end) for end in OFFICIAL_ENDS) if place >= 0]
    return rest[: min(ends)] if ends else rest


def _before_closing(text: str) -> str:
    close = text.find(ANSWER_CLOSE)
    while close >= 0:
        before = text[:close].rstrip()[-CELLS:]
        if len(before) == CELLS and before.isdecimal():
            return before
        close = text.find(ANSWER_CLOSE, close + 1)
    return ""


def _alone(text: str) -> str:
    found = SIXTEEN_DIGITS.search(text)
    return found.group() if found else ""


def right_blanks(digits: str, puzzle: str, solution: str) -> int:
    """How many blanks hold the solution's digit; digits past the 16th are ignored, missing ones wrong."""
    cells = zip(digits, puzzle, solution, strict=False)
    return sum(clue == "0" and digit == right for digit, clue, right in cells)


def official_correctness(digits: str | None, puzzle: str, solution: str) -> float:
    """The official reward of the digits read from a completion: right blanks / blanks, 0 without blanks."""
    blanks = puzzle.count("0")
    return right_blanks(digits or "", puzzle, solution) / blanks if blanks else 0.0


def agrpo_parts(completion: str, puzzle: str, solution: str) -> dict[str, float]:
    """AGRPO's correctness (3 x right blanks / blanks of the first 16 characters) and form (up to 1)."""
    answer = first_tagged(completion, ANY_OPEN, ANY_CLOSE)
    content = completion if answer is None else answer
    cells = (first_boxed(content) or content).zfill(CELLS)
    blanks = puzzle.count("0")
    form = 0.0
    if answer is not None and len(answer) == CELLS:
        form = 0.25 + 0.25 * (sorted(answer) == sorted("1234" * 4)) + 0.5 * keeps(answer, puzzle)
    return {"correctness": 3.0 * right_blanks(cells, puzzle, solution) / blanks if blanks else 0.0, "form": form}
