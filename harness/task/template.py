"""Messages with placeholders, and worked examples in front of a question.

In a text `{name}` is replaced where `name` is `question` or one of the task's fields (`Task.prompt_fields`).
`{{name}}` gives `{name}`, and every other brace stays as it is: `\\boxed{}`, `\\frac{a}{b}`. Another name standing
alone in braces is taken for a mistake; after a letter, a digit or a brace it is LaTeX or code.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

PLACEHOLDER = re.compile(r"\{\{([A-Za-z_]\w*)\}\}|\{([A-Za-z_]\w*)\}")
BRACES_OF_TEXT = re.compile(r"[\w{}]")


@dataclass(frozen=True, kw_only=True)
class Prompting:
    """template: messages instead of the task's own. training: those of training examples, where they are others.
    shots: turns of worked examples."""

    template: tuple[Mapping[str, str], ...] = ()
    training: tuple[Mapping[str, str], ...] = ()
    shots: tuple[Mapping[str, str], ...] = ()


def mistakes(text: str, known: Iterable[str]) -> list[str]:
    """The names alone in braces that are no placeholders."""
    return [
        match.group(2)
        for match in PLACEHOLDER.finditer(text)
        if match.group(2) and match.group(2) not in known and not BRACES_OF_TEXT.match(text[: match.start()][-1:])
    ]


def fill(template: Sequence[Mapping[str, str]], values: Mapping[str, str]) -> list[Mapping[str, str]]:
    """The messages with the placeholders replaced, in one pass: braces in values are never read."""

    def value(match: re.Match[str]) -> str:
        if match.group(1):
            return f"{{{match.group(1)}}}"
        return values.get(match.group(2), match.group(0))

    return [{**message, "content": PLACEHOLDER.sub(value, message["content"])} for message in template]


def with_shots(own: Sequence[Mapping[str, str]], shots: Sequence[Mapping[str, str]]) -> list[Mapping[str, str]]:
    """The worked examples before the question; system messages stay in front."""
    first = next((index for index, message in enumerate(own) if message["role"] != "system"), len(own))
    return [*own[:first], *shots, *own[first:]]
