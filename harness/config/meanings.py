"""What the fields of a configuration class mean: read from its docstring, the one place that says it. No torch.

A label is the name of a field, or of several with commas, and a colon, at the beginning of a sentence or of its part
after a semicolon. Its text goes on to the next label or to the end of the paragraph. What stands before the first label
is about the class.
"""

from __future__ import annotations

import dataclasses
import inspect
import itertools
import re
from collections.abc import Collection, Iterator

LABEL = re.compile(r"(?:^|(?<=[.;] ))(\w+(?:, \w+)*): ")
LISTED = re.compile(r" {4}(\S+(?:, \S+)*) {2,}(\S.*)")
CONTINUED = " " * 5
NEXT_SENTENCE = re.compile(r"(?<=[.]) (?=[A-Z])")


def meanings(cls: type) -> dict[str, str]:
    """Of every field of a dataclass that its docstring, or that of a class it is made from, explains: a sentence or
    several."""
    names = {item.name for item in dataclasses.fields(cls)}
    found: dict[str, str] = {}
    for base in reversed(cls.__mro__):
        for paragraph in _paragraphs(base):
            found |= dict(_explained(paragraph, names))
    return found


def summary(cls: type) -> str:
    """What the docstring says about the class itself: its text before the first label."""
    names = {item.name for item in dataclasses.fields(cls)}
    first = next(_paragraphs(cls), "")
    labels = _labels(first, names)
    return first[: labels[0].start()].strip() if labels else first


def first_sentence(text: str) -> str:
    """The text up to the end of its first sentence."""
    return NEXT_SENTENCE.split(text, maxsplit=1)[0]


def explained_names(text: str, names: Collection[str]) -> dict[str, str]:
    """Of each of the names what a docstring says in a list, `    name, other   what they are`; lines that stand further
    in go on with it."""
    found: dict[str, list[str]] = {}
    said: list[str] = []
    for line in text.splitlines():
        if entry := LISTED.fullmatch(line):
            said = [entry[2]]
            found |= dict.fromkeys(entry[1].split(", "), said)
        elif line.startswith(CONTINUED):
            said.append(line.strip())
        else:
            said = []
    return {name: " ".join(found[name]) for name in names if name in found}


def _paragraphs(cls: type) -> Iterator[str]:
    """Those of the class's own docstring, a line each; none where dataclasses wrote it."""
    text = vars(cls).get("__doc__") or ""
    if not text.startswith(f"{cls.__name__}("):
        yield from (" ".join(part.split()) for part in re.split(r"\n\s*\n", inspect.cleandoc(text)))


def _labels(text: str, names: set[str]) -> list[re.Match[str]]:
    return [label for label in LABEL.finditer(text) if names.issuperset(label[1].split(", "))]


def _explained(text: str, names: set[str]) -> Iterator[tuple[str, str]]:
    labels = _labels(text, names)
    for label, following in itertools.zip_longest(labels, labels[1:]):
        said = text[label.end() : following.start() if following else None].rstrip(" ;.")
        for name in label[1].split(", "):
            yield name, f"{said}."
