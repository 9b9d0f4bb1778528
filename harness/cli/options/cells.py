"""What `harness run` and `harness plan` are asked for: the cells of a grid."""

from __future__ import annotations

import itertools
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Annotated, Any

import typer

from harness import registry
from harness.app.grid import grid
from harness.app.plan import RunRequest
from harness.cli.options.lists import names, whole_numbers
from harness.cli.options.shared import (
    AllowPackages,
    Compile,
    Data,
    FewShot,
    IncludePath,
    Prompts,
    TrainData,
    UnsafeLocalExec,
)
from harness.config.resolve import parse_budget
from harness.errors import UserError
from harness.records.run_folder import DEFAULT_RUNS
from harness.task.prompts import read_prompts

Recipe = Annotated[
    str, typer.Option(help="tiny, paper, egspo:paper, or a YAML file; tiny for the tiny model, otherwise paper.")
]
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


@dataclass(frozen=True, kw_only=True)
class CellOptions:
    """The options that say what is run; lists make a grid."""

    method: Annotated[str, typer.Option(help="Method, or several: egspo-sa,egspo.")] = ""
    task: Annotated[str, typer.Option(help="Task, or several.")] = ""
    seed: Annotated[str, typer.Option(help="Seed, or several: 0,1,2.")] = "0"
    model: Annotated[str, typer.Option(help="tiny, a folder, or a hub id; by default the recipe's, else tiny.")] = ""
    recipe: Recipe = ""
    budget: Annotated[
        str, typer.Option(help="updates=N, samples=N, flops=X, minutes=X; the first reached ends it.")
    ] = ""
    reward: Reward = ""
    data: Data = ""
    train_data: TrainData = ""
    prompts: Prompts = None
    few_shot: FewShot = 0
    settings: Settings = None
    grid_file: GridFile = None
    keep: Annotated[str, typer.Option(help="Checkpoints that stay: last, all, 3, every=200, best=validation.")] = ""
    compile: Compile = False
    device: Annotated[str, typer.Option(help="auto, cpu, cuda or cuda:N; auto by default.")] = ""
    track: Annotated[str, typer.Option(help="Tell a tracker too: tensorboard, wandb or trackio.")] = ""
    runs: Annotated[Path, typer.Option(help="Folder in which run folders are created.")] = DEFAULT_RUNS
    include_path: IncludePath = None
    fresh: Annotated[bool, typer.Option("--fresh", help="Start over instead of resuming.")] = False
    unsafe_local_exec: UnsafeLocalExec = False
    allow_packages: AllowPackages = None

    def requests(self) -> list[RunRequest]:
        """A request for each combination of tasks, methods, values of settings and seeds, the seeds innermost.

        Raises UserError where the method or the task is missing, and for names and values that are none.
        """
        for option in ("method", "task"):
            if not getattr(self, option):
                raise UserError(f"--{option} is missing; harness list {option}s shows what there is.")
        registry.add_include_paths(self.include_path or [])
        shared = RunRequest(
            method=self.method,
            task=self.task,
            recipe=self.recipe,
            model=self.model,
            data=self.data,
            train_data=self.train_data,
            reward=self.reward,
            runs=self.runs,
            fresh=self.fresh,
            unsafe_local_exec=self.unsafe_local_exec,
            allow_packages=self.allow_packages or (),
            prompts=read_prompts(self.prompts, registry.names("task")) if self.prompts else None,
            few_shot=self.few_shot,
        )
        changes = grid(self.settings or [], self.grid_file)
        seeds, overrides = whole_numbers("--seed", self.seed), self._overrides()
        return [
            replace(shared, task=task, method=method, seed=seed, overrides={**changed, **overrides})
            for task, method, changed, seed in itertools.product(names(self.task), names(self.method), changes, seeds)
        ]

    def _overrides(self) -> dict[str, Any]:
        """The configuration keys that options of their own set."""
        given = {
            "execution.compile": self.compile,
            "execution.device": self.device,
            "execution.keep": self.keep,
            "execution.track": self.track,
        }
        whole: dict[str, Any] = {"budget": parse_budget(self.budget)} if self.budget else {}
        return whole | {key: value for key, value in given.items() if value}
