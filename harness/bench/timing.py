"""Things measured in turn, so that other work on the machine slows all of them alike."""

from __future__ import annotations

import statistics
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass

from harness.planning.device import synchronise


@dataclass(frozen=True, kw_only=True)
class Measurement:
    """Something and its floor, what it cannot do without, timed in turn.

    seconds, floor_seconds: of each run. amount: what a run makes of `unit`, as tokens. passes: forward passes of a run,
    0 where there are none. agreement: the share of tokens that equal ours, of other code; None where that means
    nothing.
    """

    name: str
    seconds: tuple[float, ...]
    floor: str
    floor_seconds: tuple[float, ...]
    unit: str
    amount: float
    passes: int = 0
    agreement: float | None = None

    @property
    def typical(self) -> float:
        """Median seconds of a run."""
        return statistics.median(self.seconds)

    @property
    def typical_floor(self) -> float:
        """Median seconds of a run of the floor."""
        return statistics.median(self.floor_seconds)

    @property
    def ratio(self) -> float:
        """Floor / this, median over the runs: 1 is as fast as the floor."""
        return statistics.median(floor / own for floor, own in zip(self.floor_seconds, self.seconds, strict=True))


def in_turn(contenders: Mapping[str, Callable[[], float]], runs: int) -> dict[str, tuple[float, ...]]:
    """What each contender, a function that says how many seconds it took, says in `runs` rounds."""
    found: dict[str, list[float]] = {name: [] for name in contenders}
    for _ in range(runs):
        for name, contender in contenders.items():
            found[name].append(contender())
    return {name: tuple(seconds) for name, seconds in found.items()}


def timed(function: Callable[[], object], device: str = "cpu", clock: Callable[[], float] = time.perf_counter) -> float:
    """Seconds of one call, the device's queue drained."""
    synchronise(device)
    start = clock()
    function()
    synchronise(device)
    return clock() - start


def timed_alone(function: Callable[[], object], device: str) -> float:
    """The same, on a CPU in the processor's time of all threads, so that other work on the machine counts less."""
    return timed(function, device, time.perf_counter if device.startswith("cuda") else time.process_time)
