"""From a request to a planned run: its configuration resolved and checked, its folder found.

Everything that can be wrong with a request is found here, or while a run loads, before its folder is made.
"""

from __future__ import annotations

import dataclasses
import importlib.util
import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from harness import registry
from harness.config.embedded import TINY, embedded
from harness.config.legacy import legacy_hash
from harness.config.naming import config_hash
from harness.config.recipe_files import PAPER
from harness.config.recipes import load_recipe
from harness.config.resolve import COMMAND_LINE, Resolved, recorded_config, resolve
from harness.config.tree import PROFILES, BudgetConfig, Execution, RunConfig
from harness.data.sources import DATA_VARIABLE, DataSource, default_source, parse_source, sha256_of_file
from harness.errors import UserError, from_here
from harness.records.description import read_description
from harness.records.run_folder import CHECKPOINT_FOLDER, read_status
from harness.records.schema import RunIdentity
from harness.task.base import Task, TaskOptions
from harness.task.prompts import COMPACT_ONLY, PromptsFile

if TYPE_CHECKING:
    from harness.rl.method import Method


@dataclass(frozen=True, kw_only=True)
class RunRequest:
    """One cell of a grid, as asked for. Empty texts mean the recipe's or the default value.

    overrides: dotted configuration keys to values. runs: the folder that run folders are made in.
    """

    method: str
    task: str
    seed: int = 0
    recipe: str = ""
    model: str = ""
    data: str = ""
    train_data: str = ""
    reward: str = ""
    overrides: Mapping[str, Any] = field(default_factory=dict)
    runs: Path
    fresh: bool = False
    unsafe_local_exec: bool = False
    allow_packages: Sequence[str] = ()
    prompts: PromptsFile | None = None
    few_shot: int = 0


@dataclass(frozen=True, kw_only=True)
class PlannedRun:
    """A request with its configuration resolved and checked, and the place of its run folder."""

    resolved: Resolved
    identity: RunIdentity
    folder: Path
    method: Method
    task: Task
    test_source: DataSource
    train_source: DataSource
    prompts: PromptsFile | None
    fresh: bool

    @property
    def finished(self) -> bool:
        """Whether the folder already holds this run, finished under this budget."""
        status = None if self.fresh else read_status(self.folder)
        if status is None or status.state != "finished":
            return False
        return given_budget(self.folder) == self.resolved.config.budget


def plan(request: RunRequest) -> PlannedRun:
    """Resolves and checks a request. Raises UserError for anything wrong with it, and for a budget that the run in the
    folder has used up already."""
    method_name = registry.canonical_name("method", request.method)
    task_name = registry.canonical_name("task", request.task)
    method_class = registry.get_method(method_name)
    resolved = _resolve(request, method_name, method_class.Config, task_name)
    config = resolved.config
    check_tracker(resolved.execution.track)
    _check_prompting(config, request)
    method = method_class(config=method_class.Config(**config.method.options))
    method.check(config.rollout)
    method.check_record(config.rollout)
    method.check_learning(config)
    test_source, train_source = parse_source(config.data.test), parse_source(config.data.train)
    identity = RunIdentity(
        task=task_name,
        method=method_name,
        model=Path(config.model.name).resolve().name if os.path.isdir(config.model.name) else config.model.name,
        recipe=resolved.recipe,
        reward=config.reward,
        seed=config.seed,
        train_data=train_source.label,
        test_data=test_source.label,
        config_hash=config_hash(config),
    )
    identity = under_its_old_name(identity, config, resolved.execution, request.runs)
    if not request.fresh:
        check_budget(request.runs / identity.folder, config.budget, updates_per_step=method.updates_per_step)
    return PlannedRun(
        resolved=resolved,
        identity=identity,
        folder=request.runs / identity.folder,
        method=method,
        task=registry.get_task(task_name)(
            TaskOptions(
                profile=config.reward if config.reward in PROFILES else PROFILES[0],
                bare_answers=embedded(config.model.name) == TINY,
                unsafe_local_exec=request.unsafe_local_exec,
                allow_packages=config.data.allow_packages,
            )
        ),
        test_source=test_source,
        train_source=train_source,
        prompts=request.prompts,
        fresh=request.fresh,
    )


