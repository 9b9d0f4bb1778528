"""Fenced code blocks in the text of a model, by the rules of CommonMark and with tolerance for how models slip.

What goes beyond CommonMark (spec 0.31.2, section 4.5): an opening fence may follow text on its line; a Python block may
close at the end of a line of code; a fence that names Python opens a block also inside one that was never closed; a
block that is never closed goes to the end of the text; fences inside Python's own strings are
no fences, nor are those in comments, unless nothing else closes the block;
and a block of Markdown is looked into. Reading takes time linear in the text. No torch.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass

PYTHON = ("python", "python3", "py", "py3")
MARKDOWN = ("markdown", "md")

OPENING = re.compile(r"(?m)^(?P<before>.*?)(?P<fence>`{3,}|~{3,})(?P<info>[^`\n]*)$")
CONTAINER = re.compile(r"[ \t]*(?:(?:[-*+]|\d{1,9}[.)])[ \t]+|>[ \t]?)*[ \t]*")
LANGUAGE = re.compile(r"[\s{.]*([\w+#-]*)")
QUOTE = re.compile(r"(?m)^[ \t]*(?:>[ \t]?)+")
FENCE_LINE = re.compile(r"(?m)^[ \t>]*(?P<fence>`{3,}|~{3,})(?P<info>[^`\n]*)$")
# A string that is never closed is not matched, so that what follows it is read as if it were code.
PYTHON_TOKEN = re.compile(
    r"""(?smx)
    \"{3} (?:[^"\\]|\\.|"(?!""))*+ \"{3} | '{3} (?:[^'\\]|\\.|'(?!''))*+ '{3}
    | " (?:[^"\\\n]|\\.)*+ " | ' (?:[^'\\\n]|\\.)*+ '
    | \# (?: (?P<loose> [^\n`]*+ `{3,} )[ \t\r]*$ | [^\n]*+ )
    | (?P<fence> `{3,} | ^[ \t>]*~{3,}\s*?$ )
    """
)


@dataclass(frozen=True, kw_only=True)
class Block:
    """The text of a block. language: in lower case, empty where the fence names none."""

    language: str
    text: str

    @property
    def may_be_python(self) -> bool:
        """Whether the fence names Python or nothing."""
        return self.language in ("", *PYTHON)


def fenced_blocks(text: str) -> Iterator[Block]:
    """The blocks of a text, in their order.

    Where the first fence names no language it may as well close what was opened before the text (in the prompt), so
    what stands before it comes first, as a block of no language.
    """
    position, is_first = 0, True
    while (opening := _next_opening(text, position)) is not None:
        language = _language(opening["info"])
        position = min(opening.end() + 1, len(text))
        if language in MARKDOWN:
            continue
        if is_first and not opening["info"].strip():
            yield Block(language="", text=text[: opening.start("fence")])
        is_first = False
        end, position = _closing(text, position, opening["fence"], is_python=language in ("", *PYTHON))
        yield Block(language=language, text=_unindented(text[opening.end() + 1 : end], opening["before"]))


def _language(info: str) -> str:
    """`python title="a"`, `{.python}` and `python:a.py` all name python."""
    found = LANGUAGE.match(info)
    return found[1].lower() if found else ""


def _next_opening(text: str, position: int) -> re.Match[str] | None:
    for line in OPENING.finditer(text, position):
        before = line["before"]
        if CONTAINER.fullmatch(before):
            return line
        # An odd number of fences before this one makes it the end of a code span.
        if line["fence"][0] == "`" and before.count("```") % 2 == 0:
            return line
    return None


def _closing(text: str, position: int, fence: str, *, is_python: bool) -> tuple[int, int]:
    """Where the block that begins at `position` ends, and where to read on."""
    loose = None
    for found in (PYTHON_TOKEN if is_python else FENCE_LINE).finditer(text, position):
        if is_python and found["loose"]:
            loose = loose or found
        run = (found["fence"] or "").strip(" \t\r>")
        if not run or run[0] != fence[0] or len(run) < len(fence):
            continue
        line_end = text.find("\n", found.end("fence"))
        line_end = len(text) if line_end < 0 else line_end
        line_start = text.rfind("\n", position, found.start("fence")) + 1 or position
        starts_line = not text[line_start : found.start("fence")].strip(" \t>")
        info = text[found.end("fence") : line_end]
        if starts_line and _language(info) in PYTHON:
            return line_start, line_start
        if is_python or not info.strip():
            return (line_start if starts_line else found.start("fence")), line_end
    return (loose.end("loose") - len(fence), loose.end()) if loose else (len(text), len(text))


def _unindented(content: str, before: str) -> str:
    """The content without what its lines owe to the list or quotation that the opening fence stands in."""
    if not before or not CONTAINER.fullmatch(before):
        return content
    if ">" in before:
        return QUOTE.sub("", content)
    return re.sub(rf"(?m)^[ \t]{{1,{len(before)}}}", "", content)
