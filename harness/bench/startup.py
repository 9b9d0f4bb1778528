"""How long the command line takes to start, beside an empty Python."""

from __future__ import annotations

import functools
import subprocess
import sys
from collections.abc import Iterator, Mapping, Sequence

from harness.bench.timing import Measurement, in_turn, timed

EMPTY = "python -c ''"
COMMANDS: Mapping[str, Sequence[str]] = {
    "harness --help": ("-m", "harness", "--help"),
    "import harness": ("-c", "import harness"),
    EMPTY: ("-c", ""),
}


def measure_startup(*, runs: int) -> Iterator[Measurement]:
    """Wall seconds of whole processes, in turn; `runs` of each after one that warms the disk's cache."""
    contenders = {name: functools.partial(_seconds, arguments) for name, arguments in COMMANDS.items()}
    in_turn(contenders, 1)
    seconds = in_turn(contenders, runs)
    floor_seconds = seconds.pop(EMPTY)
    for name, taken in seconds.items():
        yield Measurement(name=name, seconds=taken, floor=EMPTY, floor_seconds=floor_seconds, unit="starts", amount=1.0)


def _seconds(arguments: Sequence[str]) -> float:
    command = [sys.executable, *arguments]
    return timed(lambda: subprocess.run(command, check=True, capture_output=True))
