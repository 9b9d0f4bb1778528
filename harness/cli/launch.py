"""Options of `harness run` that say where its cells run, and what is said of cells that Slurm runs."""

from __future__ import annotations

import shlex
from collections.abc import Sequence
from typing import TYPE_CHECKING, Annotated

import typer

from harness.app.plan import RunRequest, plan
from harness.errors import UserError, require_choice

if TYPE_CHECKING:
    from harness.app.launch import SlurmOptions

LOCAL, SLURM = LAUNCHERS = ("local", "slurm")
HOUR = "1:00:00"

Launcher = Annotated[str, typer.Option(help="local runs the cells here; slurm submits a job for each.")]
Jobs = Annotated[
    int,
    typer.Option(
        "--jobs",
        "--array-parallelism",
        min=0,
        show_default=False,
        help="Cells at a time: here in processes of their own, 1 by default; jobs under Slurm, all by default.",
    ),
]
Partition = Annotated[str, typer.Option(help="Slurm: partition.")]
TimeLimit = Annotated[
    str, typer.Option("--time", help="Slurm: time of a job, an hour by default; then it is put back into the queue.")
]
Nodes = Annotated[int, typer.Option(min=1, help="Slurm: nodes of a job.")]
GpusPerNode = Annotated[int, typer.Option(min=0, help="Slurm: GPUs of a node, each with a process.")]
Sbatch = Annotated[
    list[str] | None, typer.Option(help="Slurm: option=value, as account=lab or cpus-per-task=8; repeatable.")
]
DryRun = Annotated[bool, typer.Option("--dry-run", help="Slurm: print the scripts and submit nothing.")]


def slurm_options(
    launcher: str,
    jobs: int,
    partition: str,
    time_limit: str,
    nodes: int,
    gpus_per_node: int,
    sbatch: Sequence[str],
    dry_run: bool,
) -> SlurmOptions | None:
    """What the jobs ask for, None where Slurm is not to run them. Raises UserError for Slurm's options without it."""
    require_choice("--launcher", launcher, LAUNCHERS)
    if launcher == LOCAL:
        given = {
            "--partition": partition,
            "--time": time_limit,
            "--nodes": nodes > 1,
            "--gpus-per-node": gpus_per_node,
            "--sbatch": sbatch,
            "--dry-run": dry_run,
        }
        for name in (name for name, value in given.items() if value):
            raise UserError(f"{name} is for Slurm; add --launcher slurm, or leave it out.")
        return None
    from harness.app.launch import SlurmOptions, minutes

    return SlurmOptions(
        partition=partition,
        minutes=minutes(time_limit or HOUR),
        nodes=nodes,
        gpus_per_node=gpus_per_node,
        at_a_time=jobs,
        sbatch=dict(map(_option, sbatch)),
    )


def submit_grid(requests: Sequence[RunRequest], options: SlurmOptions) -> int:
    """Submits the cells, a line for each. Returns the exit code."""
    from harness.app.launch import submit

    submitted = submit(requests, [plan(request) for request in requests], options)
    for one in submitted:
        typer.echo(f"job {one.job}: {one.folder}")
    if left := len(requests) - len(submitted):
        typer.echo(f"{left} of {len(requests)} cells are finished or in the queue already.")
    if submitted:
        typer.echo(f"Follow them with: harness list {shlex.quote(str(requests[0].runs))} --watch")
    return 0


def show_scripts(requests: Sequence[RunRequest], options: SlurmOptions) -> int:
    """Prints what would be submitted. Returns the exit code."""
    from harness.app.launch import scripts

    for script in scripts(requests, [plan(request) for request in requests], options):
        typer.echo(script)
    return 0


def _option(text: str) -> tuple[str, str]:
    name, is_given, value = text.removeprefix("--").partition("=")
    if not (name and is_given):
        raise UserError(f"--sbatch '{text}' is not of the form option=value, as account=lab.")
    return name, value
