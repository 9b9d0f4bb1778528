"""harness run: train, evaluate, record; one cell or a grid of them."""

from __future__ import annotations

import time
from collections.abc import Sequence
from typing import TYPE_CHECKING

from harness.app.plan import PlannedRun, RunRequest
from harness.app.run import InUseError, execute, plan_together
from harness.cli.options.cells import CellOptions
from harness.cli.options.launch import LaunchOptions, show_scripts, submit_grid
from harness.cli.options.shared import grouped
from harness.cli.plan import show_plans
from harness.cli.terminal.feedback import echo, is_quiet, say
from harness.cli.terminal.progress import Display
from harness.distributed.processes import count, is_agreed, is_main
from harness.errors import Interruption, UserError

if TYPE_CHECKING:
    from harness.distributed.shard import Shard

FAILED = 1


@grouped
def run(cells: CellOptions, launch: LaunchOptions) -> int:
    """Train and evaluate: --method egspo-sa --task sudoku. Lists make a grid.

    The same command again resumes an unfinished run and skips a finished one; with a longer --budget, where the
    learning rate does not follow it, a finished run goes on. SIGTERM, SIGINT and SIGUSR1 end it after a checkpoint.
    """
    requests, slurm = cells.requests(), launch.slurm()
    if slurm is not None:
        return show_scripts(requests, slurm) if launch.dry_run else submit_grid(requests, slurm)
    if launch.dry_run:
        from harness.distributed.shard import join

        with join("cpu").together():
            if is_main():
                show_plans(requests, devices=count(), show_config=True)
        return 0
    planned, shard = plan_together(requests)
    try:
        return run_grid(planned, shard) if launch.jobs <= 1 else run_side_by_side(requests, planned, launch.jobs)
    except Interruption:
        _name_unfinished(planned)
        raise


def run_grid(planned: Sequence[PlannedRun], shard: Shard) -> int:
    """Runs the cells one after another; a cell that fails does not stop the others. Returns the exit code."""
    if len(planned) == 1 and not shard.decided(lambda: planned[0].finished):
        _one(planned[0], "")
        return 0
    failures: list[str] = []
    in_use: list[str] = []
    for number, cell in enumerate(planned, start=1):
        label = f"[{number}/{len(planned)}] "
        if shard.decided(lambda cell=cell: cell.finished):  # type: ignore[misc]
            _say(f"{label}{cell.folder}: already finished (--fresh starts over)")
            continue
        try:
            _one(cell, label)
        except InUseError:
            _say(f"{label}{cell.folder}: skipped, another process is at work on it")
            in_use.append(str(cell.folder))
        except UserError as error:
            if not is_agreed(error):
                raise
            _say(f"{label}{cell.folder}: failed: {error}", err=True)
            failures.append(f"{cell.folder}: {error}")
    return _concluded(failures, in_use, len(planned))


def run_side_by_side(requests: Sequence[RunRequest], planned: Sequence[PlannedRun], jobs: int) -> int:
    """Runs the cells, `jobs` at a time; a line for each as it ends. Returns the exit code."""
    from harness.app.workers import run_cells

    waiting = [request for request, cell in zip(requests, planned, strict=True) if not cell.finished]
    if len(waiting) < len(requests):
        say(f"{len(requests) - len(waiting)} of {len(requests)} cells are finished already.")
    started = time.monotonic()
    failures: list[str] = []
    in_use: list[str] = []
    for number, outcome in enumerate(run_cells(waiting, jobs=jobs), start=1):
        left = (time.monotonic() - started) / number * (len(waiting) - number) / 60
        text = f"failed: {outcome.error}" if outcome.error else f"done in {outcome.seconds:.0f} s"
        if outcome.is_in_use:
            text = "skipped, another process is at work on it"
            in_use.append(str(outcome.folder))
        elif outcome.error:
            failures.append(f"{outcome.folder}: {outcome.error}")
        remains = "" if is_quiet() else f"; about {left:.0f} min left"
        echo(f"[{number}/{len(waiting)}] {outcome.folder} {text}{remains}")
    return _concluded(failures, in_use, len(planned))


def _name_unfinished(planned: Sequence[PlannedRun]) -> None:
    """Names the runs that a grid leaves when a signal ends it; main says that the same command goes on with them."""
    left = [str(cell.folder) for cell in planned if not cell.finished]
    if len(planned) > 1:
        _say(f"{len(left)} of {len(planned)} runs are unfinished:", *left, err=True)


def _concluded(failures: Sequence[str], in_use: Sequence[str], cells: int) -> int:
    """Names what was skipped and what failed, and returns the exit code."""
    if in_use:
        _say(f"{len(in_use)} of {cells} runs were skipped, since another process is at work on them:", *in_use)
    if failures:
        _say(f"{len(failures)} of {cells} runs failed:", *failures, err=True)
    return FAILED if failures else 0


def _say(text: str, *items: str, err: bool = False) -> None:
    """Prints a line and one for each item, in the first process."""
    if is_main():
        told = "\n  ".join([text, *items])
        echo(told, err=True) if err else say(told)


def _one(cell: PlannedRun, label: str) -> None:
    if not is_main():
        execute(cell, lambda event: None)
        return
    with Display(cell, label) as display:
        execute(cell, display.on_event, display.on_warning)
    echo(f"{label}{display.summary()}")
