"""Prompts and answers for masked fine-tuning, from a JSONL file or a list. No torch.

A line is `{"prompt": text or chat messages, "answer": text}`; `question` and `completion` mean the same, other keys are
left alone, blank lines are skipped.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from harness.errors import UserError
from harness.records.jsonl import RecordError, read_json_lines
from harness.task.base import Message
from harness.task.messages import read_messages, read_text

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
        raise UserError(f'\'{path}\' has no lines; write {{"prompt": ..., "answer": ...}} on each.')
    return pairs


def as_pairs(rows: Sequence[Mapping[str, Any]]) -> list[Pair]:
    """The pairs of a Python program, each in the form of a line. Raises UserError for the first malformed one."""
    if not rows:
        raise UserError('The list of pairs is empty; give {"prompt": ..., "answer": ...}.')
    return [_pair(row, f"pair {number}") for number, row in enumerate(rows, start=1)]


def _pair(fields: Any, place: str) -> Pair:
    if not isinstance(fields, Mapping):
        raise UserError(f'{place}: is not an object {{"prompt": ..., "answer": ...}}.')
    prompt, answer = _field(fields, PROMPT_KEYS, place), _field(fields, ANSWER_KEYS, place)
    is_chat = isinstance(prompt, list)
    return Pair(
        prompt=read_messages(prompt, place) if is_chat else read_text(prompt, "the prompt", place),
        answer=read_text(answer, "the answer", place),
        place=place,
    )


def _field(fields: Mapping[str, Any], names: tuple[str, ...], place: str) -> Any:
    """The value of the one key among `names` that is there."""
    present = [name for name in names if name in fields]
    if len(present) != 1:
        raise UserError(f"{place}: has {' and '.join(present) or 'neither'}; give one of {', '.join(names)}.")
    return fields[present[0]]
