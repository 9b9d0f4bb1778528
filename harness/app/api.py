"""What Python programs call that the command line has in another form: one run, a task, a method."""

from __future__ import annotations

import warnings
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from harness import registry
from harness.app.plan import PlannedRun, RunRequest, plan
from harness.app.run import execute
from harness.config.build import build
from harness.config.embedded import TINY
from harness.config.resolve import parse_budget
from harness.errors import UserError
from harness.records.jsonl import read_lines
from harness.records.run_folder import DEFAULT_RUNS, EVAL_FILE, read_status
from harness.records.schema import EvalRecord, RunStatus
from harness.task.base import Task, TaskOptions
from harness.task.prompts import read_prompts

if TYPE_CHECKING:
    from harness.rl.loop import Event
    from harness.rl.method import Method


@dataclass(frozen=True, kw_only=True)
class RunResult:
    """A finished run. evaluations: of its last checkpoint, one per decoding, then those on other items."""

    folder: Path
    status: RunStatus
    evaluations: tuple[EvalRecord, ...]

    @property
    def evaluation(self) -> EvalRecord:
        """The first of them."""
        return self.evaluations[0]


def run(
    *,
    method: str,
    task: str,
    seed: int = 0,
    model: str | Path = TINY,
    recipe: str = "",
    budget: str | Mapping[str, float] = "",
    reward: str = "",
    data: str = "",
    train_data: str = "",
    prompts: str | Path | None = None,
    few_shot: int = 0,
    overrides: Mapping[str, Any] | None = None,
    runs: str | Path = DEFAULT_RUNS,
    fresh: bool = False,
    unsafe_local_exec: bool = False,
    allow_packages: Sequence[str] = (),
    on_event: Callable[[Event], None] = lambda event: None,
    on_warning: Callable[[str], None] = warnings.warn,
) -> RunResult:
    """Trains a model with a method on a task, evaluates it and records everything in a folder below `runs`.

    The same call again goes on with an unfinished run and returns a finished one; fresh starts over. The options are
    those of `harness run`; empty ones mean the recipe's or the default value. budget: `{"updates": 48}` or
    `"updates=48"`. overrides: dotted configuration keys to values. on_event is told of every update and evaluation
    (the events of harness/rl/loop.py), on_warning what looks wrong about the model. Raises UserError for anything
    wrong with the request, before the folder is made, and where training diverges.
    """
    changed = dict(overrides or {})
    if budget:
        changed["budget"] = parse_budget(budget) if isinstance(budget, str) else budget
    request = RunRequest(
        method=method,
        task=task,
        seed=seed,
        recipe=recipe,
        model=str(model),
        data=data,
        train_data=train_data,
        reward=reward,
        overrides=changed,
        runs=Path(runs),
        fresh=fresh,
        unsafe_local_exec=unsafe_local_exec,
        allow_packages=allow_packages,
        prompts=read_prompts(Path(prompts), registry.names("task")) if prompts else None,
        few_shot=few_shot,
    )
    planned = plan(request)
    if not planned.finished:
        execute(planned, on_event, on_warning)
    return _result(planned)


def _result(planned: PlannedRun) -> RunResult:
    """Reads what a finished run recorded. Raises UserError where that is missing."""
    status = read_status(planned.folder)
    records = [EvalRecord.from_json(line) for line in read_lines(planned.folder / EVAL_FILE)]
    evaluations = tuple(record for record in records if record.checkpoint == "last")
    if status is None or not evaluations:
        raise UserError(f"Run '{planned.folder}' has lost its records; start over with --fresh.")
    return RunResult(folder=planned.folder, status=status, evaluations=evaluations)


def load_task(
    name: str,
    *,
    profile: str = "official",
    bare_answers: bool = True,
    unsafe_local_exec: bool = False,
    allow_packages: Sequence[str] = (),
) -> Task:
    """A task by name, with its examples, prompts, rewards and graders; the options are those of TaskOptions.

    Raises UserError for an unknown name, or a reward profile that the task does not have.
    """
    options = TaskOptions(
        profile=profile,
        bare_answers=bare_answers,
        unsafe_local_exec=unsafe_local_exec,
        allow_packages=allow_packages,
    )
    return registry.get_task(name)(options)


def load_method(name: str, **options: Any) -> Method:
    """A method by name, with its own options: `load_method("egspo-sa", num_selected=2)`.

    Raises UserError for an unknown name or option.
    """
    method_class = registry.get_method(name)
    method: Method = method_class(config=build(method_class.Config, options, "method"))
    return method
