"""Answers in \\boxed{..}: the robust reading and those of the official graders. Linear in the length of the text."""

from __future__ import annotations

import re
from dataclasses import dataclass

BOXED = "\\boxed"
BOXED_BRACE = "\\boxed{"
BOXED_SPACE = "\\boxed "
FRAMED = "\\fbox"
BOX = re.compile(r"\\?(?<![A-Za-z])(?:boxed|fbox)\s*\{")


@dataclass(frozen=True, kw_only=True)
class Box:
    """What a box holds, and where it begins and ends in its text."""

    content: str
    start: int
    end: int


def boxes(text: str) -> list[Box]:
    """Every box whose braces are balanced, in order, also those that lack the backslash; no box within a box."""
    closing = _closing_braces(text)
    found: list[Box] = []
    for opening in BOX.finditer(text):
        brace = opening.end() - 1
        if brace in closing and (not found or opening.start() >= found[-1].end):
            content = text[brace + 1 : closing[brace]]
            found.append(Box(content=content, start=opening.start(), end=closing[brace] + 1))
    return found


def last_boxed(text: str) -> str | None:
    """What the last box holds, None without one."""
    found = boxes(text)
    return found[-1].content if found else None


def first_boxed(text: str) -> str | None:
    """What stands in the first \\boxed{..}, None where it is missing or never closed: AGRPO's reading."""
    position = text.find(BOXED_BRACE)
    opening = position + len(BOXED_BRACE) - 1
    closing = _closing_braces(text) if position >= 0 else {}
    return text[opening + 1 : closing[opening]] if opening in closing else None


def _closing_braces(text: str) -> dict[int, int]:
    """The place of every opening brace that is closed, to the place of its closing one."""
    stack: list[int] = []
    pairs: dict[int, int] = {}
    for place, character in enumerate(text):
        if character == "{":
            stack.append(place)
        elif character == "}" and stack:
            pairs[stack.pop()] = place
    return pairs


def shallow_boxes(text: str) -> list[str]:
    """Every \\boxed{..} cut at the first closing brace on its line, in order: d1's reading for GSM8K."""
    found: list[str] = []
    position, brace, line_end = text.find(BOXED_BRACE), -1, -1
    while position >= 0:
        start = position + len(BOXED_BRACE)
        brace = text.find("}", start) if brace < start else brace
        if brace < 0:
            break
        line_end = _next_line_end(text, start) if line_end < start else line_end
        if brace < line_end:
            found.append(text[start:brace])
            start = brace + 1
        position = text.find(BOXED_BRACE, start)
    return found


def _next_line_end(text: str, start: int) -> int:
    end = text.find("\n", start)
    return len(text) if end < 0 else end


def official_boxed(text: str) -> str | None:
    """The last boxed answer as d1's and EGSPO's code reads it.

    The whole text where nothing is boxed; None where the last box is never closed. `\\boxed ` with a blank reads
    on to the next dollar sign, `\\fbox{..}` is returned with its command.
    """
    if BOXED_SPACE in text:
        return text[text.rfind(BOXED_SPACE) + len(BOXED_SPACE) :].split("$", 1)[0]
    start = max(text.rfind(BOXED), -1)
    start = text.rfind(FRAMED) if start < 0 else start
    if start < 0:
        return text
    end = _balanced_end(text, start)
    if end is None:
        return None
    box = text[start : end + 1]
    return box[len(BOXED_BRACE) : -1] if box.startswith(BOXED_BRACE) else box


def _balanced_end(text: str, start: int) -> int | None:
    depth = 0
    for place in range(start, len(text)):
        if text[place] == "{":
            depth += 1
        elif text[place] == "}":
            depth -= 1
            if depth == 0:
                return place
    return None
