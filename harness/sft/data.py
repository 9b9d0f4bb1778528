"""Prompts and answers for masked fine-tuning, read from a JSONL file. No torch.

A line is `{"prompt": text or chat messages, "answer": text}`; `question` and `completion` mean the same, other keys are
left alone, blank lines are skipped.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from harness.errors import UserError
from harness.records.jsonl import RecordError, read_json_lines
from harness.task.base import Message

PROMPT_KEYS = ("prompt", "question")
ANSWER_KEYS = ("answer", "completion")


@dataclass(frozen=True, kw_only=True)
class Pair:
    """A prompt, as text or chat messages, and its answer. place: file and line, for messages to the user."""

    prompt: str | tuple[Message, ...]
    answer: str
    place: str


def read_pairs(path: Path) -> list[Pair]:
    """All pairs of a file, in order. Raises UserError, with file and line, for the first line that is malformed."""
    try:
        pairs = [_pair(fields, f"'{path}', line {number}") for number, fields in read_json_lines(path)]
    except OSError as error:
        raise UserError(f"Cannot read '{path}': {error.strerror}; name a JSONL file with --data FILE.") from error
    except RecordError as error:
        raise UserError(f"In '{path.parent}', {error}.") from error
    if not pairs:
        raise UserError(f'\'{path}\' has no lines; each is to be {{"prompt": ..., "answer": ...}}.')
    return pairs


def _pair(fields: Any, place: str) -> Pair:
    if not isinstance(fields, dict):
        raise UserError(f'{place}: is not an object {{"prompt": ..., "answer": ...}}.')
    prompt, answer = _field(fields, PROMPT_KEYS, place), _field(fields, ANSWER_KEYS, place)
    if isinstance(prompt, list):
        return Pair(prompt=_messages(prompt, place), answer=_text(answer, "the answer", place), place=place)
    return Pair(prompt=_text(prompt, "the prompt", place), answer=_text(answer, "the answer", place), place=place)


def _field(fields: Mapping[str, Any], names: tuple[str, ...], place: str) -> Any:
    """The value of the one key among `names` that is there."""
    present = [name for name in names if name in fields]
    if len(present) != 1:
        raise UserError(f"{place}: has {' and '.join(present) or 'neither'}; give one of {', '.join(names)}.")
    return fields[present[0]]


def _messages(raw: list[Any], place: str) -> tuple[Message, ...]:
    if not raw:
        raise UserError(f"{place}: the list of chat messages is empty.")
    for message in raw:
        if not isinstance(message, dict) or set(message) != {"role", "content"}:
            raise UserError(f'{place}: a chat message is {{"role": text, "content": text}} and nothing more.')
    return tuple(
        {key: _text(message[key], f"a message's {key}", place) for key in ("role", "content")} for message in raw
    )


def _text(value: Any, what: str, place: str) -> str:
    if not isinstance(value, str) or not value:
        raise UserError(f"{place}: {what} is {json.dumps(value)[:40]}; it has to be a text that is not empty.")
    return value
