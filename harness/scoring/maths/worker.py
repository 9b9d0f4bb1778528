"""The process that runs math-verify, so that no expression can hold up or take down the harness.

Lines of JSON come in, `[first, second]`, and go out, `true`, `false` or `null` where a verdict took too long.
A child does the work; a limit on its processor time and one by the clock end it by a signal that no code can
hold back, also not a power of integers that never returns to the interpreter. This process, which has sympy
loaded, forks the next child at once.
"""

from __future__ import annotations

import json
import logging
import os
import resource
import signal
import sys

VERDICT_CPU_SECONDS = 1.0
VERDICT_WALL_SECONDS = 8.0
MEMORY_BYTES = 2 << 30
READY = "ready"


def main() -> None:
    """Serves until standard input ends."""
    import math_verify  # noqa: F401  (the children of this process inherit it)

    logging.disable(logging.CRITICAL)
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    _say(READY)
    while True:
        child = os.fork()
        if child == 0:
            _serve()
            os._exit(0)
        _, status = os.waitpid(child, 0)
        if status == 0:
            return
        _say(None)


def _serve() -> None:
    from math_verify import parse, verify

    resource.setrlimit(resource.RLIMIT_AS, (MEMORY_BYTES, MEMORY_BYTES))
    # Reads without a buffer: a killed child must not take later requests with it.
    for first, second in iter(_request, None):
        _limit(VERDICT_CPU_SECONDS, VERDICT_WALL_SECONDS)
        try:
            verdict = bool(
                verify(*(parse(text, parsing_timeout=None) for text in (first, second)), timeout_seconds=None)
            )
        except (MemoryError, RecursionError):
            verdict = False
        _limit(0.0, 0.0)
        _say(verdict)


def _limit(cpu_seconds: float, wall_seconds: float) -> None:
    signal.setitimer(signal.ITIMER_PROF, cpu_seconds)
    signal.setitimer(signal.ITIMER_REAL, wall_seconds)


def _request() -> list[str] | None:
    line = b""
    while not line.endswith(b"\n"):
        # A pipe holds one request at a time: the next is written after the answer.
        piece = os.read(0, 1 << 16)
        if not piece:
            return None
        line += piece
    first, second = json.loads(line)
    return [first, second]


def _say(value: str | bool | None) -> None:
    sys.stdout.write(json.dumps(value) + "\n")
    sys.stdout.flush()


if __name__ == "__main__":
    main()
