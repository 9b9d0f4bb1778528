"""harness run: train, evaluate, record; one cell or a grid of them."""

from __future__ import annotations

import itertools
import time
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from harness import registry
from harness.app.grid import grid
from harness.app.plan import PlannedRun, RunRequest
from harness.app.run import InUseError, execute, plan_together
from harness.cli.lists import names, whole_numbers
from harness.cli.options import AllowPackages, Data, FewShot, IncludePath, Prompts, TrainData, UnsafeLocalExec
from harness.cli.progress import Display
from harness.config.resolve import parse_budget
from harness.distributed.processes import is_agreed, is_main
from harness.errors import UserError
from harness.records.run_folder import DEFAULT_RUNS
from harness.task.prompts import read_prompts

if TYPE_CHECKING:
    from harness.distributed.shard import Shard

FAILED = 1

Recipe = Annotated[
    str, typer.Option(help="tiny, paper, egspo:paper, or a YAML file; tiny for the tiny model, otherwise paper.")
]
Budget = Annotated[str, typer.Option(help="updates=N, samples=N, flops=X, minutes=X; the first reached ends it.")]
Reward = Annotated[
    str,
    typer.Option(help="A profile: official (of the task itself), agrpo, espo, correctness; random is the control."),
]
Settings = Annotated[
    list[str] | None,
    typer.Option("--set", help="key=value over the recipe, key=a,b for several values; repeatable."),
]
GridFile = Annotated[
    Path | None, typer.Option("--grid", help="YAML file of keys and lists of values, or a list of cells.")
]
KeepRule = Annotated[str, typer.Option(help="Checkpoints that stay: last, all, 3, every=200, best=validation.")]


def run(
    method: Annotated[str, typer.Option(help="Method, or several: egspo-sa,egspo.")],
    task: Annotated[str, typer.Option(help="Task, or several.")],
    seed: Annotated[str, typer.Option(help="Seed, or several: 0,1,2.")] = "0",
    model: Annotated[str, typer.Option(help="tiny, a folder, or a hub id.")] = "tiny",
    recipe: Recipe = "",
    budget: Budget = "",
    reward: Reward = "",
    data: Data = "",
    train_data: TrainData = "",
    prompts: Prompts = None,
    few_shot: FewShot = 0,
    settings: Settings = None,
    grid_file: GridFile = None,
    keep: KeepRule = "",
    runs: Annotated[Path, typer.Option(help="Folder in which run folders are created.")] = DEFAULT_RUNS,
    include_path: IncludePath = None,
    fresh: Annotated[bool, typer.Option("--fresh", help="Start over instead of resuming.")] = False,
    unsafe_local_exec: UnsafeLocalExec = False,
    allow_packages: AllowPackages = None,
    jobs: Annotated[int, typer.Option(min=1, help="Cells at a time, in processes of their own.")] = 1,
) -> int:
    """Train and evaluate: --method egspo-sa --task sudoku. Lists make a grid.

    The same command again resumes an unfinished run and skips a finished one; with a longer --budget, where the
    learning rate does not follow it, a finished run goes on. SIGTERM, SIGINT and SIGUSR1 end it after a checkpoint.
    """
    registry.add_include_paths(include_path or [])
    common: dict[str, Any] = {"budget": parse_budget(budget)} if budget else {}
    if keep:
        common["execution.keep"] = keep
    shared = RunRequest(
        method=method,
        task=task,
        recipe=recipe,
        model=model,
        data=data,
        train_data=train_data,
        reward=reward,
        runs=runs,
        fresh=fresh,
        unsafe_local_exec=unsafe_local_exec,
        allow_packages=allow_packages or (),
        prompts=read_prompts(prompts, registry.names("task")) if prompts else None,
        few_shot=few_shot,
    )
    product = itertools.product(
        names(task), names(method), grid(settings or [], grid_file), whole_numbers("--seed", seed)
    )
    requests = [
        replace(shared, task=one_task, method=one_method, seed=one_seed, overrides=changes | common)
        for one_task, one_method, changes, one_seed in product
    ]
    cells, shard = plan_together(requests)
    return run_grid(cells, shard) if jobs == 1 else run_side_by_side(requests, cells, jobs)


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
        typer.echo(f"{len(requests) - len(waiting)} of {len(requests)} cells are finished already.")
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
        typer.echo(f"[{number}/{len(waiting)}] {outcome.folder} {text}; about {left:.0f} min left")
    return _concluded(failures, in_use, len(planned))


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
        typer.echo("\n  ".join([text, *items]), err=err)


def _one(cell: PlannedRun, label: str) -> None:
    if not is_main():
        execute(cell, lambda event: None)
        return
    with Display(cell, label) as display:
        execute(cell, display.on_event, display.on_warning)
    typer.echo(f"{label}{display.summary()}")
