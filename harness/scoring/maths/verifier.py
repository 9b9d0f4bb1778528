"""math-verify, in a process of its own with a limit that ends it."""

from __future__ import annotations

import atexit
import functools
import json
import os
import re
import subprocess
import sys
import threading
from decimal import Decimal

from harness.scoring.maths.worker import READY

PERCENTAGE = re.compile(r"(?<![0-9.,])([0-9]{1,30}(?:\.[0-9]{1,30})?)\s*\\?%")
STARTER = (
    "import json, sys; sys.path[:] = json.loads(sys.argv[1]); from harness.scoring.maths.worker import main; main()"
)
FIXED_HASHES = {"PYTHONHASHSEED": "0"}
CLOSE_SECONDS = 10


def same_value(first: str, second: str) -> bool:
    """Whether math-verify reads the same value in both texts (dollar signs around LaTeX).

    False where it takes longer than a second of processor time.
    """
    return bool(_checker().ask(first, second))


def same_value_by_older_rules(first: str, second: str) -> bool:
    """`same_value` as math-verify decided before version 0.9: 59% is 0.59, and not also 59."""
    return same_value(PERCENTAGE.sub(_hundredth, first), PERCENTAGE.sub(_hundredth, second))


def _hundredth(found: re.Match[str]) -> str:
    return f"{Decimal(found.group(1)).scaleb(-2):f}"


class _Checker:
    """The process with math-verify; one request at a time."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._process = subprocess.Popen(
            [sys.executable, "-P", "-c", STARTER, json.dumps(sys.path)],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            env={**os.environ, **FIXED_HASHES},
            text=True,
            encoding="ascii",
            start_new_session=True,
        )
        if self._read() != READY:
            raise RuntimeError("the process with math-verify says something else than that it is ready")

    def ask(self, first: str, second: str) -> bool | None:
        """The verdict, None where it took too long."""
        calls = self._process.stdin
        assert calls is not None
        with self._lock:
            calls.write(json.dumps([first, second]) + "\n")
            calls.flush()
            verdict = self._read()
        return verdict if isinstance(verdict, bool) else None

    def close(self) -> None:
        """Ends the process."""
        if self._process.stdin is not None:
            self._process.stdin.close()
        self._process.wait(CLOSE_SECONDS)

    def _read(self) -> object:
        replies = self._process.stdout
        assert replies is not None
        line = replies.readline()
        if not line:
            raise RuntimeError(f"the process with math-verify ended with status {self._process.wait()}")
        return json.loads(line)


@functools.cache
def _checker() -> _Checker:
    checker = _Checker()
    atexit.register(checker.close)
    return checker
