"""harness run: train, evaluate, record; one cell or a grid of them."""

from __future__ import annotations

import itertools
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Annotated, Any

import typer

from harness import registry
from harness.app.plan import PlannedRun, RunRequest, plan
from harness.app.run import execute
from harness.cli.options import AllowPackages, UnsafeLocalExec
from harness.cli.progress import Display
from harness.config.resolve import parse_budget, parse_settings
from harness.distributed.processes import is_main
from harness.errors import SandboxError, UserError
from harness.records.run_folder import DEFAULT_RUNS
from harness.task.prompts import read_prompts

FAILED = 1


def run(
    method: Annotated[str, typer.Option(help="Method, or several: egspo-sa,egspo.")],
    task: Annotated[str, typer.Option(help="Task, or several.")],
    seed: Annotated[str, typer.Option(help="Seed, or several: 0,1,2.")] = "0",
    model: Annotated[str, typer.Option(help="tiny, a folder, or a hub id.")] = "tiny",
    recipe: Annotated[
        str, typer.Option(help="tiny, paper, egspo:paper, or a YAML file; tiny for the tiny model, otherwise paper.")
    ] = "",
    budget: Annotated[
        str, typer.Option(help="updates=N, samples=N, flops=X, minutes=X; the first reached ends it.")
    ] = "",
    reward: Annotated[
        str,
        typer.Option(help="A profile: official (of the task itself), agrpo, espo, correctness; random is the control."),
    ] = "",
    data: Annotated[str, typer.Option(help="builtin, hub, or a folder.")] = "",
    train_data: Annotated[str, typer.Option(help="Source of training examples, if it is another.")] = "",
    prompts: Annotated[Path | None, typer.Option(help="YAML file with your own prompts: task to messages.")] = None,
    few_shot: Annotated[int, typer.Option(min=0, help="Worked training examples before each question.")] = 0,
    settings: Annotated[
        list[str] | None,
        typer.Option("--set", help="key=value over the recipe, such as execution.micro_batch_size=4; repeatable."),
    ] = None,
    runs: Annotated[Path, typer.Option(help="Folder in which run folders are created.")] = DEFAULT_RUNS,
    include_path: Annotated[list[Path] | None, typer.Option(help="Folder with your own methods or tasks.")] = None,
    fresh: Annotated[bool, typer.Option("--fresh", help="Start over instead of resuming.")] = False,
    unsafe_local_exec: UnsafeLocalExec = False,
    allow_packages: AllowPackages = None,
) -> int:
    """Train and evaluate: --method egspo-sa --task sudoku. Lists make a grid.

    The same command again resumes an unfinished run and skips a finished one; with a longer --budget, where the
    learning rate does not follow it, a finished run goes on.
    """
    for folder in include_path or []:
        registry.add_include_path(folder)
    overrides: dict[str, Any] = parse_settings(settings or [])
    if budget:
        overrides["budget"] = parse_budget(budget)
    shared = RunRequest(
        method=method,
        task=task,
        recipe=recipe,
        model=model,
        data=data,
        train_data=train_data,
        reward=reward,
        overrides=overrides,
        runs=runs,
        fresh=fresh,
        unsafe_local_exec=unsafe_local_exec,
        allow_packages=allow_packages or (),
        prompts=read_prompts(prompts, registry.names("task")) if prompts else None,
        few_shot=few_shot,
    )
    cells = itertools.product(_list(task), _list(method), _seeds(seed))
    requests = [
        replace(shared, task=one_task, method=one_method, seed=one_seed) for one_task, one_method, one_seed in cells
    ]
    return run_grid([plan(request) for request in requests])


def run_grid(planned: Sequence[PlannedRun]) -> int:
    """Runs the cells one after another; a cell that fails does not stop the others. Returns the exit code."""
    if len(planned) == 1 and not planned[0].finished:
        _one(planned[0], "")
        return 0
    failures: list[str] = []
    for number, cell in enumerate(planned, start=1):
        label = f"[{number}/{len(planned)}] "
        if cell.finished:
            typer.echo(f"{label}{cell.folder}: already finished (--fresh starts over)")
            continue
        try:
            _one(cell, label)
        except (UserError, SandboxError) as error:
            typer.echo(f"{label}{cell.folder}: failed: {error}", err=True)
            failures.append(f"{cell.folder}: {error}")
    if failures:
        typer.echo(f"{len(failures)} of {len(planned)} runs failed:", err=True)
        for failure in failures:
            typer.echo(f"  {failure}", err=True)
        return FAILED
    return 0


def _one(cell: PlannedRun, label: str) -> None:
    if not is_main():
        execute(cell, lambda event: None)
        return
    with Display(cell, label) as display:
        execute(cell, display.on_event, display.on_warning)
    typer.echo(f"{label}{display.summary()}")


def _list(text: str) -> list[str]:
    names = [name.strip() for name in text.split(",") if name.strip()]
    if not names:
        raise UserError(f"'{text}' names nothing; give one name, or several separated by commas.")
    return names


def _seeds(text: str) -> list[int]:
    try:
        return [int(part) for part in _list(text)]
    except ValueError as error:
        raise UserError(
            f"--seed '{text}' is neither a whole number nor a list of whole numbers such as 0,1,2."
        ) from error
