"""What a downloaded file asks to be computed, in a process of its own that is bounded in time and memory.

The process starts with the first request, stays for the next ones, and is replaced where a request ended it.
"""

from __future__ import annotations

import atexit
import functools
import json
import os
import signal
import subprocess
import sys
import threading
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from harness.models.untrusted_worker import CPU_SECONDS

STARTER = (
    "import json, sys; sys.path[:] = json.loads(sys.argv[1]); from harness.models.untrusted_worker import main; main()"
)
# The memory that threads reserve counts against the limit.
ONE_THREAD = dict.fromkeys(
    ("MALLOC_ARENA_MAX", "MKL_NUM_THREADS", "OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "RAYON_NUM_THREADS"), "1"
)
OUT_OF_TIME = (signal.SIGPROF, signal.SIGALRM)
CLOSE_SECONDS = 10


class UntrustedError(ValueError):
    """The file's code failed or asked for too much; the message says why."""


def render_template(
    template: str, messages: Sequence[Mapping[str, str]], *, variables: Mapping[str, Any], continue_last: bool
) -> str:
    """The text that transformers writes for the messages. variables: special tokens and what else the template may ask
    for. Raises UntrustedError."""
    arguments = {"template": template, "messages": messages, "variables": variables}
    return _worker().ask("render", {**arguments, "continue_last": continue_last})


def matching(pattern: str, names: Sequence[str]) -> list[str]:
    """The names that a regular expression matches as a whole. Raises UntrustedError."""
    return _worker().ask("match", {"pattern": pattern, "names": names})


def try_tokenizer(path: Path) -> None:
    """Loads a tokenizer.json, and encodes and decodes some texts with it. Raises UntrustedError where that fails."""
    _worker().ask("try_tokenizer", {"path": str(path)})


class _Worker:
    """The process; one request at a time."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._process: subprocess.Popen[str] | None = None

    def ask(self, what: str, arguments: Mapping[str, Any]) -> Any:
        """The result of a request. Raises UntrustedError."""
        with self._lock:
            self._process = process = self._process or _start()
            assert process.stdin is not None
            assert process.stdout is not None
            try:
                process.stdin.write(json.dumps([what, arguments], default=_placeholder) + "\n")
                process.stdin.flush()
                line = process.stdout.readline()
            except BrokenPipeError:
                line = ""
            if not line:
                self._process = None
                raise UntrustedError(_why_it_ended(process, what))
        answer = json.loads(line)
        if "error" in answer:
            raise UntrustedError(answer["error"])
        return answer["result"]

    def close(self) -> None:
        """Ends the process."""
        if self._process is not None:
            self._process.communicate(timeout=CLOSE_SECONDS)


def _placeholder(value: object) -> str:
    """What transformers shows a template instead of an object that is no plain data, as a token with its properties."""
    return f"<{type(value).__name__}>"


def _start() -> subprocess.Popen[str]:
    return subprocess.Popen(
        [sys.executable, "-P", "-c", STARTER, json.dumps(sys.path)],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        env={**os.environ, **ONE_THREAD},
        text=True,
        encoding="ascii",
        start_new_session=True,
    )


def _why_it_ended(process: subprocess.Popen[str], what: str) -> str:
    process.communicate()
    status = process.returncode
    if -status in OUT_OF_TIME:
        return f"it takes longer than {CPU_SECONDS[what]:g} seconds"
    return f"it crashes the process that computes it, which ended with status {status}"


@functools.cache
def _worker() -> _Worker:
    worker = _Worker()
    atexit.register(worker.close)
    return worker
