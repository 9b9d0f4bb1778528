"""Text of a model as a picture can show it."""

from __future__ import annotations

import textwrap

from harness.report.labels import cut

FIRST_MISSING = 0x2E80
"""The first of the characters, as of Chinese, that the figures' font has no shapes for."""
MOST_LINES = 2
CUT = "… "


def shown_token(token: str, most: int) -> str:
    """A token as a picture can show it: blanks and line ends as signs, cut to `most` characters, what the font lacks
    as a box; empty for special tokens."""
    marked = token.replace("\r", "").replace("\n", "↵").replace("\t", "⇥")
    stripped = marked.strip() or "␣" * bool(marked)
    drawn = "".join(letter if letter.isprintable() and ord(letter) < FIRST_MISSING else "▯" for letter in stripped)
    return cut(drawn, most)


def text_lines(text: str, width: int) -> list[str]:
    """The end of the text, where its answer stands, on at most two lines of `width` characters."""
    whole = " ".join(text.split()) or "(nothing before the first end token)"
    shown = "".join(shown_token(letter, 1) if letter != " " else " " for letter in whole)
    lines = textwrap.wrap(shown, width - len(CUT))
    return lines if len(lines) <= MOST_LINES else [f"{CUT}{lines[-MOST_LINES]}", *lines[1 - MOST_LINES :]]
