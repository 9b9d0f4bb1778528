"""Several cells of a grid at a time, in processes that each take many: starting one costs seconds."""

from __future__ import annotations

import itertools
import multiprocessing
import os
import time
from collections import deque
from collections.abc import Iterator, Sequence
from concurrent.futures import FIRST_COMPLETED, Future, ProcessPoolExecutor, wait
from concurrent.futures.process import BrokenProcessPool
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path

from harness import registry
from harness.app.plan import RunRequest, plan
from harness.distributed.signals import Signals
from harness.errors import GOES_ON, Interruption, UserError

VISIBLE = "CUDA_VISIBLE_DEVICES"
"""CUDA's variable for the GPUs that a process sees."""


@dataclass(frozen=True, kw_only=True)
class Outcome:
    """What became of a cell. error: empty where it finished. is_in_use: whether another process is at work on it.
    seconds: 0 where it was finished already."""

    request: RunRequest
    folder: Path
    seconds: float
    error: str = ""
    is_in_use: bool = False


@dataclass(frozen=True, kw_only=True)
class Place:
    """What a process works with. threads: of the processor. gpu: the only one that it sees, as CUDA_VISIBLE_DEVICES
    names it; empty where it sees what this process sees."""

    threads: int
    gpu: str = ""


def run_cells(requests: Sequence[RunRequest], *, jobs: int) -> Iterator[Outcome]:
    """Runs the cells, `jobs` at a time, and yields each as it ends; one that fails, or whose process is ended, stops no
    other.

    Every process takes its part of the processor's cores and, in turn, one of the visible GPUs, unless a cell names its
    own. Raises Interruption after a signal to this process, of which the others are told too; the same call goes on
    with what is left.
    """
    left, threads = deque(requests), max(1, (os.cpu_count() or 1) // jobs)
    places = [Place(threads=threads, gpu=gpu) for gpu in gpus_in_turn(_gpus_for(requests), min(jobs, len(left)))]
    at_work: dict[Future[Outcome], tuple[RunRequest, Place, ProcessPoolExecutor]] = {}
    with ExitStack() as pools, Signals(grace_seconds=0):
        idle = [(place, _process(pools, place)) for place in reversed(places)]
        try:
            while left or at_work:
                while left and idle:
                    request, (place, process) = left.popleft(), idle.pop()
                    at_work[process.submit(_one, request)] = request, place, process
                for done in wait(at_work, return_when=FIRST_COMPLETED).done:
                    request, place, process = at_work.pop(done)
                    is_lost = isinstance(done.exception(), BrokenProcessPool)
                    idle.append((place, _process(pools, place) if is_lost else process))
                    yield _lost(request) if is_lost else done.result()
        except (Interruption, GeneratorExit):
            for child in multiprocessing.active_children():
                child.terminate()
            raise


def gpus_in_turn(visible: Sequence[str], processes: int) -> list[str]:
    """The GPU of each process, one after another and again from the first; empty texts where none is visible."""
    return [visible[number % len(visible)] if visible else "" for number in range(processes)]


def visible_gpus(chosen: str | None, count: int) -> list[str]:
    """The GPUs as CUDA_VISIBLE_DEVICES names them. chosen: its value, numbers or identifiers, up to the first that CUDA
    does not take; None where it is not set and all `count` of the machine are visible."""
    if chosen is None:
        return [str(number) for number in range(count)]
    names = [name.strip() for name in chosen.split(",")]
    return list(itertools.takewhile(lambda name: name and not name.startswith("-"), names))[:count]


def _gpus_for(requests: Sequence[RunRequest]) -> list[str]:
    """The GPUs to share out; none where a cell names its own, whose number counts from the first of all."""
    import torch

    devices = {plan(request).resolved.execution.device for request in requests}
    if any(":" in device for device in devices) or devices == {"cpu"}:
        return []
    return visible_gpus(os.environ.get(VISIBLE), torch.cuda.device_count())


def _process(pools: ExitStack, place: Place) -> ProcessPoolExecutor:
    """A pool of one process, so that the end of one breaks no other's."""
    start, shared = multiprocessing.get_context("spawn"), (registry.include_paths(), place)
    return pools.enter_context(ProcessPoolExecutor(1, mp_context=start, initializer=_prepare, initargs=shared))


def _lost(request: RunRequest) -> Outcome:
    """Of a cell whose process is gone."""
    error = "the system ended its process, perhaps for want of memory (then give fewer --jobs); " + GOES_ON
    return Outcome(request=request, folder=plan(request).folder, seconds=0.0, error=error)


def _prepare(include_paths: Sequence[Path], place: Place) -> None:
    if place.gpu:
        os.environ[VISIBLE] = place.gpu
    import torch

    torch.set_num_threads(place.threads)
    registry.add_include_paths(include_paths)


def _one(request: RunRequest) -> Outcome:
    from harness.app.run import InUseError, execute

    started = time.monotonic()
    planned = plan(request)
    if planned.finished:
        return Outcome(request=request, folder=planned.folder, seconds=0.0)
    fault: UserError | Interruption | None = None
    try:
        execute(planned, lambda event: None)
    except (UserError, Interruption) as error:
        fault = error
    return Outcome(
        request=request,
        folder=planned.folder,
        seconds=time.monotonic() - started,
        error=str(fault or ""),
        is_in_use=isinstance(fault, InUseError),
    )
