"""The pages of the repository, read into blocks and commands.

What a machine needs for a command besides a processor is one of MARKS in a comment: `<!-- needs-gpu -->` on the line
before a block or behind a span of code, or `# needs-gpu` at the end of a line of a block. Neither form shows on the
site as anything but a comment of the shell.
"""

from __future__ import annotations

import re
import shlex
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

CHECKOUT = Path(__file__).resolve().parents[2]
PAGES = {
    path.name: path
    for path in (CHECKOUT / "README.md", CHECKOUT / "CONTRIBUTING.md", *sorted((CHECKOUT / "docs").glob("*.md")))
}
"""All but the changelog and docs/example-report, which `make reference` writes."""
MARKS = ("needs-gpu", "needs-network", "needs-cluster")
COMMANDS, FORMULAS, UNKNOWN = "commands", "formulas", "unknown"
LANGUAGES = {"sh": COMMANDS, "python": "python", "yaml": "yaml", "json": "json", "text": "text"}
"""Of a fence, to the kind of the block. An indented block holds commands or formulas, as its first line says."""
PROGRAMS = {
    *("harness", "make", "torchrun", "accelerate", "srun", "python", "pip", "git", "cd", "hf", "apt-get"),
    *("pre-commit", "tensorboard", ".ci/run"),
}
SEPARATORS = (";", "&&")

FENCE = re.compile(r"^```(.*)\n((?:.*\n)*?)```$", re.M)
INDENTED = re.compile(r"(?<=\n\n) {4}.*\n(?: {4}.*\n|\n(?= {4}))*")
BLOCK = re.compile(rf"{FENCE.pattern}|{INDENTED.pattern}", re.M)
COMMENT = re.compile(r"<!--(.*?)-->")
SPAN = re.compile(r"(?<!`)`([^`]+)`(?!`)(?:\s<!--(.*?)-->)?")
CALL = re.compile(rf"(?:[A-Z_]+=\S+\s)*(?:\.venv/bin/)?(?:{'|'.join(map(re.escape, sorted(PROGRAMS)))})\s|\.ci/run$")
"""A program with something behind it; a name alone is none."""
OPTIONAL = re.compile(r"(?<= )\[([^\]]+?)(?:\.\.\.)?\]")
FORMULA = re.compile(r"^[\w\[\]+-]+ +=", re.M)


@dataclass(frozen=True, kw_only=True)
class Block:
    """A fenced or indented block. line: the first one inside the fence. kind: UNKNOWN where nothing says it.
    text: without fence or indentation."""

    page: str
    line: int
    kind: str
    text: str
    marks: frozenset[str] = frozenset()


@dataclass(frozen=True, kw_only=True)
class Command:
    """A line of a block of commands, or a span of code. words: without the comment; optional parts are given."""

    page: str
    line: int
    words: tuple[str, ...]
    marks: frozenset[str]
    is_span: bool = False

    @property
    def program(self) -> str:
        """The name of what is called, without its folder: `.venv/bin/python` is `python`."""
        return self.words[self._start].removeprefix(".venv/bin/")

    @property
    def launcher(self) -> tuple[str, ...]:
        """The program and its words before `harness`; all words where that is not there."""
        called = self.words[self._start :]
        return called[: called.index("harness")] if "harness" in called else called

    @property
    def harness(self) -> tuple[str, ...]:
        """The words after `harness`, none where it is not called."""
        return self.words[self.words.index("harness") + 1 :] if "harness" in self.words else ()

    @property
    def is_ours(self) -> bool:
        """Whether it is code of this repository that is called."""
        return self.program in ("harness", "python")

    @property
    def is_abridged(self) -> bool:
        """Whether `...` stands for some of its words."""
        return "..." in self.words

    @property
    def _start(self) -> int:
        """Where the program stands, after the words NAME=VALUE."""
        return next((at for at, word in enumerate(self.words) if not re.match(r"[A-Z_]+=", word)), 0)

    def __str__(self) -> str:
        return f"{self.page}:{self.line}: {shlex.join(self.words)}"


def parts(page: str) -> Iterator[tuple[int, str | Block]]:
    """The blocks of a page and the texts between them, each with the number of its first line."""
    text, at = PAGES[page].read_text(encoding="utf-8"), 0
    for found in BLOCK.finditer(text):
        before, is_fence = text[at : found.start()], found[2] is not None
        yield text.count("\n", 0, at) + 1, before
        content = found[2] if is_fence else re.sub("^ {4}", "", found[0], flags=re.M)
        line = text.count("\n", 0, found.start()) + 1 + is_fence
        kind = LANGUAGES.get(found[1], UNKNOWN) if is_fence else kind_of_indented(content)
        marks = marks_in(" ".join(COMMENT.findall(before.rstrip().rpartition("\n")[2])))
        yield line, Block(page=page, line=line, kind=kind, text=content, marks=marks)
        at = found.end()
    yield text.count("\n", 0, at) + 1, text[at:]


def blocks(page: str) -> list[Block]:
    """All blocks of a page."""
    return [part for _, part in parts(page) if isinstance(part, Block)]


def commands(page: str) -> Iterator[Command]:
    """All commands of a page, in order; of spans those that say more than the name of a program."""
    for line, part in parts(page):
        if isinstance(part, Block):
            yield from commands_of(part) if part.kind == COMMANDS else ()
            continue
        for span in SPAN.finditer(part):
            if not CALL.match(span[1]):
                continue
            at = line + part.count("\n", 0, span.start())
            for words in split(" ".join(span[1].split())):
                yield Command(page=page, line=at, words=words, marks=marks_in(span[2] or ""), is_span=True)


def commands_of(block: Block) -> Iterator[Command]:
    """Those of a block of commands."""
    line = block.line
    for text in block.text.replace("\\\n", "\0").splitlines():
        for words in split(text.replace("\0", " ")):
            yield Command(page=block.page, line=line, words=words, marks=block.marks | marks_in(text.partition("#")[2]))
        line += 1 + text.count("\0")


def split(line: str) -> Iterator[tuple[str, ...]]:
    """The words of each command of a line. Raises ValueError where a quotation has no end."""
    lexer = shlex.shlex(OPTIONAL.sub(r"\1", line), posix=True, punctuation_chars=";&")
    lexer.whitespace_split = True
    words = [*lexer, ";"]
    while words:
        end = next(at for at, word in enumerate(words) if word in SEPARATORS)
        if end:
            yield tuple(words[:end])
        words = words[end + 1 :]


def marks_in(comment: str) -> frozenset[str]:
    """Raises ValueError for a word `needs-...` that is no mark."""
    found = frozenset(re.findall(r"needs-\w+", comment))
    if not found <= set(MARKS):
        raise ValueError(f"'{comment.strip()}' has a mark that is none of {', '.join(MARKS)}.")
    return found


def kind_of_indented(text: str) -> str:
    """COMMANDS where the first word is a program, FORMULAS where a name is given a value."""
    if text.split(maxsplit=1)[0] in PROGRAMS:
        return COMMANDS
    return FORMULAS if FORMULA.search(text) else UNKNOWN
