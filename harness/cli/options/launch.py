"""Options of `harness run` that say where its cells run, and what is said of cells that Slurm runs."""

from __future__ import annotations

import shlex
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Annotated

import typer

from harness.app.plan import RunRequest, plan
from harness.cli.terminal.feedback import echo, say
from harness.errors import UserError, require_choice

if TYPE_CHECKING:
    from harness.app.launch import SlurmOptions

LOCAL, SLURM = LAUNCHERS = ("local", "slurm")
HOUR = "1:00:00"


@dataclass(frozen=True, kw_only=True)
class LaunchOptions:
    """The options that say where the cells run."""

    launcher: Annotated[str, typer.Option(help="local runs the cells here; slurm submits a job for each.")] = LOCAL
    jobs: Annotated[
        int,
        typer.Option(
            "--jobs",
            "--array-parallelism",
            min=0,
            show_default=False,
            help="Cells at a time: here in processes of their own, 1 by default; jobs under Slurm, all by default.",
        ),
    ] = 0
    partition: Annotated[str, typer.Option(help="Slurm: partition.")] = ""
    time: Annotated[
        str, typer.Option(help="Slurm: time of a job, an hour by default; then it is put back into the queue.")
    ] = ""
    nodes: Annotated[int, typer.Option(min=1, help="Slurm: nodes of a job.")] = 1
    gpus_per_node: Annotated[int, typer.Option(min=0, help="Slurm: GPUs of a node, each with a process.")] = 0
    sbatch: Annotated[
        list[str] | None, typer.Option(help="Slurm: option=value, as account=lab or cpus-per-task=8; repeatable.")
    ] = None
    dry_run: Annotated[
        bool, typer.Option("--dry-run", help="Show what harness plan shows, or Slurm's scripts; start nothing.")
    ] = False

    def slurm(self) -> SlurmOptions | None:
        """What the jobs ask for, None where Slurm is not to run them. Raises UserError for Slurm's options without
        it."""
        require_choice("--launcher", self.launcher, LAUNCHERS)
        if self.launcher == LOCAL:
            given = {
                "--partition": self.partition,
                "--time": self.time,
                "--nodes": self.nodes > 1,
                "--gpus-per-node": self.gpus_per_node,
                "--sbatch": self.sbatch,
            }
            for name in (name for name, value in given.items() if value):
                raise UserError(f"{name} is for Slurm; add --launcher slurm, or leave it out.")
            return None
        from harness.app.launch import SlurmOptions, minutes

        return SlurmOptions(
            partition=self.partition,
            minutes=minutes(self.time or HOUR),
            nodes=self.nodes,
            gpus_per_node=self.gpus_per_node,
            at_a_time=self.jobs,
            sbatch=dict(map(_option, self.sbatch or [])),
        )


def submit_grid(requests: Sequence[RunRequest], options: SlurmOptions) -> int:
    """Submits the cells, a line for each. Returns the exit code."""
    from harness.app.launch import submit

    submitted = submit(requests, [plan(request) for request in requests], options)
    for one in submitted:
        echo(f"job {one.job}: {one.folder}")
    if left := len(requests) - len(submitted):
        say(f"{left} of {len(requests)} cells are finished or in the queue already.")
    if submitted:
        say(f"Follow them with: harness list {shlex.quote(str(requests[0].runs))} --watch")
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
