"""The parts of the reward that EGSPO and d1 give for form alone, value for value as their code computes them.

They differ from what their names say (the differences are kept, since the published runs trained on them):
strict and soft format know no reasoning or answer of more than one line; the tag counts fall by 0.001 per
character of the whole text where the closing tag is not followed by a line break, and can become negative; the
integer part accepts every character that Unicode calls a digit and refuses signs, points and commas.
"""

from __future__ import annotations

from harness.scoring.answers import ANSWER_CLOSE, ANSWER_OPEN

TAG_PART = 0.125
CHARACTER_PENALTY = 0.001
FORMAT_PART = 0.5
REASONING_OPEN, REASONING_CLOSE = "<reasoning>", "</reasoning>"


def answer_text(text: str) -> str:
    """What follows the last opening answer tag, up to a closing one; without tags the whole text. Stripped."""
    return text.split(ANSWER_OPEN)[-1].split(ANSWER_CLOSE)[0].strip()


def tag_counts(text: str) -> float:
    """0.125 for each of four tags that stands once on a line of its own, less 0.001 per character after the end."""
    value = 0.0
    if text.count(f"{REASONING_OPEN}\n") == 1:
        value += TAG_PART
    if text.count(f"\n{REASONING_CLOSE}\n") == 1:
        value += TAG_PART
    if text.count(f"\n{ANSWER_OPEN}\n") == 1:
        value += TAG_PART
        value -= len(text.split(f"\n{ANSWER_CLOSE}\n")[-1]) * CHARACTER_PENALTY
    if text.count(f"\n{ANSWER_CLOSE}") == 1:
        value += TAG_PART
        value -= (len(text.split(f"\n{ANSWER_CLOSE}")[-1]) - 1) * CHARACTER_PENALTY
    return value


def strict_format(text: str) -> float:
    """0.5 for six lines: each tag on its own, one line of reasoning, one line of answer."""
    lines = text.split("\n")
    filled = lines[:1] + lines[2:4] + lines[5:]
    wanted = [REASONING_OPEN, REASONING_CLOSE, ANSWER_OPEN, ANSWER_CLOSE, ""]
    return FORMAT_PART if filled in (wanted, [*wanted, ""]) else 0.0


def soft_format(text: str) -> float:
    """0.5 where the text begins with a line of reasoning, followed by an answer of one line."""
    if not text.startswith(REASONING_OPEN):
        return 0.0
    line_end = text.find("\n")
    end = text.find(REASONING_CLOSE, 0, line_end if line_end >= 0 else len(text))
    while end >= 0:
        rest = text[end + len(REASONING_CLOSE) :]
        if _begins_with_answer(rest.lstrip()):
            return FORMAT_PART
        end = text.find(REASONING_CLOSE, end + 1, line_end if line_end >= 0 else len(text))
    return 0.0


def _begins_with_answer(text: str) -> bool:
    return text.startswith(ANSWER_OPEN) and ANSWER_CLOSE in text.split("\n", 1)[0]


def whole_number(text: str) -> float:
    """0.5 where the answer is digits and nothing else."""
    return FORMAT_PART if answer_text(text).isdigit() else 0.0
