"""Chat messages as a file has them, and the beginning of the answer that may stand behind them."""

from __future__ import annotations

import json
from collections.abc import Sequence
from typing import Any

from harness.errors import UserError
from harness.task.base import Message

MOST_SHOWN = 40


def read_messages(value: Any, place: str) -> tuple[Message, ...]:
    """A list of messages, each with a role and a content. Raises UserError, beginning with `place`, otherwise."""
    if not isinstance(value, list):
        raise UserError(f"{place}: {_start(value)} stands where a list of chat messages is needed.")
    if not value:
        raise UserError(f"{place}: the list of chat messages is empty.")
    for message in value:
        if not isinstance(message, dict) or set(message) != {"role", "content"}:
            raise UserError(f'{place}: a chat message is {{"role": text, "content": text}} and nothing more.')
    return tuple(
        {key: read_text(message[key], f"a message's {key}", place) for key in ("role", "content")} for message in value
    )


def split_prefill(messages: Sequence[Message]) -> tuple[list[Message], str]:
    """What is asked, and how the answer begins: the last message where it is the assistant's, else nothing."""
    if messages and messages[-1]["role"] == "assistant":
        return list(messages[:-1]), messages[-1]["content"]
    return list(messages), ""


def plain_text(messages: Sequence[Message]) -> str:
    """Messages without a chat template."""
    return "".join(f"{message['content'].strip()}\n\n" for message in messages)


def read_text(value: Any, what: str, place: str) -> str:
    """A text that is not empty. Raises UserError, beginning with `place` and naming `what`, for anything else."""
    if not isinstance(value, str) or not value:
        raise UserError(f"{place}: {what} is {_start(value)}; it must be a text that is not empty.")
    try:
        value.encode("utf-8")
    except UnicodeEncodeError as error:
        raise UserError(f"{place}: {what} holds half a surrogate pair, which is no character.") from error
    return value


def _start(value: Any) -> str:
    return json.dumps(value, default=str)[:MOST_SHOWN]
