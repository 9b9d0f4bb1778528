"""Signals that ask a run to end: SIGTERM of schedulers, SIGINT of a terminal, SIGUSR1 of `sbatch --signal`."""

from __future__ import annotations

import math
import signal
import threading
import time
from types import FrameType
from typing import Any, Self

from harness.errors import Interruption

ASKING = (signal.SIGTERM, signal.SIGINT, signal.SIGUSR1)


class Signals:
    """Notes inside which signal came first (`received`, 0 for none), so that the work can pause where it loses nothing.

    Raises Interruption at once where the next such pause is further away than grace_seconds; nothing is known of it
    before `pause_in`. Outside of the main thread signals do what they did before.
    """

    def __init__(self, grace_seconds: float = math.inf) -> None:
        self.received = 0
        self._grace_seconds, self._pause_at = grace_seconds, math.inf
        self._before: dict[int, Any] = {}

    def __enter__(self) -> Self:
        if threading.current_thread() is threading.main_thread():
            self._before = {number: signal.signal(number, self._receive) for number in ASKING}
        return self

    def __exit__(self, *raised: object) -> None:
        for number, handler in self._before.items():
            signal.signal(number, handler)

    def pause_in(self, seconds: float) -> None:
        """Says when the work is expected to look at `received`; inf where it will not for an unknown time."""
        self._pause_at = time.monotonic() + seconds

    def _receive(self, number: int, frame: FrameType | None) -> None:
        if self.received:
            return
        self.received = number
        if self._pause_at - time.monotonic() > self._grace_seconds:
            raise Interruption(number)
