"""Where the answer stands in a completion: the `<answer>` block, read strictly or as the official code does.

Every function makes a bounded number of passes over the text with `str.find`, so that no output of a model,
however long or repetitive, costs more than linear time. Tags are matched exactly, in lower case. No torch.
"""

from __future__ import annotations

ANSWER_OPEN = "<answer>"
ANSWER_CLOSE = "</answer>"


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
