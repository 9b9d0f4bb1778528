"""Where the answer stands in a completion: the `<answer>` block, read strictly or as the official code does.

Every function makes a bounded number of passes over the text with `str.find`, so that no output of a model,
however long or repetitive, costs more than linear time. Tags are matched exactly, in lower case. No torch.
"""

from __future__ import annotations

import re

from harness.scoring.boxed import BOX, BOXED_BRACE, boxes

ANSWER_OPEN = "<answer>"
ANSWER_CLOSE = "</answer>"
END_TOKENS = ("<|eot_id|>", "<|endoftext|>", "<|im_end|>")
ANY_OPEN, ANY_CLOSE = re.compile(ANSWER_OPEN, re.IGNORECASE), re.compile(ANSWER_CLOSE, re.IGNORECASE)
THINK_OPEN, THINK_CLOSE = re.compile("<think>", re.IGNORECASE), re.compile("</think>", re.IGNORECASE)
LONGEST_BARE_ANSWER = 80
LINK = re.compile(r"[\s$.]{0,9}[,;]?\s{0,9}(?:\\text\s?\{\s{0,9})?(?:or|and)?[\s$},]{0,9}")
TIED_BEFORE = re.compile(r"(?:n't|\b(?:not|never|nor|neither|either|or|than))\W*$")
TIED_AFTER = re.compile(r"[\s$.,]{0,9}(?:\\text\s?\{\s*)?or\b")
LONGEST_TIE = 40


def until_end(text: str) -> str:
    """The text up to the first token that ends a turn or a text: what follows is filler."""
    ends = [place for place in map(text.find, END_TOKENS) if place >= 0]
    return text[: min(ends)] if ends else text


def final_answer(text: str, *, bare: bool) -> str | None:
    """The answer of a maths completion, None where it gives none.

    In this order: the box of the last closed answer block, what follows a box of the block that is never closed, that
    block, the box of the text, and with `bare` a text of one line of up to 80 characters as it stands.
    """
    text = until_end(text)
    block = last_answer(text)
    boxed = boxed_answer(text if block is None else block)
    if boxed is None and block is not None:
        boxed = block.split(BOXED_BRACE)[-1]
    if boxed is None and bare:
        boxed = bare_line(text)
    # A box or a block that was closed in the midst of a tag ends before the tag.
    return boxed.partition("</")[0].strip() or None if boxed is not None else None


def boxed_answer(text: str) -> str | None:
    """What the last box of a text holds, None without one.

    Boxes with nothing but a comma, `or` or `and` between them are one answer that names several values. Where a word
    such as `not` or `or` ties the box to what stands beside it, the answer is the line, its boxes opened.
    """
    found = boxes(text)
    if not found:
        return None
    first = len(found) - 1
    while first and LINK.fullmatch(text, found[first - 1].end, found[first].start):
        first -= 1
    start, end = found[first].start, found[-1].end
    if TIED_BEFORE.search(text, max(start - LONGEST_TIE, 0), start) or TIED_AFTER.match(text, end):
        line_end = text.find("\n", end)
        line = text[text.rfind("\n", 0, start) + 1 : line_end if line_end >= 0 else len(text)]
        return BOX.sub("{", line)
    return ", ".join(box.content for box in found[first:])


def bare_line(text: str) -> str | None:
    """The text, stripped, where it is one line of up to 80 characters without a tag; otherwise None."""
    line = text.strip()
    whole = bool(line) and len(line) <= LONGEST_BARE_ANSWER and len(line.splitlines()) == 1 and "<" not in line
    return line if whole else None


def first_tagged(text: str, opening: re.Pattern[str], closing: re.Pattern[str]) -> str | None:
    """What stands between the first opening tag and the next closing one, stripped; None without the two."""
    begin = opening.search(text)
    end = closing.search(text, begin.end()) if begin else None
    return text[begin.end() : end.start()].strip() if begin and end else None


def last_answer(text: str) -> str | None:
    """What stands inside the last closed answer block, unstripped; None where no block is closed.

    Of nested opening tags the innermost counts, so the text returned holds neither tag. A tag opened after
    the last closed block and never closed is an answer not given: the closed block before it counts.
    """
    last_close = text.rfind(ANSWER_CLOSE)
    opening = text.rfind(ANSWER_OPEN, 0, last_close) if last_close >= 0 else -1
    if opening < 0:
        return None
    start = opening + len(ANSWER_OPEN)
    return text[start : text.find(ANSWER_CLOSE, start)]


def official_first_answer(text: str) -> str | None:
    """The first answer block, from the first opening tag to the next closing one; None without one."""
    opening = text.find(ANSWER_OPEN)
    start = opening + len(ANSWER_OPEN)
    end = text.find(ANSWER_CLOSE, start) if opening >= 0 else -1
    return text[start:end] if end >= 0 else None


def official_last_answer(text: str) -> str | None:
    """The last answer block as the official code of d1 and EGSPO delimits it, unstripped; None without one.

    Blocks are taken from left to right, each from the first opening tag to the next closing tag, so a block
    can hold further opening tags as text.
    """
    answer, position = None, 0
    while (opening := text.find(ANSWER_OPEN, position)) >= 0:
        start = opening + len(ANSWER_OPEN)
        end = text.find(ANSWER_CLOSE, start)
        if end < 0:
            break
        answer, position = text[start:end], end + len(ANSWER_CLOSE)
    return answer


def official_digits(text: str) -> str | None:
    """All digits of the official answer block in one string, None without a block.

    Separators and words vanish and what they kept apart is joined: "row1: 2431" gives "12431". Every
    character that Unicode calls a digit stays, also full-width, Arabic and superscript ones.
    """
    answer = official_last_answer(text)
    return None if answer is None else "".join(character for character in answer if character.isdigit())


def bare_digits(text: str) -> str | None:
    """The completion itself, stripped, where it is nothing but the digits 0-9; None otherwise.

    This is the whole output of the embedded tiny model, which writes its answer without tags.
    """
    stripped = text.strip()
    return stripped if stripped.isascii() and stripped.isdigit() else None


def answer_or_digits(text: str) -> str | None:
    """The last closed answer block, or bare digits where there is none."""
    answer = last_answer(text)
    return bare_digits(text) if answer is None else answer
