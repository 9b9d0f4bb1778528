"""From a request to a finished run folder: resolve the configuration, load everything, train, record.

Everything that can be wrong with a request is found before the run folder is made.
"""

from __future__ import annotations

import dataclasses
import fcntl
import json
import os
import shutil
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

import yaml

from harness import registry
from harness.config.recipes import load_recipe
from harness.config.resolve import Resolved, resolve
from harness.config.tree import PROFILES, RunConfig
from harness.data.sources import DATA_VARIABLE, DataSource, default_source, parse_source
from harness.distributed.processes import is_main
from harness.errors import UserError
from harness.records.jsonl import write_atomic
from harness.records.run_folder import CONFIG_FILE, ENVIRONMENT_FILE, read_status, write_status
from harness.records.schema import SCHEMA_VERSION, RunIdentity, RunStatus
from harness.task.base import Example, Task, TaskOptions, fingerprint
from harness.task.prompts import COMPACT_ONLY, PromptsFile, set_prompts

if TYPE_CHECKING:
    from harness.models.diffusion_lm import DiffusionLM
    from harness.rl.checkpoint import Progress
    from harness.rl.method import Method
    from harness.rl.trainer import Event

TINY = "tiny"


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
        """Whether the run stands there already."""
        status = None if self.fresh else read_status(self.folder)
        return status is not None and status.state == "finished"


def plan(request: RunRequest) -> PlannedRun:
    """Resolves and checks a request. Raises UserError for anything wrong with it."""
    method_name = registry.canonical_name("method", request.method)
    task_name = registry.canonical_name("task", request.task)
    model = request.model or TINY
    recipe = request.recipe or (TINY if model == TINY else "paper")
    method_class = registry.get_method(method_name)
    given: dict[str, Any] = {"model.name": request.model, "data.test": request.data, "data.train": request.train_data}
    given |= {"reward": request.reward, "data.few_shot": request.few_shot}
    given |= {"data.prompts": request.prompts.sha256 if request.prompts else ""}
    overrides = {key: value for key, value in given.items() if value} | {"seed": request.seed} | dict(request.overrides)
    resolved = resolve(
        method=method_name,
        method_config=method_class.Config,
        task=task_name,
        recipe=recipe,
        recipe_tree=load_recipe(recipe, method=method_name, task=task_name, folder=registry.recipes_folder()),
        overrides=overrides,
    )
    resolved = with_data_sources(resolved)
    config = resolved.config
    _check_prompting(config, request)
    method = method_class(config=method_class.Config(**config.method.options))
    method.check(config.rollout)
    test_source, train_source = parse_source(config.data.test), parse_source(config.data.train)
    identity = RunIdentity(
        task=task_name,
        method=method_name,
        model=Path(config.model.name).resolve().name if os.path.isdir(config.model.name) else config.model.name,
        recipe=recipe,
        reward=config.reward,
        seed=config.seed,
        train_data=train_source.label,
        test_data=test_source.label,
        config_hash=config.hash,
    )
    return PlannedRun(
        resolved=resolved,
        identity=identity,
        folder=request.runs / identity.folder,
        method=method,
        task=registry.get_task(task_name)(
            TaskOptions(
                profile=config.reward if config.reward in PROFILES else PROFILES[0],
                bare_answers=config.model.name == TINY,
                unsafe_local_exec=request.unsafe_local_exec,
            )
        ),
        test_source=test_source,
        train_source=train_source,
        prompts=request.prompts,
        fresh=request.fresh,
    )


def _check_prompting(config: RunConfig, request: RunRequest) -> None:
    """Raises UserError for prompts that the model does not take, and for a hash that is not of --prompts."""
    if config.model.name == TINY and (config.data.few_shot or config.data.prompts):
        raise UserError(COMPACT_ONLY)
    if config.data.prompts != (request.prompts.sha256 if request.prompts else ""):
        raise UserError("data.prompts is the hash of a prompts file; give the file with --prompts FILE.")
    if request.prompts:
        request.prompts.template(registry.get_task(config.task))


def with_data_sources(resolved: Resolved) -> Resolved:
    """Writes the default data sources into the configuration, so that the record names them."""
    data = resolved.config.data
    test = data.test or default_source(tiny=resolved.config.model.name == TINY)
    filled = dataclasses.replace(data, test=test, train=data.train or test)
    provenance = dict(resolved.provenance)
    if not data.test and test == os.environ.get(DATA_VARIABLE):
        provenance["data.test"] = "command line"
    config = dataclasses.replace(resolved.config, data=filled)
    return dataclasses.replace(resolved, config=config, provenance=provenance)


