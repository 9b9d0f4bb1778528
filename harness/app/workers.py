"""Several cells of a grid at a time, in processes that each take many: starting one costs seconds."""

from __future__ import annotations

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


@dataclass(frozen=True, kw_only=True)
class Outcome:
    """What became of a cell. error: empty where it finished. is_in_use: whether another process is at work on it.
    seconds: 0 where it was finished already."""

    request: RunRequest
    folder: Path
    seconds: float
    error: str = ""
    is_in_use: bool = False


def run_cells(requests: Sequence[RunRequest], *, jobs: int) -> Iterator[Outcome]:
    """Runs the cells, `jobs` at a time, and yields each as it ends; one that fails, or whose process is ended, stops no
    other.

    Every process takes its part of the processor's cores. Raises Interruption after a signal to this process, of which
    the others are told too; the same call goes on with what is left.
    """
    left, threads = deque(requests), max(1, (os.cpu_count() or 1) // jobs)
    at_work: dict[Future[Outcome], tuple[RunRequest, ProcessPoolExecutor]] = {}
    with ExitStack() as pools, Signals(grace_seconds=0):
        idle = [_process(pools, threads) for _ in range(min(jobs, len(left)))]
        try:
            while left or at_work:
                while left and idle:
                    request, process = left.popleft(), idle.pop()
                    at_work[process.submit(_one, request)] = request, process
                for done in wait(at_work, return_when=FIRST_COMPLETED).done:
                    request, process = at_work.pop(done)
                    is_lost = isinstance(done.exception(), BrokenProcessPool)
                    idle.append(_process(pools, threads) if is_lost else process)
                    yield _lost(request) if is_lost else done.result()
        except (Interruption, GeneratorExit):
            for child in multiprocessing.active_children():
                child.terminate()
            raise


def _process(pools: ExitStack, threads: int) -> ProcessPoolExecutor:
    """A pool of one process, so that the end of one breaks no other's."""
    start, shared = multiprocessing.get_context("spawn"), (registry.include_paths(), threads)
    return pools.enter_context(ProcessPoolExecutor(1, mp_context=start, initializer=_prepare, initargs=shared))


def _lost(request: RunRequest) -> Outcome:
    """Of a cell whose process is gone."""
    error = "the system ended its process, perhaps for want of memory (then give fewer --jobs); " + GOES_ON
    return Outcome(request=request, folder=plan(request).folder, seconds=0.0, error=error)


def _prepare(include_paths: Sequence[Path], threads: int) -> None:
    import torch

    torch.set_num_threads(threads)
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
