"""The sign of life of a run: its status is written anew every few seconds, whatever the run is busy with."""

from __future__ import annotations

import contextlib
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Self

from harness.records.run_folder import write_status
from harness.records.schema import RunStatus

SECONDS = 5.0
DEAD_AFTER = 60.0
"""Seconds without a sign of life; clocks of machines that share a disk may differ by some."""


class Heartbeat:
    """Writes the status `running` into `folder` inside. counts: updates and samples so far."""

    def __init__(self, folder: Path, counts: Callable[[], tuple[int, int]]) -> None:
        self._folder, self._counts = folder, counts
        self._ended = threading.Event()
        self._thread = threading.Thread(target=self._beat, daemon=True)

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(self, *raised: object) -> None:
        self._ended.set()
        self._thread.join()

    def _beat(self) -> None:
        while not self._ended.wait(SECONDS):
            updates, samples = self._counts()
            # A disk that is full ends the run when it writes what matters.
            with contextlib.suppress(OSError):
                write_status(self._folder, running(updates, samples))


def running(updates: int, samples: int) -> RunStatus:
    """The status of a run that is alive now."""
    return RunStatus(state="running", updates=updates, samples=samples, heartbeat=time.time())


def is_alive(status: RunStatus) -> bool:
    """Whether a run that has not said that it ended has shown life of late."""
    return time.time() - status.heartbeat < DEAD_AFTER
