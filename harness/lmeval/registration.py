"""Makes the model type and our tasks known to lm-eval, which finds types by name and tasks in folders of YAML files."""

from __future__ import annotations

import atexit
import functools
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import lm_eval.models  # noqa: F401  (fills the registry; an early entry of ours would keep its own types out)
from lm_eval import evaluator_utils
from lm_eval.api.model import LM
from lm_eval.api.registry import model_registry
from lm_eval.tasks import TaskManager

from harness import registry
from harness.lmeval.options import TASK_PREFIX
from harness.lmeval.tasks import ratio, ratio_error

MODEL_NAME = "diffusion_lm"
TASK_FOLDER = Path(__file__).parent / "yaml"
TASK_FILE = "task: {name}\nclass: !function harness.lmeval.tasks.HarnessTask\n"


def register(model_class: type[LM]) -> None:
    """Registers the model type, and our tasks and the user's own with every TaskManager made from now on."""
    # Where lm-eval found the entry point of this package, the name is taken by it.
    if MODEL_NAME not in model_registry:
        model_registry.register(MODEL_NAME, target=model_class)
    if not hasattr(TaskManager.__init__, "__wrapped__"):
        TaskManager.__init__ = _with_our_tasks(TaskManager.__init__)
        evaluator_utils.stderr_for_metric = _with_our_errors(evaluator_utils.stderr_for_metric)


def _with_our_errors(original: Any) -> Any:
    """lm-eval knows the standard errors of its own aggregations alone."""

    @functools.wraps(original)
    def stderr_for_metric(metric: Any, bootstrap_iters: int) -> Any:
        return ratio_error if metric is ratio and bootstrap_iters > 0 else original(metric, bootstrap_iters)

    return stderr_for_metric


def _with_our_tasks(original: Any) -> Any:
    """lm-eval has no other way to add a folder for good: `--include_path` takes one, which is the user's."""

    @functools.wraps(original)
    def init(self: TaskManager, verbosity: Any = None, include_path: Any = None, *args: Any, **kwargs: Any) -> None:
        given = include_path if isinstance(include_path, list | tuple) else [include_path] if include_path else []
        original(self, verbosity, [TASK_FOLDER, *_own_tasks(), *given], *args, **kwargs)

    return init


def _own_tasks() -> list[Path]:
    """A folder with a file for each of the user's own tasks, where there are any."""
    names = tuple(name for name in registry.names("task") if registry.own_file("task", name))
    return [_written(names)] if names else []


@functools.cache
def _written(names: tuple[str, ...]) -> Path:
    """Such a folder, for as long as the process lives: lm-eval reads a file again when its task is asked for."""
    folder = TemporaryDirectory(prefix="harness-tasks-")
    atexit.register(folder.cleanup)
    for name in names:
        (Path(folder.name) / f"{name}.yaml").write_text(TASK_FILE.format(name=f"{TASK_PREFIX}{name}"))
    return Path(folder.name)
