"""Several cells of a grid at a time, in processes that each take many: starting one costs seconds."""

from __future__ import annotations

import multiprocessing
import os
import time
from collections.abc import Iterator, Sequence
from concurrent.futures import Future, ProcessPoolExecutor, as_completed
from concurrent.futures.process import BrokenProcessPool
from dataclasses import dataclass
from pathlib import Path

from harness import registry
from harness.app.plan import RunRequest, plan
from harness.distributed.signals import Signals
from harness.errors import Interruption, UserError


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
    """Runs the cells, `jobs` at a time, and yields each as it ends; a cell that fails does not stop the others.

    Every process takes its part of the processor's cores. Raises UserError where the system ends a process, and
    Interruption after a signal, of which the processes are told too; the same call goes on with what is left.
    """
    start = multiprocessing.get_context("spawn")
    share = max(1, (os.cpu_count() or 1) // jobs)
    pool = ProcessPoolExecutor(jobs, mp_context=start, initializer=_prepare, initargs=(registry.include_paths(), share))
    with pool, Signals(grace_seconds=0):
        waiting: list[Future[Outcome]] = [pool.submit(_one, request) for request in requests]
        try:
            for done in as_completed(waiting):
                yield done.result()
        except BrokenProcessPool as error:
            raise UserError(
                f"The system ended one of the {jobs} processes, perhaps for want of memory; give fewer with "
                "--jobs, and the same command goes on with the cells that are left."
            ) from error
        except Interruption:
            for process in multiprocessing.active_children():
                process.terminate()
            raise
        finally:
            pool.shutdown(cancel_futures=True)


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
    fault: UserError | None = None
    try:
        execute(planned, lambda event: None)
    except UserError as error:
        fault = error
    return Outcome(
        request=request,
        folder=planned.folder,
        seconds=time.monotonic() - started,
        error=str(fault or ""),
        is_in_use=isinstance(fault, InUseError),
    )