def execute(
    planned: PlannedRun, on_event: Callable[[Event], None], on_warning: Callable[[str], None] = lambda text: None
) -> None:
    """Trains, evaluates and records the planned run; goes on where an earlier attempt stopped.

    on_warning is told what looks wrong about the model. Raises UserError where the folder cannot be written or training
    diverges; the run's status then says so.
    """
    from harness.models.checkpoints import load_model
    from harness.randomness import stream_seed
    from harness.rl.trainer import Data, Trainer

    config = planned.resolved.config
    train, items = load_examples(planned)
    planned.task.prepare()
    model = load_model(config.model, task=config.task, seed=stream_seed(config.seed, "lora"))
    check_prompt(planned, model, train[0])
    for warning in model.warnings:
        on_warning(warning)
    with run_folder(planned):
        if is_main():
            write_description(planned, model, train, items)
        trainer = Trainer(
            config,
            method=planned.method,
            task=planned.task,
            model=model,
            data=Data(train=train, evaluation=items, evaluation_label=planned.test_source.label),
            folder=planned.folder,
            on_event=on_event,
        )
        try:
            trainer.run()
        except UserError as error:
            _write_outcome(planned, trainer.progress, state="failed", reason=str(error))
            raise
        _write_outcome(planned, trainer.progress, state="finished")


def _write_outcome(planned: PlannedRun, progress: Progress, *, state: str, reason: str = "") -> None:
    if is_main():
        status = RunStatus(state=state, updates=progress.update, samples=progress.samples, reason=reason)
        write_status(planned.folder, status)


def check_prompt(planned: PlannedRun, model: DiffusionLM, example: Example) -> None:
    """Raises UserError where the model does not take the task's prompts, or training would cut off worked examples."""
    config = planned.resolved.config
    longest, tokens = (
        config.train.max_prompt_length,
        len(model.tokenizer.encode(model.prompt_text(planned.task, example))),
    )
    if config.data.few_shot and 0 < longest < tokens:
        raise UserError(
            f"A prompt with {config.data.few_shot} worked examples has {tokens} tokens, and train.max_prompt_length="
            f"{longest} would cut them off; raise it with --set train.max_prompt_length=N, or to 0 for no limit."
        )


def load_examples(planned: PlannedRun) -> tuple[list[Example], list[Example]]:
    """Training examples and evaluation items; the task has its prompts afterwards.

    Training examples that the test list holds are left out where the task says so, and so are the worked ones. Raises
    UserError where a source has no such split.
    """
    config, task = planned.resolved.config, planned.task
    evaluation = config.evaluation
    tested = task.examples(evaluation.split, planned.test_source)
    items = tested[: evaluation.items]
    if len(items) < evaluation.items:
        raise UserError(
            f"evaluation.items={evaluation.items}, but split '{evaluation.split}' of {planned.identity.task} from "
            f"'{planned.test_source.label}' has {len(items)}; lower it with --set evaluation.items={len(items)}."
        )
    train = task.without_test_items(task.examples("train", planned.train_source), tested)
    if not train:
        raise UserError(f"'{planned.train_source.label}' has no training examples of {task.name} but the test items.")
    return set_prompts(task, planned.prompts, train, config.data.few_shot), items


@contextmanager
def run_folder(planned: PlannedRun) -> Iterator[None]:
    """Makes the run folder and holds its lock, in the main process. Raises UserError where it cannot be written or is
    in use."""
    if not is_main():
        yield
        return
    folder = planned.folder
    try:
        folder.mkdir(parents=True, exist_ok=True)
        lock = open(folder / ".lock", "w")  # noqa: SIM115  (held until the end of the with block)
    except OSError as error:
        raise UserError(
            f"Cannot write to '{folder}': {error.strerror}. Choose another place with --runs DIR."
        ) from error
    with lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError as error:
            raise UserError(f"Run '{folder}' is being worked on by another process.") from error
        if planned.fresh:
            clear(folder)
        yield


def clear(folder: Path) -> None:
    """Removes everything in a run folder but its lock."""
    for path in folder.iterdir():
        if path.is_dir():
            shutil.rmtree(path)
        elif path.name != ".lock":
            path.unlink()


def write_description(
    planned: PlannedRun, model: DiffusionLM, train: Sequence[Example], items: Sequence[Example]
) -> None:
    """config.yaml, environment.json and the status `running`."""
    from harness.distributed.environment import describe

    resolved = planned.resolved
    description = {
        "schema": SCHEMA_VERSION,
        "identity": asdict(planned.identity),
        "config": resolved.config.to_dict(),
        "provenance": dict(resolved.provenance),
    }
    write_atomic(planned.folder / CONFIG_FILE, yaml.safe_dump(description, sort_keys=True))
    environment = describe(str(model.device)) | {
        "dtype": resolved.config.model.dtype,
        "weights": model.fingerprint,
        "warnings": list(model.warnings),
        "data": {
            "train": describe_examples(planned.task, "train", planned.train_source, train),
            "test": describe_examples(planned.task, resolved.config.evaluation.split, planned.test_source, items),
            "leakage": dataclasses.asdict(planned.task.leakage(train, items)),
        },
        "prompts": {
            "file": str(planned.prompts.path) if planned.prompts else None,
            "sha256": resolved.config.data.prompts or None,
            "few_shot": resolved.config.data.few_shot,
        },
    }
    write_atomic(planned.folder / ENVIRONMENT_FILE, json.dumps(environment, indent=2, sort_keys=True) + "\n")
    write_status(planned.folder, RunStatus(state="running", updates=0, samples=0))


def describe_examples(task: Task, split: str, source: DataSource, examples: Sequence[Example]) -> dict[str, Any]:
    """Where examples come from and which they are, for the record."""
    return {
        "source": source.label,
        "origin": task.origin(split, source),
        "items": len(examples),
        "sha256": fingerprint(examples),
    }