def _resolve(request: RunRequest, method: str, method_config: type, task: str) -> Resolved:
    model = request.model or TINY
    recipe = request.recipe or embedded(model) or PAPER
    given: dict[str, Any] = {"model.name": request.model, "data.test": request.data, "data.train": request.train_data}
    given |= {"reward": request.reward, "data.few_shot": request.few_shot}
    given |= {"data.prompts": request.prompts.sha256 if request.prompts else ""}
    options = TaskOptions(allow_packages=request.allow_packages)
    given |= {"data.allow_packages": tuple(registry.get_task(task)(options).importable())}
    overrides = {key: value for key, value in given.items() if value} | {"seed": request.seed} | dict(request.overrides)
    resolved = resolve(
        method=method,
        method_config=method_config,
        task=task,
        recipe=recipe,
        layers=load_recipe(recipe, method=method, task=task),
        overrides=overrides,
    )
    return _with_data_sources(resolved)


def _with_data_sources(resolved: Resolved) -> Resolved:
    """Writes the default data sources into the configuration, so that the record names them."""
    data = resolved.config.data
    test = data.test or default_source(tiny=bool(embedded(resolved.config.model.name)))
    filled = dataclasses.replace(data, test=test, train=data.train or test)
    provenance = dict(resolved.provenance)
    if not data.test and test == os.environ.get(DATA_VARIABLE):
        provenance["data.test"] = COMMAND_LINE
    config = dataclasses.replace(resolved.config, data=filled)
    return dataclasses.replace(resolved, config=config, provenance=provenance)


def _check_prompting(config: RunConfig, request: RunRequest) -> None:
    """Raises UserError for prompts that the model does not take, and for a hash that is not of --prompts."""
    if embedded(config.model.name) and (config.data.few_shot or config.data.prompts):
        raise UserError(COMPACT_ONLY)
    if config.data.prompts != (request.prompts.sha256 if request.prompts else ""):
        raise UserError("data.prompts is the hash of a prompts file; give the file with --prompts FILE.")
    if request.prompts:
        request.prompts.template(registry.get_task(config.task))


def own_files(identity: RunIdentity) -> dict[str, dict[str, str]]:
    """The method's file and the task's where they are the user's own, for the record: no commit of the harness names
    them."""
    names: dict[registry.Kind, str] = {"method": identity.method, "task": identity.task}
    found = {kind: registry.own_file(kind, name) for kind, name in names.items()}
    return {
        kind: {"folder": from_here(path.parent), "file": path.name, "sha256": sha256_of_file(path)}
        for kind, path in found.items()
        if path is not None
    }


def check_tracker(name: str) -> None:
    """Raises UserError where the tracker's package is not installed."""
    if name and importlib.util.find_spec(name) is None:
        raise UserError(f"--track {name} needs a package that is not installed: pip install {name}.")


def under_its_old_name(identity: RunIdentity, config: RunConfig, execution: Execution, runs: Path) -> RunIdentity:
    """The identity under the hash of earlier versions where `runs` has this run under it, or has other seeds of it and
    not this run under its present name; otherwise the identity itself."""
    old = dataclasses.replace(identity, config_hash=legacy_hash(config, execution))
    if (runs / old.folder).exists():
        return old
    has_seeds = any((runs / old.folder).parent.glob(f"{old.config_hash}-seed*"))
    return old if has_seeds and not (runs / identity.folder).exists() else identity


def given_budget(folder: Path) -> BudgetConfig | None:
    """The budget that the run in `folder` was given, None where there is none. Raises RecordError where its record is
    damaged."""
    description = read_description(folder)
    return recorded_config(description.config).budget if description else None


def check_budget(folder: Path, budget: BudgetConfig, *, updates_per_step: int) -> None:
    """Raises UserError where the run in `folder` was given another budget and cannot go on to this one: it has used it
    up already, ended among the updates of a rollout, or has kept no checkpoint."""
    from harness.rl.checkpoint import checkpoints, load_progress

    given = given_budget(folder)
    if given is None or given == budget:
        return
    otherwise = "start over with --fresh, or make another run with --runs DIR."
    saved = checkpoints(folder / CHECKPOINT_FOLDER)
    if not saved:
        status = read_status(folder)
        if status is not None and status.state == "finished":
            raise UserError(
                f"Run '{folder}' finished with the budget {given} and kept no checkpoint, so it cannot go on to "
                f"{budget}; {otherwise}"
            )
        return
    progress = load_progress(saved[-1])
    spent = budget.spent(
        updates=progress.update // updates_per_step,
        samples=progress.samples,
        flops=progress.flops_total,
        minutes=progress.training_seconds / 60,
    )
    if spent >= 1:
        raise UserError(
            f"Run '{folder}' has already used up the budget {budget}: it made {progress.update} updates "
            f"({progress.samples} samples) under {given}; ask for a longer budget, {otherwise}"
        )
    if progress.unmade_updates:
        raise UserError(
            f"Run '{folder}' ended at {given}, in the middle of a rollout's updates, so it cannot go on to {budget}; "
            f"{otherwise}"
        )
