"""Answers that were computed once: in memory, and in a folder where one is named, so that a killed evaluation goes on.

An answer's key is a hash of everything that decides it: format version, identity of the model (weights, configuration,
adapter, tokenizer, dtype), kind of request, options, token ids, and for draws the seed. A change of any of them makes
another key, so a stored answer is never taken for one that was not asked. No torch.

Every process appends to a file of its own, one line per answer, and reads the files of all. A torn last line is left
out on reading and cut off before the next append.
"""

from __future__ import annotations

import fcntl
import hashlib
import json
import os
from collections.abc import Mapping
from pathlib import Path
from typing import IO, Any

from harness.errors import UserError
from harness.records.jsonl import RecordError, append_line, read_lines

FORMAT = 1

Answer = Mapping[str, Any]
"""What a request gives, as JSON: its result and what it cost."""


def answer_key(identity: Mapping[str, Any], request: Mapping[str, Any]) -> str:
    """64 hex digits over the identity of a model and a request, both plain JSON values."""
    content = json.dumps([FORMAT, identity, request], sort_keys=True, allow_nan=False)
    return hashlib.sha256(content.encode()).hexdigest()


class AnswerStore:
    """Answers by key. Without a folder they last as long as the process."""

    def __init__(self, folder: Path | None, *, process: int = 0) -> None:
        """Reads what the folder holds and locks this process's file.

        Raises UserError where the folder cannot be written to, a file is damaged before its last line, or another
        evaluation is using it.
        """
        self._answers: dict[str, Answer] = {}
        self._path: Path | None = None
        self._lock: IO[bytes] | None = None
        if folder is None:
            return
        self._path = folder / f"answers-{process}.jsonl"
        self._lock = _locked(folder / f".lock-{process}")
        _cut_torn_line(self._path)
        for path in sorted(folder.glob("answers-*.jsonl")):
            try:
                self._answers |= {line["key"]: line["answer"] for line in read_lines(path, is_bounded=False)}
            except (RecordError, KeyError, TypeError) as error:
                raise UserError(f"Stored answers '{path}' are damaged ({error}); move the file away.") from error

    def __len__(self) -> int:
        return len(self._answers)

    def __contains__(self, key: str) -> bool:
        return key in self._answers

    def __getitem__(self, key: str) -> Answer:
        return self._answers[key]

    def add(self, key: str, answer: Answer) -> None:
        """Keeps an answer; it is in the file before this returns."""
        self._answers[key] = answer
        if self._path is not None:
            append_line(self._path, {"key": key, "answer": answer})

    def close(self) -> None:
        """Gives the folder free for another evaluation."""
        if self._lock is not None:
            self._lock.close()


def _locked(path: Path) -> IO[bytes]:
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        lock = open(path, "ab")  # noqa: SIM115  (held until the store is closed)
    except OSError as error:
        raise UserError(f"Cannot write to '{path.parent}': {error.strerror}. Choose another cache=DIR.") from error
    try:
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError as error:
        lock.close()
        raise UserError(f"Cache '{path.parent}' is in use by another evaluation; wait, or give another.") from error
    return lock


def _cut_torn_line(path: Path) -> None:
    if not path.exists():
        return
    content = path.read_bytes()
    whole = content.rfind(b"\n") + 1
    if whole < len(content):
        os.truncate(path, whole)
